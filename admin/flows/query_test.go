package flows

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// TestPagesAreStable turns pages while decisions come in.
func TestPagesAreStable(t *testing.T) {
	c := newClock()
	s := newStore(t, Config{Now: c.now})
	one := func(i int) decisions.Record {
		r := allow(0)
		r.Workload = fmt.Sprintf("shop/w%03d", i)
		return r
	}
	for i := range 100 {
		c.advance(time.Millisecond)
		add(s, one(i))
	}
	seen := map[string]int{}
	var at Cursor
	for page := 0; ; page++ {
		p, err := s.Query(Filter{}, at, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Flows {
			seen[f.Workload]++
		}
		c.advance(time.Millisecond)
		add(s, one(200+page), one(99-page), one(0)) // a new one, one that was seen, and the last one
		if at = p.Next; at.IsZero() {
			break
		}
	}
	for w, n := range seen {
		if n != 1 {
			t.Errorf("%s was on %d pages", w, n)
		}
	}
	if seen["shop/w000"] != 0 || len(seen) != 99 { // it went to the front
		t.Errorf("%d flows were seen, want all that had no news: %v", len(seen), seen)
	}
	if p, _ := s.Query(Filter{}, Cursor{}, 1); p.Flows[0].Last.Before(c.now()) {
		t.Errorf("in front is %+v", p.Flows[0])
	}
}

// TestFlowsOfOneMoment have the same time, and still an order.
func TestFlowsOfOneMoment(t *testing.T) {
	c := newClock()
	s := newStore(t, Config{Now: c.now})
	for i := range 40 {
		add(s, allow(i))
	}
	var got []Flow
	for at, more := (Cursor{}), true; more; more = !at.IsZero() {
		p, err := s.Query(Filter{}, at, 7)
		if err != nil {
			t.Fatal(err)
		}
		got, at = append(got, p.Flows...), p.Next
	}
	if n := len(slices.Compact(ids(got))); n != 40 || len(got) != 40 {
		t.Errorf("%d flows, %d different ones", len(got), n)
	}
}

func TestLimits(t *testing.T) {
	s := newStore(t, Config{})
	for _, limit := range []int{-1, 0, MaxLimit + 1} {
		_, err := s.Query(Filter{}, Cursor{}, limit)
		if fe := (*FieldError)(nil); !errors.As(err, &fe) || fe.Field != "limit" {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	for _, id := range []string{"", "0", "zzzzzzzzzzzzzzzz", "+000000000000001", "0000000000000001", "00000000000000001"} {
		if _, ok := s.Get(id); ok {
			t.Errorf("Get(%q) found something", id)
		}
	}
}

// TestAReaderLetsGo counts for how many rows a reader holds the lock of a part.
func TestAReaderLetsGo(t *testing.T) {
	s := newStore(t, Config{})
	for i := range 3 * chunk {
		r := allow(i % 60)
		r.Destination = fmt.Sprintf("10.0.0.1:%d", 1+i/60)
		add(s, r)
	}
	for i := range s.parts {
		p := &s.parts[i]
		if len(p.slots) <= chunk {
			continue
		}
		seen := 0
		if more := p.look(0, func(*row) { seen++ }); !more || seen > chunk {
			t.Errorf("%d rows at once, more %v", seen, more)
		}
		free := false // between chunks anyone can have the lock
		p.look(0, func(*row) { free = free || p.mu.TryLock() })
		if free {
			t.Error("the rows are shown without the lock")
		}
		return
	}
	t.Fatal("no part has more than a chunk of rows")
}

func TestByRequest(t *testing.T) {
	c := newClock()
	s := newStore(t, Config{MaxBytes: 1 << 20, Now: c.now})
	for i, r := range []decisions.Record{deny(0), deny(0), allow(0), allow(0)} {
		r.RequestID, r.Status = fmt.Sprintf("r%d", i), uint32(100+i)
		add(s, r)
	}
	for _, r := range []struct {
		id     string
		status uint32
		v      policy.Verdict
	}{{"r0", 100, policy.Denied}, {"r1", 101, policy.Denied}, {"r2", 102, policy.Allowed}, {"r3", 102, policy.Allowed}} {
		f, ok := s.ByRequest(r.id)
		if !ok || f.Verdict != r.v || f.Example.Status != r.status || f.Count != 2 {
			t.Errorf("%s: %v %+v", r.id, ok, f)
		}
	}
	for _, id := range []string{"", "r4"} {
		if _, ok := s.ByRequest(id); ok {
			t.Errorf("%q was found", id)
		}
	}
	again := deny(1)
	again.RequestID = "r0" // an id can be sent twice
	add(s, again)
	if f, _ := s.ByRequest("r0"); f.Example.Path != again.Path {
		t.Errorf("of two requests with one id, it is %+v", f)
	}

	// The flow has to go, and the record of the request is still there.
	for i := range 1000 {
		c.advance(time.Millisecond)
		r := deny(0)
		r.Workload = fmt.Sprintf("shop/w%d", i)
		add(s, r)
	}
	if f, ok := s.ByRequest("r1"); !ok || f.ID != "" || f.Example.Status != 101 || f.Workload != "shop/web" || f.Count != 1 {
		t.Errorf("%v %+v", ok, f)
	}
	check(t, s)
}

// TestRequestsAreBounded: the latest ids are found, older ones are not, and records go before ids.
func TestRequestsAreBounded(t *testing.T) {
	var q requests
	r := deny(0)
	r.Bound()
	q.init(100*idOctets, int(10*recordBytes(&r)))
	for i := range uint64(1000) {
		q.add(i, i, &r, i%2 == 0)
	}
	for i := range uint64(1000) {
		e, ok := q.find(i)
		if ok != (i >= 900) {
			t.Fatalf("id %d is found: %v", i, ok)
		}
		if kept := e.record != nil; kept != (i > 980 && i%2 == 1) {
			t.Errorf("id %d has its record: %v", i, kept)
		}
	}
	if n, bytes := q.size(); n != 100 || int64(bytes) != 100*idOctets+10*recordBytes(&r) {
		t.Errorf("%d ids, %d octets", n, bytes)
	}
	for range 1000 { // one id for ever
		q.add(7, 7, &r, false)
	}
	if n, _ := q.size(); n != 1 {
		t.Errorf("%d ids", n)
	}
}

// TestContext: what is known of both ends is with a flow wherever it is had from.
func TestContext(t *testing.T) {
	web, client := &Context{Owner: "Deployment/web", Labels: map[string]string{"app": "web"}}, &Context{Pod: "shop/till-0"}
	s := newStore(t, Config{Describe: func(name string) *Context {
		return map[string]*Context{"shop/web": web, "192.0.2.1": client}[name]
	}})
	events, err := s.Follow(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	r := deny(0)
	r.RequestID = "one"
	add(s, r)
	p, err := s.Query(Filter{}, Cursor{}, 1)
	if err != nil || len(p.Flows) != 1 {
		t.Fatal(p, err)
	}
	got := map[string]Flow{"page": p.Flows[0], "event": (<-events).Flow}
	got["one"], _ = s.Get(p.Flows[0].ID)
	got["request"], _ = s.ByRequest("one")
	for f := range s.All(Filter{}) {
		got["all"] = f
	}
	for how, f := range got {
		if f.WorkloadContext != web || f.PeerContext != client {
			t.Errorf("%s: %+v, %+v", how, f.WorkloadContext, f.PeerContext)
		}
	}
}
