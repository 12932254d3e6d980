package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/fetch"
)

// feedKeeper keeps the feeds of a running process, once its folder has any: a process
// without feeds needs no state directory.
type feedKeeper struct {
	state string
	log   *slog.Logger

	mu      sync.Mutex
	manager *feeds.Manager
	client  *fetch.Client
	opened  chan struct{} // closed when there is a manager
}

func newFeedKeeper(state string, log *slog.Logger) *feedKeeper {
	return &feedKeeper{state: state, log: log, opened: make(chan struct{})}
}

// set takes the feeds of a folder that is in order.
func (k *feedKeeper) set(c *compiled) error {
	list := feeds.FromSet(c.set)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.manager == nil {
		if len(list) == 0 {
			return nil
		}
		if err := k.open(c); err != nil {
			return fmt.Errorf("feeds: %w", err)
		}
	}
	return k.manager.Set(list)
}

func (k *feedKeeper) open(c *compiled) error {
	if err := privateDir(k.state); err != nil {
		return err
	}
	client := fetch.New(fetch.Options{UserAgent: fetch.UserAgent(buildVersion()), Log: k.log})
	m, err := feeds.Open(feeds.Config{Dir: k.state, Client: client, Own: ownPlaces(c.model), Log: k.log})
	if err != nil {
		client.Close()
		return err
	}
	k.manager, k.client = m, client
	close(k.opened)
	return nil
}

// get is the manager; nil while there are no feeds.
func (k *feedKeeper) get() *feeds.Manager {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.manager
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

// close gives the state directory back. It may be called more than once.
func (k *feedKeeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.manager != nil {
		k.client.Close()
		_ = k.manager.Close() // a lock that goes with the process
	}
}
