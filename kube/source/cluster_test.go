package source

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/test/cluster"
	"pavise.dev/pavise/xds/fleet"
)

// beside is a Source beside a real API server.
type beside struct {
	client.Client
	t       *testing.T
	source  *Source
	updates chan fleet.Update
	nodes   map[string]string
	last    fleet.Update
}

func newBeside(t *testing.T) *beside {
	t.Helper()
	if err := cluster.Available(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, err := cluster.Control(ctx, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	installCRDs(t, c)
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, api.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	r := &beside{t: t, updates: make(chan fleet.Update), nodes: map[string]string{}}
	if r.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	informers, err := cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: Transform})
	if err != nil {
		t.Fatal(err)
	}
	r.source, err = New(Config{
		Options: Options{Revision: "r1", NetworkPolicies: true, ClusterNetworkPolicies: true}, Cache: informers,
		Apply: func(ctx context.Context, u fleet.Update) error {
			select {
			case r.updates <- u:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- informers.Start(ctx) }()
	go func() { done <- r.source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func installCRDs(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	files, err := filepath.Glob("../../deploy/crds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no CRDs", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(t.Context(), string(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Kubectl(t.Context(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"); err != nil {
		t.Fatal(err)
	}
}

// until takes updates until the condition holds.
func (r *beside) until(what string, holds func() bool) {
	r.t.Helper()
	timeout := time.After(30 * time.Second)
	for r.last.Set == nil || !holds() {
		select {
		case u := <-r.updates:
			r.last = u
			for _, n := range u.Left {
				delete(r.nodes, n)
			}
			maps.Copy(r.nodes, u.Nodes)
		case <-timeout:
			r.t.Fatalf("%s: not so after 30 s; nodes %v, set %+v, %+v", what, r.nodes, r.last.Set, r.source.Stats())
		}
	}
}

func (r *beside) create(objects ...client.Object) {
	r.t.Helper()
	for _, o := range objects {
		if err := r.Create(r.t.Context(), o); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *beside) workload(key string) *api.Workload {
	for _, w := range r.last.Set.Workloads {
		if w.Namespace+"/"+w.Name == key {
			return w
		}
	}
	return &api.Workload{}
}

// Would catch what only a real API server does: defaults, generations, status that is written
// apart, endpoints with UIDs, and watches.
func TestCluster(t *testing.T) {
	r := newBeside(t)
	r.until("the start", func() bool { return len(r.last.Set.Namespaces) > 0 })
	r.create(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "sa"}},
	)
	policy := policyOf("shop", "p", 0, "app")
	policy.UID = ""
	np := networkPolicyOf("shop", "np", 0, false)
	np.UID = ""
	service := serviceOf("shop", "web")
	service.Spec.Selector, service.Spec.Ports = map[string]string{"app": "a"}, []corev1.ServicePort{{Port: 80}}
	pod := podSpec{ns: "shop", name: "web-0", labels: "app=a,noise=1", sidecar: true, port: 8080}.pod()
	pod.Spec.Containers[0].Image = "none"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web", UID: "1", Controller: new(true)}}
	pod.CreationTimestamp = metav1.Time{}
	r.create(policy, np, service, pod)
	r.until("a pod without a node or an address", func() bool {
		return r.nodes["shop/web-0"] == "shop/web" && len(r.last.Set.AccessPolicies) == 3 &&
			r.workload("shop/web").Labels["ports.pavise.dev/http"] == "8080"
	})
	kept := slices.Clone(r.last.Set.AccessPolicies)

	slice := sliceOf("shop", "web-1", "web", "web-0")
	slice.AddressType = discoveryv1.AddressTypeIPv4
	slice.Endpoints[0].Addresses = []string{"10.0.0.1"}
	r.create(slice)
	r.until("its Service", func() bool {
		return slices.Equal(r.workload("shop/web").Spec.ServiceAddresses, []string{service.Spec.ClusterIP})
	})
	at := metav1.Now()
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}, StartTime: &at}
	if err := r.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	r.until("its address", func() bool { return slices.Equal(r.workload("shop/web").Spec.Addresses, []string{"10.0.0.1"}) })

	// A status is no change, a spec is.
	policy.Status.Conditions = []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Fine", LastTransitionTime: at}}
	if err := r.Status().Update(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	r.create(&api.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "n"}, Spec: api.NetworkSetSpec{CIDRs: []string{"192.0.2.0/24"}}})
	r.until("a set", func() bool { return len(r.last.Set.NetworkSets) == 1 })
	if !slices.Equal(r.last.Set.AccessPolicies, kept) {
		t.Error("a status makes other policies")
	}
	policy.Spec.Selector = metav1.LabelSelector{MatchLabels: map[string]string{"noise": "1"}}
	if err := r.Update(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	r.until("another label", func() bool { return r.workload("shop/web").Labels["noise"] == "1" })

	now := int64(0)
	if err := r.Delete(t.Context(), pod, &client.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	r.until("the end", func() bool { return len(r.nodes) == 0 && len(r.last.Set.Workloads) == 0 })
	t.Logf("%+v", r.source.Stats())
}
