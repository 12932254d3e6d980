package delta

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
)

// wire is the client's end of a stream.
type wire struct {
	ctx   context.Context
	sent  chan *frame
	stuck bool // the client does not read
}

func (w *wire) Context() context.Context { return w.ctx }

func (w *wire) SendMsg(m any) error {
	if w.stuck {
		<-w.ctx.Done()
		return w.ctx.Err()
	}
	w.sent <- m.(message).frame
	return nil
}

func newHub(t *testing.T, c Config) *Hub {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	if c.SendTime == 0 {
		c.SendTime = time.Minute
	}
	if c.SyncTime == 0 {
		c.SyncTime = time.Minute
	}
	if c.MaxSyncing == 0 {
		c.MaxSyncing = 100
	}
	h := NewHub(c)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { h.Work(ctx, 2) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
		goleak.VerifyNone(t)
	})
	return h
}

func connect(t *testing.T, h *Hub, node string) (*Stream, *wire) {
	t.Helper()
	ctx, end := context.WithCancelCause(context.Background())
	t.Cleanup(func() { end(nil) })
	w := &wire{ctx: ctx, sent: make(chan *frame, 16)}
	s, err := h.Open(w, end)
	if err != nil {
		t.Fatal(err)
	}
	s.Identify(node)
	return s, w
}

func say(t *testing.T, s *Stream, q *discoveryv3.DeltaDiscoveryRequest) {
	t.Helper()
	if err := s.Request(q); err != nil {
		t.Fatal(err)
	}
}

// begin asks for listeners and clusters.
func begin(t *testing.T, s *Stream) {
	t.Helper()
	say(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[Clusters]})
	say(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[Listeners]})
}

// take waits for a response and acknowledges it.
func take(t *testing.T, s *Stream, w *wire) *frame {
	t.Helper()
	select {
	case f := <-w.sent:
		say(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[f.to.kind], ResponseNonce: f.nonce})
		return f
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was sent")
		return nil
	}
}

func (r Record) inForce() bool { return r.Wanted != "" && r.Pending == 0 && r.NACK == nil }

// TestLateEndOfAnOldStream: an Envoy that reconnects before its old connection is noticed
// to be broken is connected, and has what it acknowledged.
func TestLateEndOfAnOldStream(t *testing.T) {
	h := newHub(t, Config{})
	h.Set("n", parse(t, "c:a=1 l:x=1"))
	first, w := connect(t, h, "n")
	begin(t, first)
	take(t, first, w)
	take(t, first, w)
	second, w := connect(t, h, "n")
	begin(t, second)
	take(t, second, w)
	take(t, second, w)
	first.Close()
	if r := h.Record("n"); !r.Connected || !r.inForce() || r.Acked == "" {
		t.Errorf("after the end of the old stream: %+v", r)
	}
	second.Close()
	if r := h.Record("n"); r.Connected || r.inForce() || r.Pending != 2 {
		t.Errorf("after the end of the last: %+v", r)
	}
}

// TestNobodyIsKept: nodes that were never given anything, or are forgotten, leave nothing.
func TestNobodyIsKept(t *testing.T) {
	h := newHub(t, Config{})
	count := func() (n int) {
		for range h.All() {
			n++
		}
		return n
	}
	stranger, _ := connect(t, h, "stranger")
	begin(t, stranger)
	known, w := connect(t, h, "known")
	h.Set("known", parse(t, "l:x=1"))
	begin(t, known)
	take(t, known, w)
	h.Forget("known")
	if r := h.Record("known"); !r.Connected || r.Wanted != "" {
		t.Errorf("forgotten and connected: %+v", r)
	}
	h.Set("absent", parse(t, "l:x=1"))
	h.Forget("absent")
	if n := count(); n != 2 {
		t.Errorf("%d nodes while two are connected", n)
	}
	stranger.Close()
	known.Close()
	if n, l := count(), h.Load(); n != 0 || l.Streams != 0 {
		t.Errorf("%d nodes and %d streams are left", n, l.Streams)
	}
}

// TestWaitsToBeSet: who connects before there is anything for it waits, and is served then.
func TestWaitsToBeSet(t *testing.T) {
	h := newHub(t, Config{})
	s, w := connect(t, h, "n")
	begin(t, s)
	if len(w.sent) != 0 {
		t.Fatal("something was sent")
	}
	h.Set("n", parse(t, "c:a=1 l:x=1"))
	if a, b := take(t, s, w), take(t, s, w); a.to.kind != Clusters || b.to.kind != Listeners {
		t.Errorf("types %d and %d", a.to.kind, b.to.kind)
	}
	s.Close()
}

// TestStarvation: "10,000 reconnects at once": two are given their first resources at a
// time, in order; those who never answer hold their place for a time only; and one that
// gives up while it waits is passed over.
func TestStarvation(t *testing.T) {
	h := newHub(t, Config{MaxSyncing: 2, SyncTime: 50 * time.Millisecond})
	c := parse(t, "c:a=1 l:x=1")
	const n = 40
	streams, wires := make([]*Stream, n), make([]*wire, n)
	var mu sync.Mutex
	var order []int
	most := 0
	for i := range n {
		node := string(rune('A' + i))
		h.Set(node, c)
		streams[i], wires[i] = connect(t, h, node)
		begin(t, streams[i])
	}
	streams[7].Close()
	var all sync.WaitGroup
	for i := range n {
		if i == 7 {
			continue
		}
		all.Go(func() {
			f := <-wires[i].sent
			mu.Lock()
			order = append(order, i)
			most = max(most, h.Load().Syncing)
			mu.Unlock()
			if i%3 == 0 {
				return // it never answers
			}
			say(t, streams[i], &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[f.to.kind], ResponseNonce: f.nonce})
			take(t, streams[i], wires[i])
		})
	}
	all.Wait()
	if most > 2 {
		t.Errorf("%d at once", most)
	}
	sorted := slices.Clone(order)
	slices.Sort(sorted)
	for i, got := range order {
		if d := got - sorted[i]; d > 4 || d < -4 { // two at a time, and goroutines
			t.Errorf("place %d went to %d: %v", i, got, order)
			break
		}
	}
	for i, s := range streams {
		if i != 7 {
			s.Close()
		}
	}
	if l := h.Load(); l.Syncing != 0 || l.Waiting != 0 {
		t.Errorf("left: %+v", l)
	}
}

// TestSlowClients: more clients than workers that do not read hold up nobody, and are ended.
func TestSlowClients(t *testing.T) {
	h := newHub(t, Config{SendTime: 300 * time.Millisecond})
	c := parse(t, "l:x=1")
	var stuck []*wire
	for _, node := range []string{"a", "b", "c", "d", "e"} {
		s, w := connect(t, h, node)
		begin(t, s)
		w.stuck = true
		stuck = append(stuck, w)
		h.Set(node, c)
		t.Cleanup(s.Close)
	}
	s, w := connect(t, h, "quick")
	defer s.Close()
	begin(t, s)
	h.Set("quick", c)
	take(t, s, w)
	for _, w := range stuck {
		select {
		case <-w.ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("one that does not read is kept")
		}
	}
}

// TestTooManyStreams: the oldest stream of a node is ended for a newer one, and beyond the
// bound of all nobody is taken.
func TestTooManyStreams(t *testing.T) {
	h := newHub(t, Config{MaxStreams: maxPerNode + 1})
	var wires []*wire
	for range maxPerNode + 1 {
		s, w := connect(t, h, "n")
		t.Cleanup(s.Close)
		wires = append(wires, w)
	}
	if wires[0].ctx.Err() == nil || wires[1].ctx.Err() != nil {
		t.Error("not the oldest was ended")
	}
	if _, err := h.Open(&wire{}, nil); err == nil {
		t.Error("one more than the bound was taken")
	}
}

// TestChangesInAStorm: a waiter is woken once for many changes, and never misses the last.
func TestChangesInAStorm(t *testing.T) {
	var c changes
	woken := 0
	done := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		for range 100_000 {
			c.tell()
		}
		close(done)
	})
	for running := true; running; {
		next := c.next()
		select {
		case <-next:
			woken++
		case <-done:
			running = false
		}
	}
	if woken > 1000 {
		t.Errorf("woken %d times", woken)
	}
	next := c.next()
	c.tell()
	select {
	case <-next:
	case <-time.After(10 * time.Second):
		t.Error("the last change was missed")
	}
	told.Wait()
}
