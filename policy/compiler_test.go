package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// world is objects that a test changes as a cluster does: whoever changes makes a new object.
type world struct {
	*rand.Rand
	objects map[string]api.Object
}

func newWorld(seed uint64) *world {
	return &world{rand.New(rand.NewPCG(seed, 7)), map[string]api.Object{}}
}

func (w *world) set() *api.Set {
	list := make([]api.Object, 0, len(w.objects))
	for _, o := range w.objects {
		list = append(list, o)
	}
	s, _ := api.NewSet(list...)
	return s
}

func oneOf(w *world, ss ...string) string { return ss[w.IntN(len(ss))] }

func (w *world) labels() map[string]string {
	return map[string]string{"app": oneOf(w, "a", "b", "c"), "tier": oneOf(w, "x", "y")}
}

func (w *world) selector() *metav1.LabelSelector {
	switch w.IntN(4) {
	case 0:
		return &metav1.LabelSelector{}
	case 1:
		return &metav1.LabelSelector{MatchLabels: map[string]string{"tier": oneOf(w, "x", "y")}}
	case 2:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{oneOf(w, "a", "b")}}}}
	}
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": oneOf(w, "a", "b", "c")}}
}

func (w *world) peer() api.Peer {
	switch w.IntN(6) {
	case 0:
		return api.Peer{PodSelector: w.selector()}
	case 1:
		return api.Peer{NamespaceSelector: w.selector()}
	case 2:
		return api.Peer{NamespaceSelector: w.selector(), PodSelector: w.selector()}
	case 3:
		return api.Peer{ServiceAccounts: []string{oneOf(w, "n0", "n1") + "/" + oneOf(w, "s", "t")}}
	case 4:
		return api.Peer{NetworkSets: []string{oneOf(w, "n0", "n1") + "/" + oneOf(w, "p", "q")}}
	}
	return api.Peer{CIDRs: []string{oneOf(w, "10.0.0.0/8", "10.0.0.1", "0.0.0.0/0")}}
}

func (w *world) spec() api.AccessPolicySpec {
	s := api.AccessPolicySpec{Selector: *w.selector(), Mode: api.Mode(oneOf(w, "", "Audit", "Enforce"))}
	if w.IntN(2) == 0 {
		o := w.Int32N(3)
		s.Order = &o
	}
	match := func() (m api.RuleMatch) {
		if w.IntN(2) == 0 {
			m.HTTP = []api.HTTPMatch{{Paths: []api.PathMatch{{Prefix: oneOf(w, "/a", "/a/b", "/c")}}, Headers: []api.ValueMatch{{Name: oneOf(w, "x-a", "X-A"), Exact: "v"}}}}
		}
		if w.IntN(4) == 0 {
			m.Ports = []api.Port{{Port: 80, Protocol: api.Protocol(oneOf(w, "TCP", "UDP"))}}
		}
		return m
	}
	if w.IntN(4) != 0 {
		s.Ingress = []api.IngressRule{}
		for range w.IntN(4) {
			s.Ingress = append(s.Ingress, api.IngressRule{Action: api.Action(oneOf(w, "Allow", "Deny", "Pass")), From: []api.Peer{w.peer()}[:w.IntN(2)], RuleMatch: match()})
		}
	}
	if w.IntN(2) == 0 {
		s.Egress = []api.EgressRule{}
		for range w.IntN(3) {
			e := api.EgressRule{Action: api.Action(oneOf(w, "Allow", "Deny")), To: []api.EgressPeer{{Peer: w.peer()}}, RuleMatch: match()}
			if w.IntN(3) == 0 {
				e.TLS = &api.TLSMatch{ServerNames: []string{"a.test"}}
			}
			s.Egress = append(s.Egress, e)
		}
	}
	return s
}

func metaOf(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}
}

// change does one random thing, and says what.
func (w *world) change() string {
	ns := oneOf(w, "n0", "n1", "n2")
	var o api.Object
	key := ""
	switch w.IntN(10) {
	case 0:
		key, o = "namespace "+ns, &api.Namespace{ObjectMeta: metaOf("", ns, w.labels())}
	case 1:
		n := oneOf(w, "p", "q")
		key, o = "set "+ns+"/"+n, &api.NetworkSet{ObjectMeta: metaOf(ns, n, nil), Spec: api.NetworkSetSpec{
			CIDRs: []string{oneOf(w, "10.1.0.0/16", "10.2.0.0/16")}, Domains: []string{oneOf(w, "a.test", "b.test")},
		}}
	case 2:
		key, o = "feed", &api.ThreatFeed{ObjectMeta: metaOf("", "feed", nil), Spec: api.ThreatFeedSpec{Required: w.IntN(2) == 0, Action: api.FeedDeny}}
	case 3, 4:
		n := fmt.Sprintf("p%d", w.IntN(3))
		key, o = "policy "+ns+"/"+n, &api.AccessPolicy{ObjectMeta: metaOf(ns, n, nil), Spec: w.spec()}
	case 5:
		n := fmt.Sprintf("p%d", w.IntN(3))
		key, o = "cluster "+n, &api.ClusterAccessPolicy{ObjectMeta: metaOf("", n, nil), Spec: api.ClusterAccessPolicySpec{
			Tier: api.Tier(oneOf(w, "Admin", "Baseline")), NamespaceSelector: *w.selector(), AccessPolicySpec: w.spec(),
		}}
	default:
		n := fmt.Sprintf("w%d", w.IntN(5))
		key = "workload " + ns + "/" + n
		spec := api.WorkloadSpec{ServiceAccount: oneOf(w, "", "s", "t")}
		if w.IntN(2) == 0 {
			spec.Transparent = &api.Transparent{}
		} else {
			spec.Inbound = []api.Inbound{{Port: 80, Upstream: "127.0.0.1:1", Protocol: api.TrafficKind(oneOf(w, "HTTP", "TCP"))}}
			spec.Outbound = []api.Outbound{{Port: 3128}}[:w.IntN(2)]
		}
		if was, ok := w.objects[key].(*api.Workload); ok && w.IntN(2) == 0 {
			spec = was.Spec // only labels and addresses change, as with pods that come and go
		}
		spec.Addresses = []string{fmt.Sprintf("10.0.%d.%d", w.IntN(3), w.IntN(9)), oneOf(w, "10.9.9.9", "2001:db8::1")}[:w.IntN(3)]
		spec.ServiceAddresses = []string{oneOf(w, "10.96.0.1", "10.96.0.2"), oneOf(w, "10.96.0.2", "fd00::96")}[:w.IntN(3)]
		labels := w.labels()
		if was, ok := w.objects[key].(*api.Workload); ok && w.IntN(2) == 0 {
			labels = was.Labels
		}
		o = &api.Workload{ObjectMeta: metaOf(ns, n, labels), Spec: spec}
	}
	if _, there := w.objects[key]; there && w.IntN(4) == 0 {
		delete(w.objects, key)
		return "remove " + key
	}
	w.objects[key] = o
	return "give " + key
}

// TestCompilerAgreesWithCompile: whatever changed in whatever order, model, digest and
// problems are those of a compile from nothing, and what did not change has its pointer. A
// dependency that is forgotten leaves a sidecar with the rules of yesterday.
func TestCompilerAgreesWithCompile(t *testing.T) {
	for seed := range uint64(10) {
		w, c := newWorld(seed), NewCompiler()
		before := &Model{}
		for step := range 120 {
			what := w.change()
			for range w.IntN(3) {
				what += ", " + w.change()
			}
			set := w.set()
			got, problems := c.Compile(set)
			want, wantProblems := Compile(set)
			where := fmt.Sprintf("seed %d, step %d: %s", seed, step, what)
			if !slices.Equal(problems, wantProblems) {
				t.Fatalf("%s: problems\n%v\nwant\n%v", where, problems, wantProblems)
			}
			if got.Digest != want.Digest || len(got.Workloads) != len(want.Workloads) {
				t.Fatalf("%s: another model", where)
			}
			for i, g := range got.Workloads {
				if x := want.Workloads[i]; g.Digest() != x.Digest() || !reflect.DeepEqual(plain(g), plain(x)) {
					t.Fatalf("%s: workload %s\n%+v\nwant\n%+v", where, g.Key(), plain(g), plain(x))
				}
				if g.Digest() != (&Workload{Namespace: g.Namespace, Name: g.Name, Listeners: g.Listeners, FeedsClosed: g.FeedsClosed}).Digest() {
					t.Fatalf("%s: workload %s: the digest that is kept is another than the one that is made", where, g.Key())
				}
				old := before.Workload(g.Namespace, g.Name)
				if old != nil && old != g && old.Digest() == g.Digest() && slices.Equal(old.Addresses, g.Addresses) && slices.Equal(old.Policies, g.Policies) {
					t.Fatalf("%s: workload %s is the same and has another pointer", where, g.Key())
				}
			}
			before = got
		}
	}
}

// plain is a workload in values that can be compared.
func plain(w *Workload) any {
	type rule struct {
		Rule  Rule
		Terms []string
	}
	type listener struct {
		L     Listener
		Rules []rule
		By    [2][]PolicyRef
	}
	out := struct {
		Key       string
		Addresses []netip.Addr
		Policies  []PolicyRef
		Closed    bool
		Listeners []listener
	}{w.Key(), slices.Clone(w.Addresses), w.Policies, w.FeedsClosed, nil}
	for _, l := range w.Listeners {
		x := listener{L: *l, By: [2][]PolicyRef{l.Program.Isolating, l.Program.Auditing}}
		x.L.Program = nil
		for _, r := range l.Program.Rules {
			y := rule{Rule: *r}
			y.Rule.Terms = nil
			for _, tm := range r.Terms {
				s := fmt.Sprint(tm.Domains, tm.ServerNames, tm.Ports)
				for _, a := range []*AddrSet{tm.Sources, tm.Destinations} {
					if a != nil {
						s += fmt.Sprint(a.Prefixes())
					} else {
						s += " any"
					}
				}
				if tm.HTTP != nil {
					for _, p := range tm.HTTP.Paths {
						s += fmt.Sprint(p.Kind, p.Text)
					}
					for _, v := range tm.HTTP.Values {
						s += v.Label
					}
				}
				y.Terms = append(y.Terms, s)
			}
			x.Rules = append(x.Rules, y)
		}
		out.Listeners = append(out.Listeners, x)
	}
	return out
}

// TestCompilerMovesLines: a comment above a policy moves what is said of it, although nothing
// else changed.
func TestCompilerMovesLines(t *testing.T) {
	const workload = "apiVersion: pavise.dev/v1alpha1\nkind: Workload\nmetadata: {name: w, namespace: n}\nspec: {inbound: [{port: 80, upstream: \"127.0.0.1:1\", protocol: TCP}]}\n"
	const policy = "apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p, namespace: n}\nspec:\n  ingress:\n  - {action: Deny, http: [{methods: [GET]}]}\n"
	first, _ := api.Parse("t.yaml", []byte(workload+"---\n"+policy))
	second, _ := api.Parse("t.yaml", []byte(workload+"---\n# why\n"+policy))
	second.Workloads = first.Workloads
	c := NewCompiler()
	for i, set := range []*api.Set{first, second} {
		_, problems := c.Compile(set)
		if len(problems) != 1 || problems[0].Code != CodeBluntDeny || problems[0].Line != 11+i {
			t.Errorf("%d: %v", i, problems)
		}
	}
}

// TestCompilerForgets: what is gone leaves nothing behind, else churn is a leak.
func TestCompilerForgets(t *testing.T) {
	w, c := newWorld(3), NewCompiler()
	for range 200 {
		w.change()
		c.Compile(w.set())
	}
	clear(w.objects)
	c.Compile(w.set())
	if n := len(c.spaces) + len(c.sets) + len(c.groups) + len(c.groupsIn) + len(c.sums.sums) + len(c.members); n != 0 {
		t.Errorf("%d things are kept: %d namespaces, %d sets, %d groups in %d, %d sums", n, len(c.spaces), len(c.sets), len(c.groups), len(c.groupsIn), len(c.sums.sums))
	}
}

// cluster is 10,000 pods in 1,000 classes of 50 namespaces under 200 policies.
func cluster() []api.Object {
	var out []api.Object
	for n := range 50 {
		ns := fmt.Sprintf("ns%02d", n)
		out = append(out, &api.Namespace{ObjectMeta: metaOf("", ns, map[string]string{"team": fmt.Sprint(n % 10)})})
		for i := range 20 {
			w := &api.Workload{ObjectMeta: metaOf(ns, fmt.Sprintf("app%02d", i), map[string]string{"app": fmt.Sprint(i)}), Spec: api.WorkloadSpec{Transparent: &api.Transparent{}}}
			for a := range 10 {
				w.Spec.Addresses = append(w.Spec.Addresses, fmt.Sprintf("10.%d.%d.%d", n, i, a+1))
			}
			out = append(out, w)
		}
		for i := range 4 {
			p := &api.AccessPolicy{ObjectMeta: metaOf(ns, fmt.Sprintf("p%d", i), nil), Spec: api.AccessPolicySpec{
				Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint(i)}},
			}}
			for r := range 10 {
				p.Spec.Ingress = append(p.Spec.Ingress, api.IngressRule{
					Action: api.ActionAllow, From: []api.Peer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint(r + i)}}}},
					RuleMatch: api.RuleMatch{HTTP: []api.HTTPMatch{{Paths: []api.PathMatch{{Prefix: fmt.Sprintf("/v%d", r)}}}}},
				})
			}
			out = append(out, p)
		}
	}
	return out
}

// BenchmarkCompiler is one pod that comes: to a class that ten rules name, to one that none
// does, and beside them everything from nothing.
func BenchmarkCompiler(b *testing.B) {
	for _, c := range []struct{ name, app string }{{"arrival/in-peers", "app03"}, {"arrival/in-none", "app19"}} {
		b.Run(c.name, func(b *testing.B) {
			objects := cluster()
			i := slices.IndexFunc(objects, func(o api.Object) bool {
				_, ok := o.(*api.Workload)
				return ok && o.GetNamespace() == "ns07" && o.GetName() == c.app
			})
			was := objects[i].(*api.Workload)
			more := *was
			more.Spec.Addresses = append(slices.Clone(was.Spec.Addresses), "10.200.0.1")
			first, _ := api.NewSet(objects...)
			objects[i] = &more
			second, _ := api.NewSet(objects...)
			compiler := NewCompiler()
			compiler.Compile(first)
			b.ResetTimer()
			for n := range b.N {
				compiler.Compile([]*api.Set{second, first}[n%2])
			}
		})
	}
	b.Run("from-nothing", func(b *testing.B) {
		set, _ := api.NewSet(cluster()...)
		for range b.N {
			Compile(set)
		}
	})
}
