//go:build !sidecar

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

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
	// mostAsked is how many sidecars are asked at a time.
	mostAsked = 16
	// mostSaid bounds what one sidecar answers, in octets.
	mostSaid = 64 << 20
)

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
	o := metav1.ListOptions{LabelSelector: injector.RevisionLabel, FieldSelector: "status.phase=Running"}
	err = eachPod(ctx, clients, namespace, o, func(p *corev1.Pod) {
		if hasSidecar(p) {
			s.pods = append(s.pods, sidecarPod{p.Namespace, p.Name, contextOf(p)})
		}
	})
	if err != nil {
		return nil, err
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

// askSidecars runs a command of pavise in every sidecar, and gives each what one printed as JSON,
// one at a time. Who does not answer is told of; if nobody does, that is an error.
func askSidecars[T any](ctx context.Context, s *sidecars, args []string, each func(sidecarPod, T)) error {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(mostAsked)
	answered := 0
	for _, pod := range s.pods {
		g.Go(func() error {
			var out bytes.Buffer
			var said T
			err := s.run(ctx, pod, &bounded{&out, mostSaid}, args...)
			if err == nil {
				err = json.Unmarshal(out.Bytes(), &said)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.warn(pod.String(), err)
				return nil
			}
			answered++
			each(pod, said)
			return nil
		})
	}
	_ = g.Wait()
	if answered == 0 {
		return errors.New("no sidecar answered")
	}
	return ctx.Err()
}
