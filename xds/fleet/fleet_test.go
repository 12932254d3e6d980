package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a server that notes who was set and forgotten since it was last asked.
type recorder struct {
	mu        sync.Mutex
	log       []string
	resources map[string]*xds.Resources
	fail      map[string]bool
}

func (r *recorder) Set(_ context.Context, node string, res *xds.Resources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail[node] {
		return errors.New("not now")
	}
	r.log = append(r.log, node)
	r.resources[node] = res
	return nil
}

func (r *recorder) Forget(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, "-"+node)
	delete(r.resources, node)
}

// lab is a fleet, and the objects it is given by their names.
type lab struct {
	*Fleet
	t       *testing.T
	server  *recorder
	objects map[string]api.Object
}

func newLab(t *testing.T) *lab {
	s := &recorder{resources: map[string]*xds.Resources{}, fail: map[string]bool{}}
	return &lab{New(Config{Server: s, Options: xds.Options{Resolver: xds.DefaultResolver, Module: true}}), t, s, map[string]api.Object{}}
}

// give adds or replaces objects; they need not be valid.
func (l *lab) give(text string) {
	l.t.Helper()
	set, _ := api.Parse("t.yaml", []byte(text))
	for _, o := range set.AccessPolicies {
		l.objects["AccessPolicy "+o.Name] = o
	}
	for _, o := range set.ClusterAccessPolicies {
		l.objects["ClusterAccessPolicy "+o.Name] = o
	}
	for _, o := range set.NetworkSets {
		l.objects["NetworkSet "+o.Name] = o
	}
	for _, o := range set.Workloads {
		l.objects["Workload "+o.Namespace+"/"+o.Name] = o
	}
}

// apply applies, and returns the report and who was set and forgotten.
func (l *lab) apply(nodes map[string]string, left ...string) (*Report, string) {
	l.t.Helper()
	list := make([]api.Object, 0, len(l.objects))
	for _, o := range l.objects {
		list = append(list, o)
	}
	set, _ := api.NewSet(list...)
	l.server.log = nil
	r, err := l.Apply(l.t.Context(), Update{Set: set, Nodes: nodes, Left: left})
	if err != nil {
		l.t.Fatal(err)
	}
	slices.Sort(l.server.log)
	return r, strings.Join(l.server.log, " ")
}

func (l *lab) want(what, got, want string) {
	l.t.Helper()
	if got != want {
		l.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func workload(ns, name, app string, addresses ...string) string {
	return fmt.Sprintf("---\napiVersion: pavise.dev/v1alpha1\nkind: Workload\nmetadata: {name: %s, namespace: %s, labels: {app: %s}}\nspec: {transparent: {}, addresses: [%s]}\n",
		name, ns, app, strings.Join(addresses, ", "))
}

func accessPolicy(name, app, rules string) string {
	return fmt.Sprintf("---\napiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: %s, namespace: shop}\nspec: {selector: {matchLabels: {app: %s}}, ingress: [%s]}\n", name, app, rules)
}

func clusterPolicy(name, rules string) string {
	return fmt.Sprintf("---\napiVersion: pavise.dev/v1alpha1\nkind: ClusterAccessPolicy\nmetadata: {name: %s}\nspec: {tier: Admin, ingress: [%s]}\n", name, rules)
}

const networkSet = "---\napiVersion: pavise.dev/v1alpha1\nkind: NetworkSet\nmetadata: {name: bad, namespace: shop}\nspec: {cidrs: [192.0.2.0/24]}\n"

var shop = map[string]string{"shop/web-1": "shop/web", "shop/web-2": "shop/web", "shop/db-1": "shop/db", "other/x-1": "other/x"}

// newShop is web, that takes from db, db, and x that has nothing to do with either.
func newShop(t *testing.T) *lab {
	l := newLab(t)
	l.give(workload("shop", "web", "web", "10.0.0.1", "10.0.0.2") + workload("shop", "db", "db", "10.0.0.3") + workload("other", "x", "x", "10.0.1.1") +
		accessPolicy("web", "web", "{name: db, action: Allow, from: [{podSelector: {matchLabels: {app: db}}}]}"))
	return l
}

// TestWhomAChangeConcerns: a push to more than those is what took control planes down; a push
// to fewer leaves rules of yesterday.
func TestWhomAChangeConcerns(t *testing.T) {
	l := newShop(t)
	_, set := l.apply(shop)
	l.want("at first everybody", set, "other/x-1 shop/db-1 shop/web-1 shop/web-2")
	if l.server.resources["shop/web-1"] != l.server.resources["shop/web-2"] {
		t.Error("two nodes of one workload have resources of their own")
	}
	if d := l.server.resources["shop/web-1"].Digest; d != l.Model().Workload("shop", "web").Digest() || d != l.Digest("shop/web") {
		t.Errorf("the resources are called %s", d)
	}
	_, set = l.apply(nil)
	l.want("nothing changed", set, "")

	l.give(workload("shop", "db", "db", "10.0.0.3", "10.0.0.4"))
	_, set = l.apply(map[string]string{"shop/db-2": "shop/db"})
	l.want("a pod of db comes: itself, and web that names db", set, "shop/db-2 shop/web-1 shop/web-2")
	l.give(workload("other", "x", "x", "10.0.1.1", "10.0.1.2"))
	_, set = l.apply(nil)
	l.want("an address that nobody names", set, "")
	l.give(clusterPolicy("all", "{name: no, action: Deny, from: [{cidrs: [192.0.2.1]}]}"))
	_, set = l.apply(nil, "shop/web-2")
	l.want("a rule for all, and one leaves", set, "-shop/web-2 other/x-1 shop/db-1 shop/db-2 shop/web-1")

	l.want("selected by web", fmt.Sprint(len(l.Selected(policy.PolicyRef{Namespace: "shop", Name: "web"}))), "1")
	l.want("selected by all", fmt.Sprint(len(l.Selected(policy.PolicyRef{Name: "all"}))), "3")
	l.want("nodes of db", strings.Join(l.NodesOf("shop/db"), " "), "shop/db-1 shop/db-2")

	_, set = l.apply(map[string]string{"shop/db-1": "shop/db"}, "shop/db-1")
	l.want("a new pod of an old name", set, "-shop/db-1 shop/db-1")
	_, set = l.apply(map[string]string{"shop/db-1": "shop/web"})
	l.want("one moves", set, "shop/db-1")
	if l.server.resources["shop/db-1"] != l.server.resources["shop/web-1"] {
		t.Error("who moved has something else than who was there")
	}
	delete(l.objects, "Workload shop/web")
	_, set = l.apply(nil)
	l.want("a workload that is gone takes nothing from its nodes", set, "")
	_, set = l.apply(map[string]string{"y/y-1": "y/y"})
	l.want("a node of a workload that is not there waits", set, "")
	l.give(workload("y", "y", "y", "10.0.9.9"))
	_, set = l.apply(nil)
	l.want("and is set when it comes", set, "y/y-1")
}

// TestOneBadObject: what is wrong stops nobody but itself, and loosens nothing.
func TestOneBadObject(t *testing.T) {
	const broken = "{name: db, action: Allow, from: [{networkSets: [nowhere]}]}"
	l := newShop(t)
	l.apply(shop)
	good := l.Digest("shop/web")
	for name, text := range map[string]string{
		"not valid":        accessPolicy("web", "web", "{name: db, action: Perhaps}"),
		"does not compile": accessPolicy("web", "web", broken),
	} {
		l.give(text)
		r, set := l.apply(nil)
		l.want(name+": set", set, "")
		l.want(name+": last good", strings.Join(r.LastGood, " "), "AccessPolicy shop/web")
		if !api.HasErrors(r.Problems) || r.Problems[0].Object != "AccessPolicy shop/web" {
			t.Errorf("%s: %v", name, r.Problems)
		}
	}
	l.give(accessPolicy("db", "db", "{name: get, action: Allow, http: [{methods: [GET]}]}"))
	_, set := l.apply(nil)
	l.want("another's policy goes through", set, "shop/db-1")
	l.want("and web has what it had", l.Digest("shop/web"), good)

	l.give(accessPolicy("new", "web", broken))
	r, set := l.apply(nil)
	l.want("one that was never good", set, "")
	l.want("takes no part", strings.Join(r.OutOfForce, " "), "AccessPolicy shop/new")
	l.give(strings.ReplaceAll(networkSet, "name: bad", "name: nowhere"))
	r, set = l.apply(nil)
	l.want("what was missing comes", set, "shop/web-1 shop/web-2")
	l.want("all is in force", fmt.Sprint(len(r.LastGood), len(r.OutOfForce)), "0 0")
}

// TestDeletedNetworkSet: a Deny rule keeps the addresses that it was written against.
func TestDeletedNetworkSet(t *testing.T) {
	l := newShop(t)
	l.give(networkSet + accessPolicy("deny", "db", "{name: bad, action: Deny, from: [{networkSets: [bad]}]}, {name: all, action: Allow}"))
	l.apply(shop)
	delete(l.objects, "NetworkSet bad")
	for range 2 {
		r, set := l.apply(nil)
		l.want("the set is deleted", set, "")
		if len(r.LastGood) != 1 || len(r.Problems) == 0 || r.Problems[0].Code != policy.CodeNoNetworkSet || r.Problems[0].Object != "AccessPolicy shop/deny" {
			t.Errorf("%v, %v", r.LastGood, r.Problems)
		}
	}
	delete(l.objects, "AccessPolicy deny")
	r, set := l.apply(nil)
	l.want("nobody names it any more", set, "shop/db-1")
	l.want("and nothing is kept", strings.Join(r.LastGood, " "), "")
}

// TestBadAtTheStart: a control plane that starts over a broken policy does not know what
// stood in its place, and must not allow what that denied.
func TestBadAtTheStart(t *testing.T) {
	l := newShop(t)
	l.give(accessPolicy("db", "db", "{name: a, action: Deny, from: [{networkSets: [nowhere]}]}"))
	r, set := l.apply(shop)
	l.want("all but those that it selects", set, "other/x-1 shop/web-1 shop/web-2")
	if !strings.Contains(r.Held["shop/db"], "AccessPolicy shop/db") {
		t.Errorf("held: %v", r.Held)
	}
	_, set = l.apply(map[string]string{"shop/db-2": "shop/db"})
	l.want("a new one waits", set, "")
	l.give(accessPolicy("db", "db", "{name: a, action: Deny}"))
	r, set = l.apply(nil)
	l.want("mended", set, "shop/db-1 shop/db-2")
	l.want("nobody is held", fmt.Sprint(len(r.Held)), "0")
}

// TestNotForEnvoy: who may write in one namespace cannot keep the cluster's rules away with one
// that Envoy cannot be given.
func TestNotForEnvoy(t *testing.T) {
	l := newShop(t)
	l.apply(shop)
	var rules []string
	for i := range 60 {
		rules = append(rules, fmt.Sprintf("{name: p%d, action: Pass, http: [{paths: [{prefix: /p%d}]}]}, {name: a%d, action: Allow, http: [{paths: [{prefix: /a%d}]}]}", i, i, i, i))
	}
	l.give(accessPolicy("many", "web", strings.Join(rules, ",")) +
		strings.ReplaceAll(clusterPolicy("all", "{name: no, action: Deny, from: [{cidrs: [192.0.2.1]}]}"), "Admin", "Baseline"))
	r, set := l.apply(nil)
	l.want("the cluster's rule arrives", set, "other/x-1 shop/db-1 shop/web-1 shop/web-2")
	l.want("the other takes no part", strings.Join(r.OutOfForce, " "), "AccessPolicy shop/many")
	if len(l.Selected(policy.PolicyRef{Name: "all"})) != 3 {
		t.Error("the cluster's policy does not select all")
	}
	_, set = l.apply(nil)
	l.want("it stays so", set, "")
}

// TestServerFails: a node that could not be set is set by the next update, whatever that is of.
func TestServerFails(t *testing.T) {
	l := newShop(t)
	l.server.fail["shop/db-1"] = true
	set := func() (*Report, error) {
		list := make([]api.Object, 0, len(l.objects))
		for _, o := range l.objects {
			list = append(list, o)
		}
		s, _ := api.NewSet(list...)
		return l.Apply(t.Context(), Update{Set: s, Nodes: shop})
	}
	if r, err := set(); err == nil || r == nil || r.Set != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	delete(l.server.fail, "shop/db-1")
	_, again := l.apply(nil)
	l.want("again", again, "shop/db-1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Apply(ctx, Update{Set: l.Set(), Nodes: map[string]string{"shop/db-2": "shop/db"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	_, again = l.apply(nil)
	l.want("after an update that was cut off", again, "shop/db-2")
}

// TestReadersBesideApply: status and explain read while updates are applied.
func TestReadersBesideApply(t *testing.T) {
	l := newShop(t)
	l.apply(shop)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, w := range l.Selected(policy.PolicyRef{Namespace: "shop", Name: "web"}) {
					l.NodesOf(w.Key())
					l.Digest(w.Key())
				}
				l.WorkloadOf("shop/web-1")
				_, _ = l.Model(), l.Set()
			}
		})
	}
	for i := range 40 {
		l.give(workload("shop", "db", "db", fmt.Sprintf("10.0.2.%d", i)))
		if _, set := l.apply(nil); set != "shop/web-1 shop/web-2" {
			t.Errorf("step %d: %q", i, set)
		}
	}
	close(done)
	wg.Wait()
}
