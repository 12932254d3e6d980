package flows

import (
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// raced says that the race detector is on, which makes long tests too long.
var raced bool

// upTo is n, or a tenth of it with the race detector.
func upTo(n int) int {
	if raced {
		return n / 10
	}
	return n
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// clock is a clock that tests set.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(noon.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }
func newStore(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// allow is a decision of kind i about web, by a peer that nobody knows.
func allow(i int) decisions.Record {
	return decisions.Record{
		From: decisions.Envoy, Workload: "shop/web", Listener: "shop/web/http", Direction: policy.Ingress, Verdict: policy.Allowed,
		Reason: "namespace:shop/web#read", Policy: "shop/web", Rule: "read", Source: "192.0.2.1:40000", Destination: "10.0.0.1:8080",
		Method: "GET", Host: "shop.example", Path: "/p" + word(i),
	}
}

func deny(i int) decisions.Record {
	r := allow(i)
	r.Verdict, r.Reason, r.Policy, r.Rule = policy.Denied, "default-deny:shop/web", "", ""
	return r
}

// word is a number in letters, which Shape leaves alone.
func word(i int) string {
	b := strconv.AppendInt(nil, int64(i), 10)
	for j := range b {
		b[j] += 'g' - '0'
	}
	return string(b)
}

func all(t testing.TB, s *Store, f Filter) []Flow {
	t.Helper()
	var out []Flow
	var c Cursor
	for {
		p, err := s.Query(f, c, MaxLimit)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p.Flows...)
		if c = p.Next; c.IsZero() {
			return out
		}
	}
}

// add gives records to a store.
func add(s *Store, records ...decisions.Record) {
	for i := range records {
		s.Add(&records[i])
	}
}

// check looks at what must hold of every store, whatever was done to it.
func check(t testing.TB, s *Store) {
	t.Helper()
	var bytes int64
	for i := range s.parts {
		p := &s.parts[i]
		p.mu.Lock()
		type counts struct {
			rows                       int
			peers, names, meths, paths map[string]int
		}
		held := map[*group]*counts{}
		var listed int64
		for j := range p.lists {
			for w := p.lists[j].newest; w != nil; w = w.older {
				listed++
			}
		}
		if int(listed) != len(p.rows) {
			t.Errorf("part %d: %d rows are listed of %d", i, listed, len(p.rows))
		}
		for id, w := range p.rows {
			if p.slots[w.slot] != w || w.id != id {
				t.Errorf("part %d: a row is not in its slot", i)
			}
			bytes += w.bytes
			c := held[w.group]
			if c == nil {
				c = &counts{0, map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}}
				held[w.group] = c
			}
			c.rows++
			c.peers[w.key.Peer]++
			c.names[w.key.Name]++
			c.meths[w.key.Method]++
			c.paths[w.key.Path]++
		}
		if len(held) != len(p.groups) {
			t.Errorf("part %d: %d groups, of which %d have rows", i, len(p.groups), len(held))
		}
		for g, c := range held {
			bytes += g.bytes()
			if c.rows != g.rows || p.groups[g.key] != g {
				t.Errorf("group %v: has %d rows, counts %d", g.key, c.rows, g.rows)
			}
			for _, pair := range []struct {
				vs   values
				want map[string]int
			}{{g.peers, c.peers}, {g.names, c.names}, {g.meths, c.meths}, {g.paths, c.paths}} {
				delete(pair.want, "")
				if len(pair.vs) != len(pair.want) || len(pair.vs) > mostValues+1 {
					t.Errorf("group %v: counts %d values of %d", g.key, len(pair.vs), len(pair.want))
				}
				for text, v := range pair.vs {
					bytes += valueOctets + int64(len(text))
					if v.rows != pair.want[text] {
						t.Errorf("group %v: %q has %d rows, counts %d", g.key, text, pair.want[text], v.rows)
					}
				}
			}
			bytes += portOctets * int64(len(g.ports))
		}
		p.mu.Unlock()
	}
	if got := s.bytes.Load(); got != bytes || got > s.most {
		t.Errorf("%d octets are counted, and %d held, of at most %d", got, bytes, s.most)
	}
}

// resolver knows workloads by address.
func resolver(known map[string]string) func(netip.Addr) (string, bool) {
	return func(a netip.Addr) (string, bool) {
		w, ok := known[a.String()]
		return w, ok
	}
}

func ids(fs []Flow) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return out
}
