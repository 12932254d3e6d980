package filter

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"pavise.dev/pavise/feeds/snapshot"
)

// What snapshot.Feed says, in the words of ThreatFeed. Package api has them too, and much
// else that a module in Envoy has no use for.
const (
	feedAlert   = "Alert"
	feedIngress = "Ingress"
	feedEgress  = "Egress"
)

// Missing says what is decided while there is no snapshot.
type Missing uint8

const (
	// Open lets everything by.
	Open Missing = iota
	// Closed denies everything with the cause Unavailable.
	Closed
)

// Engine decides. Its methods may be called from any number of goroutines. The zero Engine
// has no snapshot and is open.
type Engine struct {
	// Missing is to be set before the first check.
	Missing Missing

	current atomic.Pointer[loaded]

	mu   sync.Mutex
	hits map[string]*counter // by feed, also of those that are gone
}

// loaded is a snapshot and what there is to know of its feeds.
type loaded struct {
	snapshot *snapshot.Snapshot
	feeds    []feed // as hits number them
	// unloaded is the first feed of a direction that is required and was never loaded.
	unloaded [directions]*feed
}

type feed struct {
	name  string
	deny  bool
	asked [directions]bool
	hits  *counter
}

// counter counts the checks that met a feed.
type counter struct{ denied, alerted atomic.Uint64 }

// Swap puts a snapshot in force; nil takes it out again. What is being checked meanwhile
// is decided by the one of before. The snapshot is unmapped when nothing uses it any more.
func (e *Engine) Swap(s *snapshot.Snapshot) {
	if s == nil {
		e.current.Store(nil)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hits == nil {
		e.hits = map[string]*counter{}
	}
	l := &loaded{snapshot: s, feeds: make([]feed, len(s.Feeds()))}
	for i, f := range s.Feeds() {
		if e.hits[f.Name] == nil {
			e.hits[f.Name] = &counter{}
		}
		l.feeds[i] = feed{name: f.Name, deny: f.Action != feedAlert, hits: e.hits[f.Name]}
		l.feeds[i].asked[Ingress] = f.Direction != feedEgress
		l.feeds[i].asked[Egress] = f.Direction != feedIngress
		for d := range l.unloaded {
			if f.Required && !f.Loaded && l.feeds[i].deny && l.feeds[i].asked[d] && l.unloaded[d] == nil {
				l.unloaded[d] = &l.feeds[i]
			}
		}
	}
	e.current.Store(l)
}

// Snapshot is the one in force, or nil.
func (e *Engine) Snapshot() *snapshot.Snapshot {
	if l := e.current.Load(); l != nil {
		return l.snapshot
	}
	return nil
}

// Check asks about every fact of the direction.
func (e *Engine) Check(f *Facts) Verdict {
	l := e.current.Load()
	if l == nil {
		return e.missing()
	}
	var v Verdict
	if f.Direction == Ingress {
		l.addr(&v, Ingress, Source, f.Source)
	} else {
		l.addr(&v, Egress, Destination, f.Destination)
		l.host(&v, ServerName, f.ServerName)
		l.host(&v, Host, f.Host)
		l.host(&v, Name, f.Name)
	}
	return l.close(v, f.Direction)
}

// CheckAddr asks about one address.
func (e *Engine) CheckAddr(d Direction, fact Fact, a netip.Addr) Verdict {
	l := e.current.Load()
	if l == nil {
		return e.missing()
	}
	var v Verdict
	l.addr(&v, d, fact, a)
	return l.close(v, d)
}

// CheckName asks about one canonical name of what goes out.
func (e *Engine) CheckName(fact Fact, name string) Verdict {
	l := e.current.Load()
	if l == nil {
		return e.missing()
	}
	var v Verdict
	l.name(&v, fact, name)
	return l.close(v, Egress)
}

func (e *Engine) missing() Verdict {
	if e.Missing == Closed {
		return Verdict{Action: Deny, Cause: Unavailable}
	}
	return Verdict{}
}

// close denies what a feed that nobody has read yet might have denied.
func (l *loaded) close(v Verdict, d Direction) Verdict {
	if f := l.unloaded[d]; f != nil && v.Action != Deny {
		f.hits.denied.Add(1)
		return Verdict{Action: Deny, Cause: NotLoaded, Feed: f.name}
	}
	return v
}

// host asks about what may be a name or an address. A name never looks like an address:
// its last label is not a number.
func (l *loaded) host(v *Verdict, fact Fact, host string) {
	if host == "" {
		return
	}
	if last := host[len(host)-1]; last == ']' || '0' <= last && last <= '9' {
		if a, ok := address(host); ok {
			l.addr(v, Egress, fact, a)
			return
		}
	}
	l.name(v, fact, host)
}

// address reads 192.0.2.1 or [2001:db8::1].
func address(host string) (netip.Addr, bool) {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	if len(host) > 45 { // the longest text of an address without a zone
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil && a.Zone() == ""
}

func (l *loaded) addr(v *Verdict, d Direction, fact Fact, a netip.Addr) {
	if !l.snapshot.ContainsAddr(a) {
		return
	}
	buf := hitBuffers.Get().(*[]snapshot.Hit)
	*buf = l.snapshot.LookupAddr((*buf)[:0], a)
	l.take(v, d, fact, *buf)
	hitBuffers.Put(buf)
}

func (l *loaded) name(v *Verdict, fact Fact, name string) {
	if !l.snapshot.ContainsDomain(name) {
		return
	}
	buf := hitBuffers.Get().(*[]snapshot.Hit)
	*buf = l.snapshot.LookupDomain((*buf)[:0], name)
	slices.Reverse(*buf) // the most specific first, as for addresses
	l.take(v, Egress, fact, *buf)
	clear(*buf) // what they say of a name lies in the caller's memory
	hitBuffers.Put(buf)
}

// hitBuffers hold what one look-up meets: few entries, but nobody can say how few.
var hitBuffers = sync.Pool{New: func() any {
	b := make([]snapshot.Hit, 0, 16)
	return &b
}}

// take counts every feed that was met, and keeps the first hit of the strongest action.
func (l *loaded) take(v *Verdict, d Direction, fact Fact, hits []snapshot.Hit) {
	for i, h := range hits {
		f := &l.feeds[h.Feed]
		if !f.asked[d] || slices.ContainsFunc(hits[:i], func(o snapshot.Hit) bool { return o.Feed == h.Feed }) {
			continue
		}
		action := Alert
		if f.deny {
			action = Deny
			f.hits.denied.Add(1)
		} else {
			f.hits.alerted.Add(1)
		}
		if action > v.Action {
			*v = Verdict{
				Action: action, Cause: Listed, Feed: f.name,
				Line: h.Line, Asked: fact, Prefix: h.Prefix, Domain: h.Domain, Match: h.Match,
			}
		}
	}
}

// Hits says how many look-ups met a feed since the engine was made. Denied counts what
// was closed for a feed that was never loaded, too.
type Hits struct {
	Feed    string `json:"feed"`
	Denied  uint64 `json:"denied"`
	Alerted uint64 `json:"alerted"`
}

// Hits are those of every feed there ever was, sorted by name.
func (e *Engine) Hits() []Hits {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Hits, 0, len(e.hits))
	for name, c := range e.hits {
		out = append(out, Hits{name, c.denied.Load(), c.alerted.Load()})
	}
	slices.SortFunc(out, func(a, b Hits) int { return cmp.Compare(a.Feed, b.Feed) })
	return out
}
