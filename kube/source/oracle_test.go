package source

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
)

// world is a cluster, and the slow way to say what it means.
type world struct {
	pods     map[string]podSpec
	services map[string][]string
	slices   map[string][]string // NAMESPACE/SLICE/SERVICE to pods
	policies map[string]*api.AccessPolicy
	network  map[string]*networkingv1.NetworkPolicy
}

func alive(p podSpec) bool { return p.phase != corev1.PodSucceeded && p.phase != corev1.PodFailed }

// policiesOf are all policies by name, with those that were converted.
func (w *world) policiesOf() map[string]*api.AccessPolicy {
	out := maps.Clone(w.policies)
	for _, np := range w.network {
		made, _ := netpol.NetworkPolicy(np, func(string) (numbers []int32) {
			for _, p := range w.pods {
				if alive(p) && p.port != 0 && (p.ns == np.Namespace || len(np.Spec.Egress) > 0) && !slices.Contains(numbers, p.port) {
					numbers = append(numbers, p.port)
				}
			}
			return numbers
		})
		for _, p := range made {
			out[p.Namespace+"/"+p.Name] = p
		}
	}
	return out
}

// describe is every workload in words, sorted, and which of them each node stands beside.
func (w *world) describe() (workloads []string, nodes map[string]string) {
	keys := map[string]struct{}{}
	for _, p := range w.policiesOf() {
		keysOf(&p.Spec, keys)
	}
	type group struct {
		workload api.Workload
		pods     []podSpec
	}
	groups := map[string]*group{}
	nodes = map[string]string{}
	for _, p := range w.pods {
		if !alive(p) {
			continue
		}
		all := p.pod().Labels
		maps.DeleteFunc(all, func(k, _ string) bool { return strings.HasPrefix(k, "ports.pavise.dev/") })
		if p.port != 0 {
			all["ports.pavise.dev/http"] = fmt.Sprint(p.port)
		}
		maps.DeleteFunc(all, func(k, _ string) bool { _, asked := keys[k]; return !asked })
		g := &group{workload: api.Workload{ObjectMeta: metav1.ObjectMeta{Namespace: p.ns, Labels: all}, Spec: api.WorkloadSpec{ServiceAccount: "sa"}}}
		if p.sidecar {
			g.workload.Spec.Transparent = &api.Transparent{}
		}
		id := p.owner + " " + identity(&g.workload)
		if groups[id] == nil {
			groups[id] = g
		}
		groups[id].pods = append(groups[id].pods, p)
		if p.sidecar {
			nodes[p.ns+"/"+p.name] = identity(&g.workload)
		}
	}
	later := func(a, b podSpec) bool { return a.start > b.start || a.start == b.start && a.uid > b.uid }
	for _, g := range groups {
		own, service := map[string]bool{}, map[string]bool{}
		for _, p := range g.pods {
			for _, ip := range p.ips {
				mine := !p.host
				for _, o := range w.pods {
					if alive(o) && !o.host && o.uid != p.uid && slices.Contains(o.ips, ip) && later(o, p) {
						mine = false
					}
				}
				if mine {
					own[ip] = true
				}
			}
			for at, pods := range w.slices {
				parts := strings.Split(at, "/")
				if parts[0] == p.ns && slices.Contains(pods, p.name) {
					for _, ip := range w.services[parts[0]+"/"+parts[2]] {
						service[ip] = true
					}
				}
			}
		}
		// All addresses here have one length, and sort as text.
		g.workload.Spec.Addresses, g.workload.Spec.ServiceAddresses = slices.Sorted(maps.Keys(own)), slices.Sorted(maps.Keys(service))
		workloads = append(workloads, describe(&g.workload))
	}
	slices.Sort(workloads)
	return workloads, nodes
}

// event changes the world and tells the state.
func (w *world) event(l *lab, r *rand.Rand, serial *int) {
	*serial++
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	ns := pick("x", "y")
	switch n := r.IntN(100); {
	case n < 50:
		p := podSpec{
			ns: ns, name: fmt.Sprint("p", r.IntN(12)), uid: fmt.Sprintf("u%06d", *serial), owner: pick("web", "db"),
			labels: "app=" + pick("a", "b") + ",tier=" + pick("1", "2") + ",noise=" + pick("1", "2", "3") + pick("", ",ports.pavise.dev/http=1"),
			phase:  corev1.PodPhase(pick("Pending", "Running", "Running", "Running", "Succeeded", "Failed")),
			start:  2000 + r.Int64N(5), sidecar: r.IntN(2) == 0, host: r.IntN(10) == 0, port: []int32{0, 0, 8080, 9090}[r.IntN(4)],
		}
		if r.IntN(3) > 0 {
			p.ips = []string{fmt.Sprintf("10.0.0.%d", 10+r.IntN(15))}
		}
		key := p.ns + "/" + p.name
		if old, there := w.pods[key]; there && r.IntN(3) > 0 {
			// The same pod, a little later.
			old.ips, old.phase, old.start = p.ips, p.phase, p.start
			if r.IntN(2) == 0 {
				old.labels = p.labels
			}
			p = old
		}
		w.pods[key] = p
		l.give(p.pod())
	case n < 65:
		for key, p := range w.pods {
			delete(w.pods, key)
			l.take(p.pod())
			break
		}
	case n < 75:
		service := pick("s", "t")
		ips := []string{fmt.Sprintf("10.9.0.%d", 10+r.IntN(5))}
		if r.IntN(4) == 0 {
			delete(w.services, ns+"/"+service)
			l.take(serviceOf(ns, service))
			return
		}
		if r.IntN(4) == 0 {
			w.services[ns+"/"+service] = nil
			l.give(serviceOf(ns, service, "None"))
			return
		}
		w.services[ns+"/"+service] = ips
		l.give(serviceOf(ns, service, ips...))
	case n < 85:
		slice, service := pick("e", "f"), pick("s", "t")
		maps.DeleteFunc(w.slices, func(k string, _ []string) bool { return strings.HasPrefix(k, ns+"/"+slice+"/") })
		if r.IntN(4) == 0 {
			l.take(sliceOf(ns, slice, service))
			return
		}
		var pods []string
		for range r.IntN(5) {
			pods = append(pods, fmt.Sprint("p", r.IntN(12)))
		}
		w.slices[ns+"/"+slice+"/"+service] = pods
		l.give(sliceOf(ns, slice, service, append(pods, "other/p1")...))
	case n < 93:
		o := policyOf(ns, pick("one", "two"), int64(*serial), pick("app", "tier", "none"), pick("app", "tier", "ports.pavise.dev/http"))
		if r.IntN(2) == 0 {
			delete(w.policies, ns+"/"+o.Name)
			l.take(o)
			return
		}
		w.policies[ns+"/"+o.Name] = o
		l.give(o)
	default:
		o := networkPolicyOf(ns, "np", int64(*serial), r.IntN(2) == 0)
		if r.IntN(2) == 0 {
			delete(w.network, ns)
			l.take(o)
			return
		}
		w.network[ns] = o
		l.give(o)
	}
}

// Would catch anything that an event leaves stale, a pointer that changes for nothing, a node
// that is told too often or not at all, and a workload that changes its name.
func TestStateAgainstOracle(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		l := newLab(t, Options{NetworkPolicies: true})
		w := &world{
			pods: map[string]podSpec{}, services: map[string][]string{}, slices: map[string][]string{},
			policies: map[string]*api.AccessPolicy{}, network: map[string]*networkingv1.NetworkPolicy{},
		}
		serial := 0
		before, identities := map[string]*api.Workload{}, map[string]string{}
		policies := map[string]*api.AccessPolicy{}
		for step := 0; step < 300 && !t.Failed(); step++ {
			for range 1 + r.IntN(3) {
				w.event(l, r, &serial)
			}
			nodesBefore := maps.Clone(l.nodes)
			l.update()
			want, wantNodes := w.describe()
			var got []string
			after := map[string]*api.Workload{}
			for _, o := range l.last.Set.Workloads {
				key := o.Namespace + "/" + o.Name
				after[key] = o
				got = append(got, describe(o))
				if old := before[key]; old != nil && old != o && reflect.DeepEqual(old, o) {
					t.Errorf("seed %d step %d: workload %s has another pointer and the same content", seed, step, key)
				}
				for _, p := range api.Validate(o) {
					t.Errorf("seed %d step %d: %v", seed, step, p)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("seed %d step %d: workloads\n%s\nwant\n%s", seed, step, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			gotNodes := map[string]string{}
			for n, key := range l.nodes {
				if after[key] == nil {
					t.Errorf("seed %d step %d: node %s is beside %s, which is not there", seed, step, n, key)
					continue
				}
				gotNodes[n] = identity(after[key])
				if nodesBefore[n] != "" && nodesBefore[n] != key && identities[n] == gotNodes[n] && sameOwner(key, nodesBefore[n]) {
					t.Errorf("seed %d step %d: node %s went from %s to %s for nothing", seed, step, n, nodesBefore[n], key)
				}
			}
			if !maps.Equal(gotNodes, wantNodes) {
				t.Errorf("seed %d step %d: nodes %v, want %v", seed, step, gotNodes, wantNodes)
			}
			wantPolicies, gotPolicies := w.policiesOf(), map[string]*api.AccessPolicy{}
			for _, o := range l.last.Set.AccessPolicies {
				key := o.Namespace + "/" + o.Name
				gotPolicies[key] = o
				if old := policies[key]; old != nil && old != o && reflect.DeepEqual(old, o) {
					t.Errorf("seed %d step %d: policy %s has another pointer and the same content", seed, step, key)
				}
			}
			if !reflect.DeepEqual(sortedKeys(gotPolicies), sortedKeys(wantPolicies)) {
				t.Errorf("seed %d step %d: policies %v, want %v", seed, step, sortedKeys(gotPolicies), sortedKeys(wantPolicies))
			}
			before, identities, policies = after, gotNodes, gotPolicies
		}
		// Nothing is left behind of what is gone.
		for _, p := range w.pods {
			l.take(p.pod())
		}
		for at := range w.slices {
			parts := strings.Split(at, "/")
			l.take(sliceOf(parts[0], parts[1], parts[2]))
		}
		for key := range w.services {
			ns, n, _ := strings.Cut(key, "/")
			l.take(serviceOf(ns, n))
		}
		for _, p := range w.policies {
			l.take(p)
		}
		for _, p := range w.network {
			l.take(p)
		}
		l.update()
		s := l.State
		if n := len(s.pods) + len(s.claims) + len(s.classes) + len(s.named) + len(s.nodes) + len(s.services) + len(s.slices) + len(s.slicesOf) +
			len(s.behind) + len(s.keyUse) + len(s.made) + len(s.converted) + len(s.numbers) + len(s.askers) + s.shared; n != 0 {
			t.Errorf("seed %d: %d things are left of an empty cluster: %+v", seed, n, s)
		}
	}
}

func sameOwner(a, b string) bool { return strings.Contains(a, "/web") == strings.Contains(b, "/web") }

func sortedKeys(m map[string]*api.AccessPolicy) []string { return slices.Sorted(maps.Keys(m)) }
