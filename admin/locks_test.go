package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// stuck is a client that reads nothing.
type stuck struct {
	h       http.Header
	reached chan struct{} // closed by the first Write
	release chan struct{}
}

func (s *stuck) Header() http.Header            { return s.h }
func (*stuck) WriteHeader(int)                  {}
func (s *stuck) Flush()                         {}
func (*stuck) SetWriteDeadline(time.Time) error { return nil }
func (s *stuck) Write(b []byte) (n int, err error) {
	select {
	case <-s.reached:
	default:
		close(s.reached)
	}
	<-s.release
	return len(b), nil
}

// TestNoRouteHoldsALock: while a client of any route reads nothing of its answer, decisions go on,
// and so do other requests.
func TestNoRouteHoldsALock(t *testing.T) {
	l := newLab(t)
	mux := newEndpoint(l, true).mux()
	for _, r := range routes() {
		if r.switched {
			continue // the runtime's own
		}
		t.Run(r.path, func(t *testing.T) {
			s := &stuck{h: http.Header{}, reached: make(chan struct{}), release: make(chan struct{})}
			req := example(&r, l)
			gone := make(chan struct{})
			ended := make(chan struct{})
			if r.path == "/api/v1/follow" {
				// It writes with the first decision, and ends with its client.
				next := record(1)
				go func() {
					tick := time.NewTicker(time.Millisecond)
					defer tick.Stop()
					for {
						select {
						case <-gone:
							return
						case <-tick.C:
							l.store.Add(&next)
						}
					}
				}()
			}
			ctx, cancel := context.WithCancel(req.Context())
			go func() {
				defer close(ended)
				mux.ServeHTTP(s, req.WithContext(ctx))
			}()
			<-s.reached
			worked := make(chan struct{})
			go func() {
				defer close(worked)
				for i := range 2000 { // more than a follower's buffer
					d := record(i)
					l.store.Add(&d)
					l.odd.Observe(&d)
				}
				_, _ = l.Current()
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/flows", nil))
			}()
			select {
			case <-worked:
			case <-time.After(20 * time.Second):
				t.Error("decisions wait for a client that reads nothing")
			}
			cancel()
			close(gone)
			close(s.release)
			<-ended
			<-worked
		})
	}
}
