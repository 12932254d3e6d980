package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds/fleet"
)

// Config of a Source.
type Config struct {
	Options

	// Cache is where objects come from. Whoever made it starts it; its scheme has the kinds of
	// client-go and of package api, and its DefaultTransform is best [Transform]. Required.
	Cache cache.Informers
	// Apply takes over an update, such as fleet.Fleet.Apply. It is called by one goroutine. What
	// it fails to take over it makes up for with the next update, as a fleet does: which nodes
	// came and went is said once. After an error it is called again, with the same set if there
	// is no newer. Required.
	Apply func(context.Context, fleet.Update) error
	// Feeds is told of all feeds when one of them changed, and Problems of all problems with what
	// was converted when there are others; at first of all, be there any or not. Both are called
	// by the goroutine that calls Apply, before it. Nil is not told.
	Feeds    func([]*api.ThreatFeed)
	Problems func([]api.Problem)

	// Window is how long an update waits, from the first change on, for others to be part of it.
	// Default 20 ms.
	Window time.Duration
	// MaxWindow bounds how long it waits where updates take longer than Window: then it waits as
	// long as the last one took, so that they leave half of the time to others. Default 200 ms.
	MaxWindow time.Duration
	// Discover is how often it is looked for ClusterNetworkPolicies, whose CRD may come late.
	// Default 30 s.
	Discover time.Duration
	// Logger is told of what fails; nil is silent.
	Logger *slog.Logger
}

// Stats are how much there is, and what was done.
type Stats struct {
	Counts
	// Events that informers gave, Updates that were applied, and Failures of those.
	Events, Updates, Failures int
	// Synced is set when all informers have given what was there, and an update was applied.
	Synced bool
}

// Source keeps a fleet at what a cluster is. Its methods may be called from any goroutine.
type Source struct {
	c      Config
	log    *slog.Logger
	signal chan struct{}

	mu    sync.Mutex
	state *State
	stats Stats
}

// New returns a Source that does nothing until it runs. An error says what is missing.
func New(c Config) (*Source, error) {
	c.Window = cmp.Or(c.Window, 20*time.Millisecond)
	c.MaxWindow = cmp.Or(c.MaxWindow, 200*time.Millisecond)
	c.Discover = cmp.Or(c.Discover, 30*time.Second)
	switch {
	case c.Cache == nil:
		return nil, errors.New("source: Config.Cache is required")
	case c.Apply == nil:
		return nil, errors.New("source: Config.Apply is required")
	case c.Window < 0 || c.MaxWindow < c.Window:
		return nil, fmt.Errorf("source: Config.Window is %v and may be up to MaxWindow, which is %v", c.Window, c.MaxWindow)
	case c.Discover < 0:
		return nil, fmt.Errorf("source: Config.Discover is %v and has to be positive", c.Discover)
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{c: c, log: log, signal: make(chan struct{}, 1), state: NewState(c.Options)}, nil
}

// Stats returns them as of now.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Counts = s.state.Counts()
	return out
}

// Run watches and applies until the context ends, and returns nil then. The first update is
// applied when every informer has given all that is there: one that knew half of the policies
// would allow what the other half denies. An error is that a kind cannot be watched, such as
// where a CRD is missing. It is called once.
func (s *Source) Run(ctx context.Context) error {
	waiting := map[string]toolscache.InformerSynced{}
	watch := func(o client.Object) error {
		kind := fmt.Sprintf("%T", o)
		informer, err := s.c.Cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("source: watch %s: %w", kind, err)
		}
		r, err := informer.AddEventHandler(s.handler())
		if err != nil {
			return fmt.Errorf("source: watch %s: %w", kind, err)
		}
		context.AfterFunc(ctx, func() {
			if err := informer.RemoveEventHandler(r); err != nil {
				s.log.Warn("a watch cannot be ended", "kind", kind, "error", err)
			}
		})
		waiting[kind] = r.HasSynced
		return nil
	}
	kinds := []client.Object{
		&corev1.Namespace{}, &corev1.Pod{}, &corev1.Service{}, &discoveryv1.EndpointSlice{},
		&api.AccessPolicy{}, &api.ClusterAccessPolicy{}, &api.NetworkSet{}, &api.ThreatFeed{},
	}
	if s.c.NetworkPolicies {
		kinds = append(kinds, &networkingv1.NetworkPolicy{})
	}
	for _, o := range kinds {
		if err := watch(o); err != nil {
			return err
		}
	}
	found, err := s.discover(watch)
	if err != nil {
		return err
	}
	if s.wait(ctx, waiting) {
		s.log.Info("the inventory is complete", "stats", s.Stats())
		s.follow(ctx, found, watch)
	}
	return nil
}

// How often it is looked whether informers are complete, and said which are not.
const (
	syncInterval    = 50 * time.Millisecond
	syncLogInterval = 10 * time.Second
)

// wait returns true when all informers are complete, and false when the context ends before. One
// that never is, because it may not be read, is named in the log.
func (s *Source) wait(ctx context.Context, waiting map[string]toolscache.InformerSynced) bool {
	poll, say := time.NewTicker(syncInterval), time.NewTicker(syncLogInterval)
	defer poll.Stop()
	defer say.Stop()
	for {
		maps.DeleteFunc(waiting, func(_ string, synced toolscache.InformerSynced) bool { return synced() })
		if len(waiting) == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-poll.C:
		case <-say.C:
			s.log.Warn("nothing is applied until these could be read; it may be that RBAC does not allow it",
				"kinds", slices.Sorted(maps.Keys(waiting)))
		}
	}
}

// clusterPolicyVersions that are converted, the newest first.
var clusterPolicyVersions = []string{"v1beta1", "v1alpha2"}

// discover watches ClusterNetworkPolicies if they are on, and reports whether there is nothing
// left to look for.
func (s *Source) discover(watch func(client.Object) error) (bool, error) {
	if !s.c.ClusterNetworkPolicies {
		return true, nil
	}
	for _, version := range clusterPolicyVersions {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(schema.GroupVersionKind{Group: clusterPolicyGroup, Version: version, Kind: clusterPolicyKind})
		switch err := watch(o); {
		case err == nil:
			s.log.Info("ClusterNetworkPolicies are watched", "version", version)
			return true, nil
		case !meta.IsNoMatchError(err):
			return false, err
		}
	}
	return false, nil
}

func (s *Source) handler() toolscache.ResourceEventHandler {
	gone := func(o any) {
		if last, missed := o.(toolscache.DeletedFinalStateUnknown); missed {
			o = last.Obj
		}
		s.event(o, s.state.Gone)
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.event(o, s.state.Changed) },
		UpdateFunc: func(_, o any) { s.event(o, s.state.Changed) },
		DeleteFunc: gone,
	}
}

func (s *Source) event(o any, take func(any) error) {
	s.mu.Lock()
	s.stats.Events++
	err := take(o)
	s.mu.Unlock()
	if err != nil {
		s.log.Error("an event is not understood", "error", err)
		return
	}
	select {
	case s.signal <- struct{}{}:
	default: // there is one that was not seen yet
	}
}

// The pause after an update that failed, which doubles from one to the other.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// follow applies one update after the other until the context ends.
func (s *Source) follow(ctx context.Context, found bool, watch func(client.Object) error) {
	looking := time.NewTicker(s.c.Discover)
	defer looking.Stop()
	if found {
		looking.Stop()
	}
	var told told
	var pause time.Duration
	for ctx.Err() == nil {
		var again <-chan time.Time
		begun := time.Now()
		if s.apply(ctx, &told, pause > 0) {
			pause = 0
		} else {
			pause = min(max(2*pause, minPause), maxPause)
			again = time.After(pause)
		}
		took := time.Since(begun)
		select {
		case <-ctx.Done():
		case <-again:
		case <-s.signal:
			s.gather(ctx, took)
		case <-looking.C:
			found, err := s.discover(watch)
			if err != nil {
				s.log.Warn("ClusterNetworkPolicies cannot be watched", "error", err)
			}
			if found {
				looking.Stop()
			}
		}
	}
}

// gather waits for what changes along with the first change.
func (s *Source) gather(ctx context.Context, took time.Duration) {
	window := time.NewTimer(min(max(s.c.Window, took), s.c.MaxWindow))
	defer window.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-window.C:
			return
		case <-s.signal:
		}
	}
}

// told is what Feeds and Problems were called with.
type told struct {
	before   bool
	feeds    []*api.ThreatFeed
	problems []api.Problem
}

// apply hands on what changed, and reports whether it was taken over. It does so even where
// nothing changed if that is owed.
func (s *Source) apply(ctx context.Context, t *told, owed bool) bool {
	s.mu.Lock()
	u, changed := s.state.Update()
	problems := s.state.Problems()
	s.mu.Unlock()
	if s.c.Problems != nil && (!t.before || !slices.Equal(problems, t.problems)) {
		s.c.Problems(problems)
	}
	if s.c.Feeds != nil && (!t.before || !slices.Equal(u.Set.ThreatFeeds, t.feeds)) {
		s.c.Feeds(u.Set.ThreatFeeds)
	}
	*t = told{true, u.Set.ThreatFeeds, problems}
	if !changed && !owed {
		return true
	}
	err := s.c.Apply(ctx, u)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.stats.Failures++
		if ctx.Err() == nil {
			s.log.Error("an update was not taken over, and is tried again", "error", err)
		}
		return false
	}
	s.stats.Updates++
	s.stats.Synced = true
	return true
}
