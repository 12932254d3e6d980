//go:build !sidecar

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"pavise.dev/pavise/deploy/install"
	"pavise.dev/pavise/injector"
	kubestatus "pavise.dev/pavise/kube/status"
)

// adminPort is where a replica has its admin pages, on its loopback.
const adminPort = 15016

// clusterStatus adds to status what asks a cluster.
func clusterStatus(cmd *cobra.Command, o *statusOptions) {
	f := cmd.Flags()
	var namespace string
	c := registerCluster(f, "show every sidecar of a cluster instead")
	f.StringVar(&namespace, "namespace", install.DefaultNamespace, "namespace of the control plane")
	cmd.Long = strings.Replace(cmd.Long, "\n\nExit codes", `

With --kubernetes it asks every replica of the control plane in a cluster, by a port that is
forwarded to it, and shows every pod that has a sidecar.

Exit codes`, 1)
	cmd.Example += "\n  pavise status --kubernetes"
	o.cluster = func(ctx context.Context) (status, bool, error) {
		if !c.on {
			return nil, false, nil
		}
		s, err := readCluster(ctx, c.kubeconfig, namespace)
		return s, true, err
	}
}

// sidecarList is the sidecars of a cluster.
type sidecarList struct {
	// Replicas are those of the control plane, with what keeps one from answering.
	Replicas map[string]string `json:"replicas"`
	// Troubles are what a replica that answered says is wrong with itself.
	Troubles map[string]string    `json:"troubles,omitempty"`
	Sidecars []kubestatus.Sidecar `json:"sidecars"`
	// Unshielded are pods of labelled namespaces that run without a sidecar.
	Unshielded []string `json:"unshielded,omitempty"`
}

func readCluster(ctx context.Context, kubeconfig, namespace string) (*sidecarList, error) {
	config, clients, err := kubernetesClients(kubeconfig)
	if err != nil {
		return nil, err
	}
	planes, err := controlPlanes(ctx, clients, namespace)
	if err != nil {
		return nil, err
	}
	out := &sidecarList{Replicas: map[string]string{}, Troubles: map[string]string{}}
	replicas := map[string]kubestatus.Fetch{}
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for i := range planes {
		p := &planes[i]
		if p.Status.Phase != corev1.PodRunning {
			out.Replicas[p.Name] = "it is " + string(p.Status.Phase)
			continue
		}
		base, stop, err := forward(config, clients, namespace, p.Name)
		if err != nil {
			out.Replicas[p.Name] = err.Error()
			continue
		}
		stops = append(stops, stop)
		trouble, err := troubleOf(ctx, base)
		if err != nil {
			out.Replicas[p.Name] = err.Error()
			continue
		}
		out.Replicas[p.Name] = ""
		if trouble != "" {
			out.Troubles[p.Name] = trouble
		}
		replicas[p.Name] = func(ctx context.Context, query url.Values) (io.ReadCloser, error) {
			return getPage(ctx, base+"/debug/sidecars?"+query.Encode())
		}
	}
	if out.Sidecars, err = kubestatus.Collect(ctx, replicas); err != nil {
		// Which replica it is the error says.
		out.Replicas["?"] = err.Error()
	}
	out.Unshielded, err = unshielded(ctx, clients)
	return out, err
}

// clusterFlags say that a cluster is asked, and where it is.
type clusterFlags struct {
	on         bool
	kubeconfig string
}

func registerCluster(f *pflag.FlagSet, usage string) *clusterFlags {
	c := &clusterFlags{}
	f.BoolVar(&c.on, "kubernetes", false, usage)
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "file that says where the cluster is; default as kubectl")
	return c
}

// eachPod lists pods, page by page.
func eachPod(ctx context.Context, clients *kubernetes.Clientset, namespace string, o metav1.ListOptions, each func(*corev1.Pod)) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return clients.CoreV1().Pods(namespace).List(ctx, o)
	})
	return pages.EachListItem(ctx, o, func(one runtime.Object) error {
		if p, ok := one.(*corev1.Pod); ok {
			each(p)
		}
		return nil
	})
}

// kubernetesClients are for the cluster that a file says, or where kubectl would look.
func kubernetesClients(kubeconfig string) (*rest.Config, *kubernetes.Clientset, error) {
	config, err := kubernetesConfig(kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	clients, err := kubernetes.NewForConfig(config)
	return config, clients, err
}

// controlPlanes are the pods of the control plane, running or not. There is at least one.
func controlPlanes(ctx context.Context, clients *kubernetes.Clientset, namespace string) ([]corev1.Pod, error) {
	planes, err := clients.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=control-plane,app.kubernetes.io/name=pavise"})
	if err == nil && len(planes.Items) == 0 {
		err = fmt.Errorf("there is no control plane in namespace %s; name the one that it is in, or run pavise install", namespace)
	}
	if err != nil {
		return nil, err
	}
	return planes.Items, nil
}

// maxState bounds what a replica says of itself, in octets.
const maxState = 16 << 20

// troubleOf is what keeps a replica from serving, or will before long; empty for nothing.
func troubleOf(ctx context.Context, base string) (string, error) {
	page, err := getPage(ctx, base+"/api/v1/status")
	if err != nil {
		return "", err
	}
	defer page.Close()
	var s clusterState
	if err := json.NewDecoder(io.LimitReader(page, maxState)).Decode(&s); err != nil {
		return "", fmt.Errorf("what it says of itself: %w", err)
	}
	var list []string
	if s.Missing != "" {
		list = append(list, s.Missing)
	}
	if s.Trouble != "" {
		list = append(list, "certificates: "+s.Trouble)
	}
	return strings.Join(list, "; "), nil
}

func getPage(ctx context.Context, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, errors.New(resp.Status)
	}
	return resp.Body, nil
}

// forward opens a port of this machine that leads to the admin pages of a pod.
func forward(config *rest.Config, clients *kubernetes.Clientset, namespace, pod string) (base string, stop func(), err error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return "", nil, err
	}
	at := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	stopped, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", adminPort)}, stopped, ready, io.Discard, io.Discard)
	if err != nil {
		return "", nil, err
	}
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		ended <- f.ForwardPorts()
	}()
	select {
	case err := <-ended:
		return "", nil, fmt.Errorf("no port could be forwarded to it: %w", err)
	case <-time.After(20 * time.Second):
		close(stopped)
		return "", nil, errors.New("no port could be forwarded to it within 20 seconds")
	case <-ready:
	}
	ports, err := f.GetPorts()
	if err != nil {
		close(stopped)
		return "", nil, err
	}
	return fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local), func() {
		close(stopped)
		<-done
	}, nil
}

// unshielded finds the pods of labelled namespaces that have no sidecar.
func unshielded(ctx context.Context, clients *kubernetes.Clientset) ([]string, error) {
	namespaces, err := clients.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: injector.InjectLabel + "=" + "enabled"})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range namespaces.Items {
		o := metav1.ListOptions{LabelSelector: "!" + injector.RevisionLabel}
		err := eachPod(ctx, clients, namespaces.Items[i].Name, o, func(p *corev1.Pod) {
			if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				out = append(out, p.Namespace+"/"+p.Name)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return out, nil
}

func (s *sidecarList) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SIDECAR\tREVISION\tSTATE\tPOLICIES\tFEEDS\tCONTROL PLANE")
	for i := range s.Sidecars {
		n := &s.Sidecars[i]
		feeds := "-"
		if n.Snapshot != "" {
			feeds = n.Snapshot + ", heard " + age(n.SnapshotAt) + " ago"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Node, dash(n.Revision), n.State, dash(n.Acked), feeds, n.Replica)
		if n.NACK != "" {
			fmt.Fprintf(t, "\t\t\trefused: %s\n", oneLine(n.NACK))
		}
	}
	_ = t.Flush() // the writer behind it says
	for _, p := range s.Unshielded {
		fmt.Fprintf(w, "%s has no sidecar: it was made before its namespace was labelled, or it was skipped; restart it\n", p)
	}
	for _, name := range sortedKeys(s.Troubles) {
		fmt.Fprintf(w, "replica %s: %s\n", name, oneLine(s.Troubles[name]))
	}
	for _, name := range sortedKeys(s.Replicas) {
		if why := s.Replicas[name]; why != "" {
			fmt.Fprintf(w, "replica %s did not answer: %s\n", name, oneLine(why))
		}
	}
}

func (s *sidecarList) inOrder() bool {
	for _, why := range s.Replicas {
		if why != "" {
			return false
		}
	}
	for i := range s.Sidecars {
		if s.Sidecars[i].State != "Synced" {
			return false
		}
	}
	return len(s.Unshielded)+len(s.Troubles) == 0
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is how long ago something was, to a unit.
func age(at time.Time) string {
	d := time.Since(at)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
