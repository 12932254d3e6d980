//go:build !sidecar

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/injector"
)

const (
	// sidecarRunDir is where an agent has its sockets that the injector has made.
	sidecarRunDir = "/run/pavise/agent"
	// mostAsked is how many sidecars are asked at a time, and mostFollowed how many are followed.
	mostAsked, mostFollowed = 16, 128
	// mostSaid bounds what one sidecar answers, in octets.
	mostSaid = 64 << 20
)

// clusterFlows adds to flows what asks the sidecars of a cluster.
func clusterFlows(f *pflag.FlagSet, o *flowsOptions) {
	var kubeconfig string
	var on bool
	f.BoolVar(&on, "kubernetes", false, "ask the sidecars of a cluster instead, those of -n or all")
	f.StringVar(&kubeconfig, "kubeconfig", "", "file that says where the cluster is; default as kubectl")
	o.cluster = func(ctx context.Context, namespace string) (flowSource, error) {
		if !on {
			return nil, nil //nolint:nilnil // no cluster is what is wanted
		}
		return newSidecars(ctx, kubeconfig, namespace)
	}
}

// sidecarPod is a pod that has a sidecar.
type sidecarPod struct {
	namespace, name string
	context         *flows.Context
}

func (p sidecarPod) String() string { return p.namespace + "/" + p.name }

// sidecars are those of running pods. Each is asked by a command in its container, which takes
// the right to do so, pods/exec: agents open no port for it.
type sidecars struct {
	config  *rest.Config
	clients *kubernetes.Clientset
	pods    []sidecarPod
	peers   clusterPeers // nil where they cannot be listed
	warn    func(pod string, err error)
}

func newSidecars(ctx context.Context, kubeconfig, namespace string) (*sidecars, error) {
	config, err := kubernetesConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // mostAsked bounds it
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &sidecars{config: config, clients: clients, warn: func(pod string, err error) {
		fmt.Fprintf(os.Stderr, "pavise: %s did not answer: %s\n", pod, oneLine(err.Error()))
	}}
	o := metav1.ListOptions{LabelSelector: injector.RevisionLabel, FieldSelector: "status.phase=Running", Limit: 500}
	for {
		list, err := clients.CoreV1().Pods(namespace).List(ctx, o)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if p := &list.Items[i]; hasSidecar(p) {
				s.pods = append(s.pods, sidecarPod{p.Namespace, p.Name, contextOf(p)})
			}
		}
		if o.Continue = list.Continue; o.Continue == "" {
			break
		}
	}
	if len(s.pods) == 0 {
		return nil, errors.New("there is no running pod with a sidecar in it there")
	}
	return s, nil
}

func hasSidecar(p *corev1.Pod) bool {
	ours := func(c corev1.Container) bool { return c.Name == injector.SidecarContainer }
	return slices.ContainsFunc(p.Spec.InitContainers, ours) || slices.ContainsFunc(p.Spec.Containers, ours)
}

// run runs pavise in the sidecar of a pod.
func (s *sidecars) run(ctx context.Context, pod sidecarPod, out io.Writer, args ...string) error {
	req := s.clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.namespace).Name(pod.name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: injector.SidecarContainer, Command: append([]string{"/usr/bin/pavise"}, args...), Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	e, err := remotecommand.NewSPDYExecutor(s.config, "POST", req.URL())
	if err != nil {
		return err
	}
	var said bytes.Buffer
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: &bounded{&said, 1 << 10}})
	if err != nil && said.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, oneLine(said.String()))
	}
	return err
}

// bounded keeps the first octets, and takes the others for nothing.
type bounded struct {
	to   io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	if _, err := b.to.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// arguments are those of `pavise flows` in a sidecar.
func arguments(f *flows.Filter, more ...string) []string {
	args := []string{"flows", "--run-dir", sidecarRunDir, "-o", "json"}
	v := f.Values()
	for _, x := range flowsFlags {
		if s := v.Get(x.parameter); s != "" && x.parameter != "namespace" {
			args = append(args, "--"+x.flag+"="+s)
		}
	}
	if f.Audit {
		args = append(args, "--audit")
	}
	return append(args, more...)
}

// knowPeers reads who has which address. Who may not is told so, and sees addresses.
func (s *sidecars) knowPeers(ctx context.Context) {
	var err error
	if s.peers, err = readPeers(ctx, s.clients); err != nil {
		s.warn("the cluster, about the names of peers,", err)
	}
}

// byName takes the name of a peer out of a filter, since sidecars know addresses only, and
// returns what asks for it; nil where the filter names no peer.
func (s *sidecars) byName(f *flows.Filter) func(*flows.Flow) bool {
	wanted := f.Peer
	if !strings.Contains(wanted, "/") || s.peers == nil {
		return nil
	}
	f.Peer = ""
	return func(fl *flows.Flow) bool { return fl.Peer == wanted }
}

// describe adds what a sidecar does not know.
func (s *sidecars) describe(f *flows.Flow, pod sidecarPod) {
	f.WorkloadContext = pod.context
	s.peers.describe(f)
}

// Flows asks every sidecar, and gives the newest of all.
func (s *sidecars) Flows(ctx context.Context, f flows.Filter, limit int) (list []flows.Flow, more bool, err error) {
	s.knowPeers(ctx)
	most, named := limit, s.byName(&f)
	if named != nil {
		most = flows.MaxLimit // those of other peers are among them
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(mostAsked)
	answered := 0
	for _, pod := range s.pods {
		g.Go(func() error {
			var out bytes.Buffer
			err := s.run(ctx, pod, &bounded{&out, mostSaid}, arguments(&f, fmt.Sprintf("--limit=%d", most))...)
			var part []flows.Flow
			if err == nil {
				err = json.Unmarshal(out.Bytes(), &part)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.warn(pod.String(), err)
				return nil
			}
			answered++
			more = more || len(part) == most
			for i := range part {
				if s.describe(&part[i], pod); named == nil || named(&part[i]) {
					list = append(list, part[i])
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	if answered == 0 {
		return nil, false, errors.New("no sidecar answered")
	}
	slices.SortStableFunc(list, func(a, b flows.Flow) int { return b.Last.Compare(a.Last) })
	return list[:min(limit, len(list))], more || len(list) > limit, nil
}

// Follow shows what all of them decide from now on.
func (s *sidecars) Follow(ctx context.Context, f flows.Filter, each func(flows.Event) error) error {
	if len(s.pods) > mostFollowed {
		return fmt.Errorf("there are %d sidecars, of which %d can be followed at a time; name a namespace with -n", len(s.pods), mostFollowed)
	}
	s.knowPeers(ctx)
	named := s.byName(&f)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var failure error
	g := errgroup.Group{}
	for _, pod := range s.pods {
		g.Go(func() error {
			read, write := io.Pipe()
			go func() { _ = write.CloseWithError(s.run(ctx, pod, write, arguments(&f, "--follow")...)) }()
			lines := bufio.NewScanner(read)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				var e flows.Event
				if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
					continue // what is not JSON was said by somebody else
				}
				if s.describe(&e.Flow, pod); named != nil && !named(&e.Flow) {
					continue
				}
				mu.Lock()
				if err := each(e); err != nil && failure == nil {
					failure = err
					cancel()
				}
				mu.Unlock()
			}
			_ = read.Close()
			if err := lines.Err(); err != nil && ctx.Err() == nil {
				s.warn(pod.String(), err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return failure
}
