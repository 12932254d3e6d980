package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds/fleet"
)

// informers are those of every kind, whose events the test makes.
type informers struct {
	cache.Informers
	mu       sync.Mutex
	handlers map[string]toolscache.ResourceEventHandler
	unsynced map[string]bool
	missing  map[string]bool // kinds of which there is no CRD
	removed  int
}

func kindOf(o any) string {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.GetKind() + " " + u.GroupVersionKind().Version
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", o), "*")
}

func (i *informers) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.missing[kindOf(o)] {
		return nil, &meta.NoKindMatchError{}
	}
	return &informer{of: i, kind: kindOf(o)}, nil
}

type informer struct {
	cache.Informer
	of   *informers
	kind string
}

func (i *informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	i.of.mu.Lock()
	defer i.of.mu.Unlock()
	if i.of.handlers == nil {
		i.of.handlers = map[string]toolscache.ResourceEventHandler{}
	}
	i.of.handlers[i.kind] = h
	return registration{i}, nil
}

func (i *informer) RemoveEventHandler(toolscache.ResourceEventHandlerRegistration) error {
	i.of.mu.Lock()
	defer i.of.mu.Unlock()
	i.of.removed++
	return nil
}

type registration struct{ *informer }

func (r registration) HasSynced() bool {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	return !r.of.unsynced[r.kind]
}
func (r registration) HasSyncedChecker() toolscache.DoneChecker { return nil }

func (i *informers) add(o any)     { i.handler(o).OnAdd(o, false) }
func (i *informers) gone(o, t any) { i.handler(o).OnDelete(t) }

func (i *informers) handler(o any) toolscache.ResourceEventHandler {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.handlers[kindOf(o)]
}

func (i *informers) set(in *map[string]bool, kinds ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	*in = map[string]bool{}
	for _, k := range kinds {
		(*in)[k] = true
	}
}

// applied is what a Source said, for one goroutine at a time.
type applied struct {
	updates  []fleet.Update
	at       []time.Duration
	problems [][]api.Problem
	feeds    [][]*api.ThreatFeed
	mu       sync.Mutex // for what the test changes and no event follows
	fail     bool
}

func (a *applied) begin(fail bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail, a.updates = fail, nil
}

func runSource(t *testing.T, i *informers, c Config) (*Source, *applied, context.CancelFunc, <-chan error) {
	t.Helper()
	begin, a := time.Now(), &applied{}
	c.Cache, c.Revision = i, "r1"
	c.Problems = func(p []api.Problem) { a.problems = append(a.problems, p) }
	c.Feeds = func(f []*api.ThreatFeed) { a.feeds = append(a.feeds, f) }
	c.Apply = func(_ context.Context, u fleet.Update) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.updates, a.at = append(a.updates, u), append(a.at, time.Since(begin))
		if a.fail {
			return errors.New("not now")
		}
		return nil
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	return s, a, cancel, done
}

// pass lets time go by, and what is due then be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Would catch a first update that knows half of the policies.
func TestWaitsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &informers{}
		i.set(&i.unsynced, "api.AccessPolicy")
		s, a, cancel, done := runSource(t, i, Config{})
		i.add(web.pod())
		pass(time.Minute)
		if len(a.updates) > 0 || s.Stats().Synced {
			t.Error("an update before the policies are known")
		}
		i.add(policyOf("shop", "p", 1, "app"))
		i.set(&i.unsynced)
		pass(time.Second)
		if len(a.updates) != 1 || len(a.updates[0].Nodes) != 1 || len(a.updates[0].Set.AccessPolicies) != 1 || !s.Stats().Synced {
			t.Errorf("%d updates, first %+v", len(a.updates), a.updates)
		}
		if len(a.problems) != 1 || len(a.feeds) != 1 {
			t.Errorf("problems were told %d times, feeds %d", len(a.problems), len(a.feeds))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if i.removed != 8 {
			t.Errorf("%d handlers were removed, want 8", i.removed)
		}
	})
}

// Would catch an update for each event of many, and one that never comes while events do.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &informers{}
		s, a, cancel, done := runSource(t, i, Config{})
		a.updates, a.at = nil, nil
		begin := time.Now()
		for n := range 5 {
			p := web
			p.name, p.uid = fmt.Sprint("web-", n), fmt.Sprint(n)
			i.add(p.pod())
			pass(time.Millisecond)
		}
		pass(time.Second)
		if len(a.updates) != 1 || len(a.updates[0].Nodes) != 5 {
			t.Errorf("five events made %d updates", len(a.updates))
		}
		if wait := a.at[0]; wait > time.Since(begin) || s.Stats().Updates != 2 {
			t.Errorf("after %v; %+v", wait, s.Stats())
		}
		a.updates = nil
		for n := range 100 { // a second in which something changes all the time
			p := web
			p.name, p.uid = fmt.Sprint("more-", n), fmt.Sprint("m", n)
			i.add(p.pod())
			pass(10 * time.Millisecond)
		}
		synctest.Wait()
		if len(a.updates) < 30 || len(a.updates) > 50 {
			t.Errorf("a second of events made %d updates, want one each 20 to 30 ms", len(a.updates))
		}
		pass(time.Second)
		i.add(web.pod())
		pass(time.Second)
		before := len(a.updates)
		noise := web.pod()
		noise.Labels["noise"] = "1"
		i.add(noise)
		pass(time.Second)
		if len(a.updates) != before {
			t.Error("a label that nobody looks at makes an update")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Would catch an update that failed and is forgotten, or tried without a pause.
func TestTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &informers{}
		s, a, cancel, done := runSource(t, i, Config{})
		a.begin(true)
		i.add(web.pod())
		pass(10 * time.Second)
		if n := len(a.updates); n < 5 || n > 10 {
			t.Errorf("%d tries in 10 seconds", n)
		}
		if len(a.updates[0].Nodes) != 1 || len(a.updates[1].Nodes) != 0 || a.updates[0].Set != a.updates[1].Set {
			t.Error("a second try says again who came, or has another set")
		}
		a.begin(false)
		pass(time.Minute)
		if len(a.updates) != 1 || s.Stats().Failures == 0 {
			t.Errorf("%d updates after it went well; %+v", len(a.updates), s.Stats())
		}
		// The end of an object that was missed.
		i.gone(web.pod(), toolscache.DeletedFinalStateUnknown{Key: "shop/web-0", Obj: web.pod()})
		i.gone(web.pod(), toolscache.DeletedFinalStateUnknown{Key: "shop/x"})
		pass(time.Second)
		if u := a.updates[len(a.updates)-1]; len(u.Left) != 1 {
			t.Errorf("left: %v", u.Left)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Would catch ClusterNetworkPolicies that count only if their CRD was there at the start.
func TestLateKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &informers{}
		i.set(&i.missing, "ClusterNetworkPolicy v1beta1", "ClusterNetworkPolicy v1alpha2")
		_, a, cancel, done := runSource(t, i, Config{Options: Options{ClusterNetworkPolicies: true}})
		if len(a.updates) != 1 {
			t.Fatalf("%d updates without the CRD", len(a.updates))
		}
		i.set(&i.missing, "ClusterNetworkPolicy v1beta1")
		pass(31 * time.Second)
		i.add(clusterNetworkPolicy("Admin", 1))
		pass(time.Second)
		if len(a.updates) != 2 || len(a.updates[1].Set.ClusterAccessPolicies) != 1 {
			t.Errorf("%d updates", len(a.updates))
		}
		i.add(clusterNetworkPolicy("Nonsense", 2))
		i.add(&api.ThreatFeed{ObjectMeta: metav1.ObjectMeta{Name: "f"}})
		pass(time.Second)
		if len(a.problems) != 2 || len(a.problems[1]) != 1 || len(a.feeds) != 2 || len(a.feeds[1]) != 1 {
			t.Errorf("problems %v, feeds %v", a.problems, a.feeds)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}

		i.set(&i.missing, "v1.Pod")
		_, _, cancel, done = runSource(t, i, Config{})
		if err := <-done; err == nil || !strings.Contains(err.Error(), "Pod") {
			t.Errorf("a kind that cannot be watched: %v", err)
		}
		cancel()
	})
}

func TestConfig(t *testing.T) {
	apply := func(context.Context, fleet.Update) error { return nil }
	for _, c := range []Config{
		{Apply: apply},
		{Cache: &informers{}},
		{Cache: &informers{}, Apply: apply, Window: time.Second},
		{Cache: &informers{}, Apply: apply, Discover: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
