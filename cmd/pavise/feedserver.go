package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/replica"
	"pavise.dev/pavise/feeds/snapshot"
)

// feedServer gives agents what a feedKeeper compiles.
type feedServer struct {
	keeper  *feedKeeper
	store   *replica.Store
	state   string
	publish chan string // the newest snapshot to publish
	log     *slog.Logger
}

// newFeedServer is told of every snapshot of the keeper, which must not have been given any
// feeds yet.
func newFeedServer(k *feedKeeper, state string, log *slog.Logger) (*feedServer, error) {
	store, err := replica.OpenStore(replica.StoreConfig{Dir: filepath.Join(state, "published"), Logger: log})
	if err != nil {
		return nil, err
	}
	s := &feedServer{keeper: k, store: store, state: state, publish: make(chan string, 1), log: log}
	k.published = s.published
	return s, nil
}

func (s *feedServer) close() { _ = s.store.Close() } // a lock that goes with the process

// publishEmpty has something to give to agents that ask for feeds where there are none.
func (s *feedServer) publishEmpty() error {
	path := filepath.Join(s.state, "empty")
	b, err := snapshot.NewBuilder(nil, snapshot.KeyOf(nil))
	if err != nil {
		return err
	}
	if _, err := snapshot.Save(path, b); err != nil {
		return err
	}
	s.published(path)
	return nil
}

// published has the newest snapshot published; one that was not taken up yet is passed over.
func (s *feedServer) published(path string) {
	select {
	case <-s.publish:
	default:
	}
	s.publish <- path
}

// firstRound bounds how long agents wait for the feeds of a control plane that starts.
const firstRound = 15 * time.Second

// publishAll publishes until the context ends. The first snapshot waits until every feed
// was asked for: an agent that starts would else be ready with some of them only.
func (s *feedServer) publishAll(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, firstRound)
	err := await(wait, s.asked)
	cancel()
	if err != nil && ctx.Err() == nil {
		s.log.Warn("agents get the feeds that there are", "error", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case path := <-s.publish:
			if err := s.store.Publish(ctx, path); err != nil && ctx.Err() == nil {
				s.log.Error("a snapshot could not be published; agents keep the last", "error", err)
			}
		}
	}
}

// asked says which feed was never asked for.
func (s *feedServer) asked() error {
	list, _ := s.keeper.status()
	for _, f := range list {
		if f.State == api.FeedPending {
			return fmt.Errorf("feed %s was not asked for yet", f.Name)
		}
	}
	return nil
}

// serve answers at an address until the context ends; "none" is no address. Who may ask is
// said by the configuration of TLS, and by who, where that is not nil.
func (s *feedServer) serve(ctx context.Context, address string, c *tls.Config, who func(http.Handler) http.Handler) error {
	if address == "none" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	handler := replica.NewHandler(replica.HandlerConfig{Store: s.store, Logger: s.log})
	before := http.Handler(handler)
	if who != nil {
		before = who(handler)
	}
	srv := replica.Server(handler, before)
	srv.TLSConfig = c
	srv.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
