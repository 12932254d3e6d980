package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// feedKeeper keeps the feeds of a running process, once its folder has any: a process
// without feeds needs no state directory.
type feedKeeper struct {
	state  string
	log    *slog.Logger
	engine *filter.Engine // decides by what is in force
	// places beside those of the model that no feed may list. It is set before the first feeds are.
	places []guard.Place
	// published is told of each snapshot that comes into force; may be nil. It is set before
	// the first feeds are.
	published func(path string)
	// secrets of feeds; nil outside of Kubernetes. It is set before the first feeds are.
	secrets feeds.Secrets
	// changed is told when one was published; may be nil. It is set before the first feeds are.
	changed func()
	opened  chan struct{} // closed when there is a manager

	mu      sync.Mutex
	manager *feeds.Manager
	client  *fetch.Client
	list    []feeds.Feed // what the manager was last given, and the places beside it
	own     []guard.Place
	trouble error // why the feeds of the folder could not be taken
}

func newFeedKeeper(state string, log *slog.Logger) *feedKeeper {
	return &feedKeeper{state: state, log: log, engine: &filter.Engine{}, opened: make(chan struct{})}
}

// set takes the feeds of a set that is in order, and the places that none of them may list.
// With an error, those of before stay.
func (k *feedKeeper) set(set *api.Set, m *policy.Model) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.trouble = k.take(feeds.FromSet(set), slices.Concat(ownPlaces(m), k.places))
	return k.trouble
}

func (k *feedKeeper) take(list []feeds.Feed, own []guard.Place) error {
	switch {
	case k.manager == nil && len(list) == 0:
		return nil
	case k.manager == nil:
		if err := k.open(); err != nil {
			return fmt.Errorf("feeds: %w", err)
		}
	case reflect.DeepEqual(list, k.list) && slices.Equal(own, k.own):
		// Most changes are to policies. To set the same feeds again would break off what is
		// being fetched, and compile millions of entries for nothing.
		return nil
	}
	if err := k.manager.Set(list, own); err != nil {
		return fmt.Errorf("feeds: %w", err)
	}
	k.list, k.own = list, own
	return nil
}

func (k *feedKeeper) open() error {
	m, client, err := openFeeds(k.state, k.secrets, k.log, func(path string, s *snapshot.Snapshot) {
		k.engine.Swap(s)
		if k.published != nil {
			k.published(path)
		}
		if k.changed != nil {
			k.changed()
		}
	})
	if errors.Is(err, feeds.ErrLocked) {
		return fmt.Errorf("%w; stop that one, or name another directory with --state", err)
	}
	if err != nil {
		return err
	}
	k.manager, k.client = m, client
	close(k.opened)
	return nil
}

// openFeeds takes a state directory. Both are to be closed.
func openFeeds(state string, secrets feeds.Secrets, log *slog.Logger, published func(string, *snapshot.Snapshot)) (*feeds.Manager, *fetch.Client, error) {
	if err := privateDir("state", state); err != nil {
		return nil, nil, err
	}
	client := fetch.New(fetch.Options{UserAgent: fetch.UserAgent(buildVersion()), Log: log})
	m, err := feeds.Open(feeds.Config{Dir: state, Client: client, Secrets: secrets, Published: published, Log: log})
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return m, client, nil
}

// get is the manager; nil while there are no feeds.
func (k *feedKeeper) get() *feeds.Manager {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.manager
}

// status is what is known of each feed, and what keeps feeds out of force, if anything.
func (k *feedKeeper) status() (list []feeds.Status, trouble string) {
	k.mu.Lock()
	m, err := k.manager, k.trouble
	k.mu.Unlock()
	if m != nil {
		list = m.Status()
		if err == nil {
			err = m.Trouble()
		}
	}
	if err != nil {
		trouble = err.Error()
	}
	return list, trouble
}

// feedPages answer what admin endpoints and pages ask about feeds, for a process that embeds them.
type feedPages struct{ keeper *feedKeeper }

// FeedList implements admin.HasFeeds.
func (p feedPages) FeedList() []feeds.Status {
	list, _ := p.keeper.status()
	return list
}

// FeedDir implements admin.HasFeeds.
func (p feedPages) FeedDir() string { return p.keeper.state }

// FeedChanges implements page.FeedHistorian. Beside an error there may be changes that could be
// read, as feeds.Changes says.
func (p feedPages) FeedChanges(name string) ([]feeds.Change, error) {
	return feeds.Changes(p.keeper.state, name)
}

// run keeps the feeds until the context ends.
func (k *feedKeeper) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-k.opened:
	}
	return k.get().Run(ctx)
}

// close gives the state directory back. It may be called more than once, and set no more.
func (k *feedKeeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.manager != nil {
		k.client.Close()
		_ = k.manager.Close() // a lock that goes with the process
	}
}
