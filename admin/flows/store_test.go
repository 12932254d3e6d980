package flows

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// naive keeps every decision, and answers from all of them.
type naive struct{ records []decisions.Record }

func (n *naive) flows(s *Store) map[Key]*Flow {
	out := map[Key]*Flow{}
	for i := range n.records {
		r := &n.records[i]
		k := s.keyOf(r)
		f := out[k]
		if f == nil {
			f = &Flow{Key: k, First: r.Time, Last: r.Time}
			out[k] = f
		}
		f.Count += max(1, r.Count) * max(1, uint64(r.Sampled))
		if r.Time.Before(f.First) {
			f.First = r.Time
		}
		if r.Time.After(f.Last) {
			f.Last = r.Time
		}
		if r.Feed.Name != "" {
			f.Feed = r.Feed
		}
		if r.Alert.Name != "" {
			f.Alert = r.Alert
		}
		f.Policy, f.Rule = r.Policy, r.Rule
	}
	return out
}

// wants is Filter.Match, written as plainly as can be.
func wants(f Filter, w *Flow) bool {
	space, name, _ := strings.Cut(w.Workload, "/")
	ok := (f.Namespace == "" || f.Namespace == space) && (f.Workload == "" || f.Workload == w.Workload || f.Workload == name) &&
		(f.Peer == "" || f.Peer == w.Peer) && (f.Verdict == "" || f.Verdict == w.Verdict) && strings.HasPrefix(w.Reason, f.Reason) &&
		(f.Feed == "" || f.Feed == w.Feed.Name || f.Feed == w.Alert.Name) && (f.Method == "" || f.Method == w.Method) &&
		(f.Direction == "" || f.Direction == w.Direction) && (f.Port == 0 || f.Port == w.Port) &&
		(f.Since.IsZero() || !w.Last.Before(f.Since)) && (f.Until.IsZero() || w.First.Before(f.Until)) &&
		(!f.Audit || w.AuditVerdict != "" && w.AuditVerdict != w.Verdict)
	if strings.HasPrefix(f.Name, "*") {
		ok = ok && strings.HasSuffix(w.Name, f.Name[1:])
	} else {
		ok = ok && (f.Name == "" || f.Name == w.Name)
	}
	everything := strings.Join([]string{w.Name, w.Path, w.Peer, w.Workload, w.Reason, w.Listener, w.Method, w.Feed.Name, w.Alert.Name}, "\n")
	return ok && strings.Contains(strings.ToLower(everything), strings.ToLower(f.Text))
}

// TestAsTheNaiveStore compares what is answered with what follows from all decisions, while
// there are few enough values that nothing is merged.
func TestAsTheNaiveStore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		s := newStore(t, Config{Now: c.now, Resolve: resolver(map[string]string{"10.0.0.9": "shop/cart"})})
		var n naive
		pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, name) }
		for range rapid.IntRange(1, 150).Draw(rt, "records") {
			c.advance(time.Duration(rapid.IntRange(1, 5000).Draw(rt, "pause")) * time.Millisecond)
			r := decisions.Record{
				Time: c.now().Add(-time.Duration(rapid.IntRange(0, 3).Draw(rt, "delay")) * time.Second), From: decisions.Envoy,
				Workload: pick("workload", "shop/web", "shop/cart", "bank/web"), Direction: policy.Direction(pick("direction", "ingress", "egress")),
				Verdict: policy.Verdict(pick("verdict", "allow", "deny")), Reason: pick("reason", "default-allow", "namespace:shop/web#read", "feed:bad"),
				AuditVerdict: policy.Verdict(pick("audit", "", "allow", "deny")),
				Source:       pick("source", "10.0.0.9:1", "192.0.2.1:2"), Destination: pick("destination", "10.0.0.9:80", "198.51.100.1:443", ""),
				Host: pick("host", "a.example", "B.A.example", ""), Method: pick("method", "GET", "POST"), Path: pick("path", "/a", "/12", "/13", "/B"),
				Count: uint64(rapid.IntRange(0, 3).Draw(rt, "count")), Sampled: uint32(rapid.IntRange(0, 2).Draw(rt, "sampled")),
			}
			if rapid.IntRange(0, 4).Draw(rt, "alerts") == 0 {
				r.Alert = decisions.Hit{Name: pick("alert", "watch", "look"), Line: 7}
			}
			s.Add(&r)
			n.records = append(n.records, r)
		}
		f := Filter{
			Namespace: pick("f.namespace", "", "", "shop", "none"), Workload: pick("f.workload", "", "", "web", "shop/cart"),
			Peer: pick("f.peer", "", "", "shop/cart", "192.0.2.1"), Verdict: policy.Verdict(pick("f.verdict", "", "", "deny")),
			Reason: pick("f.reason", "", "", "namespace:", "feed"), Feed: pick("f.feed", "", "", "", "watch"), Name: pick("f.name", "", "", "a.example", "*.a.example", "*.example"),
			Method: pick("f.method", "", "", "POST"), Direction: policy.Direction(pick("f.direction", "", "", "egress")),
			Text: pick("f.text", "", "", "WEB", "{n}", "look"), Audit: rapid.IntRange(0, 3).Draw(rt, "f.audit") == 0,
		}
		if rapid.IntRange(0, 3).Draw(rt, "f.times") == 0 {
			f.Since, f.Until = noon.Add(10*time.Second), noon.Add(60*time.Second)
		}
		check(t, s)
		limit := rapid.IntRange(1, 20).Draw(rt, "limit")
		var got []Flow
		for at, more := (Cursor{}), true; more; more = !at.IsZero() {
			p, err := s.Query(f, at, limit)
			if err != nil {
				rt.Fatal(err)
			}
			if !p.Next.IsZero() && len(p.Flows) != limit || len(p.Flows) > limit {
				rt.Fatalf("a page of %d, and one after it: %v", len(p.Flows), !p.Next.IsZero())
			}
			got, at = append(got, p.Flows...), p.Next
		}
		if !slices.IsSortedFunc(got, func(a, b Flow) int { return b.Last.Compare(a.Last) }) {
			rt.Fatal("pages are not newest first")
		}
		if each := slices.Collect(s.All(f)); !slices.Equal(ids(each), ids(got)) {
			rt.Fatalf("All has %d flows, pages have %d", len(each), len(got))
		}
		want := 0
		for k, w := range n.flows(s) {
			if !wants(f, w) {
				continue
			}
			want++
			i := slices.IndexFunc(got, func(g Flow) bool { return g.Key == k })
			if i < 0 {
				rt.Fatalf("%+v is missing with %+v", w, f)
			}
			g := got[i]
			if g.Count != w.Count || !g.First.Equal(w.First) || !g.Last.Equal(w.Last) || g.Feed != w.Feed || g.Alert != w.Alert || g.Merged {
				rt.Fatalf("got %+v, want %+v", g, w)
			}
			if one, ok := s.Get(g.ID); !ok || one.Key != k {
				rt.Fatalf("Get(%s) = %+v", g.ID, one)
			}
		}
		if want != len(got) {
			rt.Fatalf("%d flows, want %d, with %+v", len(got), want, f)
		}
	})
}

// TestAScanIsAFewRows sends a million requests which differ in all that a stranger can choose.
func TestAScanIsAFewRows(t *testing.T) {
	s := newStore(t, Config{})
	n := upTo(1_000_000)
	add(s, allow(0))
	before := heapOctets()
	for i := range n {
		r := deny(0)
		r.Source = fmt.Sprintf("203.%d.%d.%d:%d", i>>16&255, i>>8&255, i&255, 1024+i%60000)
		r.Destination = fmt.Sprintf("10.0.0.1:%d", 1+i%65535)
		r.Path, r.Host, r.Method = "/p"+word(i), "h"+word(i)+".example", "M"+word(i)
		s.Add(&r)
	}
	grown := heapOctets() - before
	st := s.Stats()
	t.Logf("%d requests: %d flows, %d octets by our count, %d by the runtime's", n, st.Flows, st.Bytes, grown)
	if st.Flows > 2*mostValues+2 {
		t.Errorf("%d flows", st.Flows)
	}
	if grown > 1<<20 {
		t.Errorf("%d octets", grown)
	}
	if st.Decisions != uint64(n+1) || st.Merged < uint64(n-2*mostValues) {
		t.Errorf("%+v", st)
	}
	for _, f := range all(t, s, Filter{Verdict: policy.Denied, Peer: Star}) { // one of each port that has room, and one of all others
		if !f.Merged || f.Path != Star || f.Name != Star || f.Method != Star || f.Port > mostValues || f.Port == 0 && f.Count < uint64(n-20*mostValues) {
			t.Errorf("%d decisions: %+v", f.Count, f.Key)
		}
	}
	if len(all(t, s, Filter{Verdict: policy.Allowed})) != 1 {
		t.Error("what is usual was hidden by the scan")
	}
	check(t, s)
	runtime.KeepAlive(s)
}

// TestAScanOfCombinationsIsBounded has few values of each kind, but many combinations of them.
func TestAScanOfCombinationsIsBounded(t *testing.T) {
	s := newStore(t, Config{})
	n := upTo(200_000)
	for i := range n {
		r := deny(i % 60)
		r.Source = fmt.Sprintf("203.0.113.%d:1", i/60%60)
		r.Destination = fmt.Sprintf("10.0.0.1:%d", 1+i/3600%60)
		s.Add(&r)
	}
	if st := s.Stats(); st.Flows > 2*mostRows+mostValues || st.Decisions != uint64(n) {
		t.Errorf("%+v", st)
	}
	check(t, s)
}

// TestBytesAreBounded adds more flows than there is room for, and asks the runtime.
func TestBytesAreBounded(t *testing.T) {
	before := heapOctets()
	s := newStore(t, Config{MaxBytes: 16 << 20})
	n := upTo(120_000)
	for i := range n {
		r := allow(i % 50)
		if i%3 == 0 {
			r = deny(i % 50)
		}
		r.Workload = fmt.Sprintf("ns%d/w%d", i%7, i/40)
		r.Reason += strings.Repeat("x", i%200)
		r.RequestID = fmt.Sprintf("%032x", i)
		s.Add(&r)
	}
	grown, st := heapOctets()-before, s.Stats()
	t.Logf("%d flows: %d are held, %d octets by our count, %d by the runtime's", n, st.Flows, st.Bytes, grown)
	if st.Bytes > 16<<20 || grown > 20<<20 {
		t.Errorf("%d octets by our count, %d by the runtime's", st.Bytes, grown)
	}
	if !raced && (st.EvictedAllowed == 0 || st.Bytes < 11<<20) {
		t.Errorf("%+v", st)
	}
	check(t, s)
	runtime.KeepAlive(s)
}

func heapOctets() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestDeniedOutliveAllowed: a flood of what is allowed does not push out the denial from
// before it, and a flood of denials does not push out all that is usual.
func TestDeniedOutliveAllowed(t *testing.T) {
	c := newClock()
	s := newStore(t, Config{MaxBytes: 1 << 20, Now: c.now})
	flood := func(one func(int) decisions.Record) {
		for i := range 5000 {
			c.advance(time.Millisecond)
			r := one(0)
			r.Workload = fmt.Sprintf("shop/w%d", i)
			s.Add(&r)
		}
	}
	first := deny(0)
	first.Workload = "shop/first"
	add(s, first)
	flood(allow)
	if len(all(t, s, Filter{Workload: "first"})) != 1 {
		t.Error("allowed flows pushed out a denied one")
	}
	flood(deny)
	denied, allowed := len(all(t, s, Filter{Verdict: policy.Denied})), len(all(t, s, Filter{Verdict: policy.Allowed}))
	if allowed == 0 || denied < allowed {
		t.Errorf("%d denied and %d allowed flows are left", denied, allowed)
	}
	st := s.Stats()
	if st.EvictedAllowed+st.EvictedDenied+uint64(st.Flows) != 10_001 {
		t.Errorf("%+v do not account for 10001 flows", st)
	}
	check(t, s)
}

func TestTheWindow(t *testing.T) {
	c := newClock()
	s := newStore(t, Config{Window: time.Minute, Now: c.now})
	old, future, none := allow(1), allow(2), allow(3)
	old.Time, future.Time = noon.Add(-61*time.Second), noon.Add(time.Hour)
	add(s, old, future, none)
	if st := s.Stats(); st.Late != 1 || st.Flows != 2 || st.Records != 3 {
		t.Errorf("%+v", st)
	}
	for _, f := range all(t, s, Filter{}) {
		if !f.Last.Equal(noon) || !f.Example.Time.Equal(noon) {
			t.Errorf("%+v is not of now", f)
		}
	}
	id := all(t, s, Filter{})[0].ID
	c.advance(61 * time.Second)
	if got := all(t, s, Filter{}); len(got) != 0 {
		t.Errorf("past the window: %+v", got)
	}
	if _, ok := s.Get(id); ok {
		t.Error("Get finds what is past the window")
	}
	for range shards * sweepEvery {
		add(s, allow(4))
	}
	if st := s.Stats(); st.Flows != 1 || st.Expired != 2 {
		t.Errorf("not swept: %+v", st)
	}
	check(t, s)
}

// TestHostileRecords: whatever a record holds, what is kept of it is bounded and can be printed.
func TestHostileRecords(t *testing.T) {
	s := newStore(t, Config{MaxBytes: 1 << 20})
	long := strings.Repeat("\xff\x00é", 100_000)
	for i := range 50 {
		r := decisions.Record{
			From: decisions.From(long), Workload: long, Listener: long, Direction: policy.Direction(long), Verdict: policy.Verdict(long),
			Reason: long, Policy: long, Rule: long, AuditVerdict: policy.Verdict(long), AuditReason: long, Source: long, Destination: long,
			ServerName: long, Method: long, Host: long, Path: long + "/" + word(i), Feed: decisions.Hit{Name: long, Entry: long, Asked: long},
			Alert: decisions.Hit{Name: long}, Question: decisions.Question{Name: long, Type: long}, Answer: long, RequestID: long, Detail: long,
			Count: math.MaxUint64, Sampled: math.MaxUint32, Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
		}
		if i%2 == 0 { // plain, but for its texts
			r.Verdict, r.Feed, r.Alert = policy.Allowed, decisions.Hit{}, decisions.Hit{}
		}
		s.Add(&r)
	}
	st := s.Stats()
	if st.Bytes > 64<<10 || st.Decisions != math.MaxUint64 || st.RequestIDs != 0 {
		t.Errorf("%+v", st)
	}
	for _, f := range all(t, s, Filter{}) {
		if len(f.Path) > 400 || len(f.Reason) > 4096 || f.Count != math.MaxUint64 || strings.Contains(f.Workload, "\xff") {
			t.Errorf("%+v", f.Key)
		}
	}
	check(t, s)
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{MaxBytes: 1000}, "flows: MaxBytes 1000: a store needs at least 1 MiB"},
		{Config{Window: -1}, "flows: Window -1ns: it is how long a flow is kept, and cannot be negative"},
	} {
		if _, err := New(c.c); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v", c.c, err)
		}
	}
}

// TestExample: a denied flow has the latest decision as its example, an allowed one the latest
// to within a second.
func TestExample(t *testing.T) {
	c := newClock()
	s := newStore(t, Config{Now: c.now})
	for i := range 5 {
		a, d := allow(0), deny(0)
		a.Status, d.Status = uint32(i+1), uint32(i+1)
		add(s, a, d)
		c.advance(400 * time.Millisecond)
	}
	for _, f := range all(t, s, Filter{}) {
		want := uint32(5)
		if f.Verdict == policy.Allowed {
			want = 4
		}
		if f.Example.Status != want || f.Count != 5 {
			t.Errorf("%s: %+v", f.Verdict, f)
		}
	}
}

// TestConcurrently reads in every way while four add. Mostly of use with -race.
func TestConcurrently(t *testing.T) {
	s := newStore(t, Config{MaxBytes: 1 << 20, Resolve: resolver(nil)})
	ctx, cancel := context.WithCancel(context.Background())
	var adders, readers sync.WaitGroup
	each := upTo(20_000)
	for a := range 4 {
		adders.Go(func() {
			for i := range each {
				r := deny(i % 200)
				if i%2 == 0 {
					r = allow(i % 200)
				}
				r.Workload, r.RequestID = fmt.Sprintf("shop/w%d", i%60), fmt.Sprint(a, i)
				s.Add(&r)
			}
		})
	}
	reads := []func(){
		func() {
			seen := map[string]bool{}
			for at, more := (Cursor{}), true; more; more = !at.IsZero() {
				p, err := s.Query(Filter{}, at, 50)
				if err != nil {
					t.Error(err)
				}
				for _, f := range p.Flows {
					if seen[f.ID] {
						t.Error("a flow is on two pages")
					}
					seen[f.ID] = true
				}
				at = p.Next
			}
		},
		func() {
			for f := range s.All(Filter{Text: "W1"}) {
				s.Get(f.ID)
			}
		},
		func() { s.Stats(); s.ByRequest("0 1") },
		func() {
			fctx, stop := context.WithCancel(ctx)
			events, err := s.Follow(fctx, Filter{Verdict: policy.Denied})
			if err != nil {
				t.Error(err)
			}
			for range 3 {
				select {
				case <-events:
				case <-ctx.Done():
				}
			}
			stop()
			for range events {
			}
		},
	}
	for _, read := range reads {
		readers.Go(func() {
			for ctx.Err() == nil {
				read()
			}
		})
	}
	adders.Wait()
	cancel()
	readers.Wait()
	if st := s.Stats(); st.Decisions != uint64(4*each) || st.Records != uint64(4*each) {
		t.Errorf("%+v", st)
	}
	check(t, s)
}

func TestAddCostsLittleMemory(t *testing.T) {
	s := newStore(t, Config{Now: newClock().now})
	r := allow(0)
	r.Time = noon
	s.Add(&r)
	if n := testing.AllocsPerRun(1000, func() { s.Add(&r) }); n > 1 {
		t.Errorf("%v allocations for a decision of a flow that is known", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, c := range []struct {
		name string
		one  func(int) decisions.Record
	}{{"allowed", allow}, {"denied", deny}} {
		b.Run(c.name, func(b *testing.B) {
			s := newStore(b, Config{})
			rs := make([]decisions.Record, 50)
			for i := range rs {
				rs[i] = c.one(i)
				rs[i].RequestID = fmt.Sprintf("%032x", i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Add(&rs[i%len(rs)])
			}
		})
	}
}
