package anomaly

import (
	"fmt"
	"hash/maphash"
	"strings"
	"time"
)

const (
	// mostFresh is how many alerts of a kind on something new a side raises in an hour, and
	// mostFreshDay in a day. The others are one, about "*".
	mostFresh    = 10
	mostFreshDay = 30
	// mostSites bounds the sites of a day that have a new name.
	mostSites = 64
	// A rate is one if it is rateTimes what is usual at this hour of the week, half as
	// much again where that hour is not known yet, and at least rateLeast in the hour. It is a drop below
	// a tenth, where that hour of the week is known for at least dropWeeks.
	rateTimes = 3
	rateLeast = 500
	dropTimes = 10
	dropLeast = 200
	dropWeeks = 2
	// Denials are a burst if there are more in a window than in denyTimes usual hours, and at
	// least denyLeast.
	denyTimes = 3
	denyLeast = 30
)

// judgement is the look at one event, under the lock of its shard.
type judgement struct {
	d     *Detector
	w     *workload
	side  *side
	e     *event // nil while time passes
	found []Alert
}

// raise adds an alert about the side's event, or about now where there is none.
func (j *judgement) raise(a Alert, at time.Time) {
	a.Workload, a.First, a.Last = j.w.name, at, at
	if j.side != nil {
		a.Direction = j.side.direction
	}
	a.Peer, a.Name, a.Path = strings.Clone(a.Peer), strings.Clone(a.Name), strings.Clone(a.Path)
	j.found = append(j.found, a)
}

// values looks at what was met: peer, name, port, method and path.
func (j *judgement) values() {
	s, e, w := j.side, j.e, j.w
	// What is denied teaches nothing on the way in: anybody can be denied. On the way out it
	// is the workload itself that asks.
	counts := !e.denied || e.egress || e.known
	tried := [dims]string{}
	teaches := counts && !j.scanning()
	look := func(set *set, k dim, kind Kind, v string, alerts bool) {
		if v == "" {
			return
		}
		n := set.find(v)
		if k < dims && (n == nil || !n.usual()) {
			tried[k] = v
		}
		if !teaches {
			return
		}
		if n != nil {
			n.met(e.window)
			return
		}
		grown, stored := set.add(strings.Clone(v), e.window, j.d.room())
		j.d.grow(grown)
		// Without memory to know it by, it would be new each time.
		if w.learned && alerts && !set.open && (stored || len(set.list) >= set.most) {
			j.fresh(kind, v)
		}
	}
	look(&s.ports, dimPorts, "", e.port, false)
	look(&s.methods, dims, "", e.method, false)
	look(&s.shapes, dimPaths, NewPath, e.shape, !e.denied && !e.egress)
	look(&s.names, dimNames, NewName, e.name, e.egress && !e.nowhere)
	// Addresses that nobody knows come to what serves the public as they like; the set is
	// open there.
	look(&s.peers, dimPeers, NewPeer, e.peer, true)
	if !e.egress {
		tried[dimPeers] = "" // a source is not what it tries
	}
	for k, v := range tried {
		if v != "" {
			j.try(dim(k), v)
		}
	}
}

// scanning says that the source of the event is scanning in this window: what it tries is
// not learned, or the next scan would be usual.
func (j *judgement) scanning() bool {
	c := j.side.scanners.get(j.e.source)
	return c != nil && c.over != [dims]bool{}
}

func (j *judgement) try(k dim, v string) {
	s, e := j.side, j.e
	was := s.scanners.bytes
	c, n := s.scanners.try(e.source, k, maphash.String(j.d.seed, v), j.d.room())
	j.d.grow(s.scanners.bytes - was)
	if n == 0 {
		return
	}
	limit := s.scanners.limit(c.source, k, j.w.factor)
	if float64(n) < limit || !j.w.learned {
		return
	}
	c.over[k] = true
	severity := Warning
	if !e.denied || float64(n) >= 4*limit {
		severity = Critical
	}
	who, peer := "the workload itself", ""
	if c.source == others {
		who = "several sources that were too many to be told apart"
		peer = others
	} else if !e.egress {
		who, peer = c.source, c.source
	}
	j.raise(Alert{
		Kind: Scan, Severity: severity, Peer: peer, Of: dimWord[k],
		Why: fmt.Sprintf("%s tried %d %s that are not usual within %s; %.0f make a scan", who, n, dimWord[k], windowLength, limit),
		Evidence: []Evidence{{
			What: "unusual " + dimWord[k] + " of one source in 10 min", Seen: float64(n),
			Usual: float64(s.scanners.peak[k]), Limit: limit,
		}},
	}, e.at)
}

// fresh raises an alert on something new, or one for all of the hour that are too many. Of the
// new names of a site, the first of the day has an alert of its own and the others are one.
func (j *judgement) fresh(kind Kind, v string) {
	s, e := j.side, j.e
	if kind == NewName && e.outside != "" {
		if s.sites[e.outside] {
			j.raise(Alert{
				Kind: NewName, Severity: Warning, Name: "*." + e.outside,
				Why:      "more names of a site of which a name was new today",
				Evidence: []Evidence{{What: "known names", Usual: float64(len(s.names.list)), Limit: 1}},
			}, e.at)
			return
		}
		if len(s.sites) < mostSites {
			if s.sites == nil {
				s.sites = map[string]bool{}
			}
			s.sites[strings.Clone(e.outside)] = true
		}
	}
	if s.fresh == nil {
		s.fresh = map[Kind]freshCount{}
	}
	n := s.fresh[kind]
	n.hour++
	n.day++
	s.fresh[kind] = n
	shown, why := v, ""
	if n.hour > mostFresh || n.day > mostFreshDay {
		shown, why = others, fmt.Sprintf("%d new ones in this hour and %d in this day; the first %d and %d have alerts of their own",
			n.hour, n.day, mostFresh, mostFreshDay)
	}
	a := Alert{Kind: kind, Severity: Info, Why: why}
	set, word := &s.peers, "peers"
	switch kind {
	case NewName:
		a.Name, set, word = shown, &s.names, "names"
		if e.outside != "" {
			a.Severity = Warning
		}
		if why == "" {
			a.Why = "this name was not asked for before"
		}
	case NewPath:
		a.Path, a.Peer, set, word = shown, "", &s.shapes, "path shapes"
		if why == "" {
			a.Why = "a path of this shape was not requested before"
		}
	default:
		a.Peer = shown
		if e.outside != "" || !e.known {
			a.Severity = Warning
		}
		if why == "" {
			a.Why = "this peer was not met before"
		}
	}
	if e.denied {
		a.Why += "; it was denied"
	}
	a.Evidence = []Evidence{{What: "known " + word, Seen: 0, Usual: float64(len(set.list)), Limit: 1}}
	j.raise(a, e.at)
}

// rates counts the event and compares with what is usual at this hour.
func (j *judgement) rates() {
	s, e := j.side, j.e
	if !e.denied {
		s.hourAllowed += e.weight
		if limit, usual, exact := s.rateLimit(j.w.factor); j.w.learned && s.hourAllowed >= max(limit, s.nextRate) {
			s.nextRate = 2 * s.hourAllowed
			note := ""
			if !exact {
				note = " (this hour of the week is not known yet: the same hour of other days)"
			}
			j.raise(Alert{
				Kind: Rate, Severity: Info, Of: "up",
				Why:      fmt.Sprintf("%.0f were allowed in this hour, %.0f are usual%s", s.hourAllowed, usual, note),
				Evidence: []Evidence{{What: "allowed in the hour", Seen: s.hourAllowed, Usual: usual, Limit: limit}},
			}, e.at)
		}
		return
	}
	s.hourDenied += e.weight
	s.windowDenied += e.weight
	limit, usual := s.denyLimit(j.w.factor)
	if !j.w.learned || s.windowDenied < max(limit, s.nextDenied) {
		return
	}
	s.nextDenied = 2 * s.windowDenied
	severity := Warning
	if s.windowDenied >= 10*limit {
		severity = Critical
	}
	j.raise(Alert{
		Kind: Denials, Severity: severity,
		Why:      fmt.Sprintf("%.0f were denied within %s, %.0f are usual in an hour at this time", s.windowDenied, windowLength, usual),
		Evidence: []Evidence{{What: "denied in 10 min, usual in an hour", Seen: s.windowDenied, Usual: usual, Limit: limit}},
	}, e.at)
}

func (s *side) rateLimit(factor float64) (limit, usual float64, exact bool) {
	_, usual, exact = s.allowed.usual(s.hour)
	times := rateTimes * max(factor, 0.67)
	if !exact {
		times *= 1.5
	}
	return max(rateLeast*factor, times*usual), usual, exact
}

func (s *side) denyLimit(factor float64) (limit, usual float64) {
	_, usual, _ = s.denied.usual(s.hour)
	return max(denyLeast*factor, denyTimes*max(factor, 0.67)*usual), usual
}

// calls looks whether the event is a beat of a beacon.
func (j *judgement) calls() {
	e, w := j.e, j.w
	if e.outside == "" {
		return
	}
	end := windowOf(w.since.Add(w.learning))
	for _, known := range [...]*entry{j.side.names.find(e.name), j.side.peers.find(e.peer)} {
		if known != nil && known.first <= end {
			return // it was there when learning ended
		}
	}
	c, grown := w.dests.see(e.outside, e.at.UnixMilli(), j.d.room())
	j.d.grow(grown)
	if c == nil {
		return
	}
	r, ok := c.judge(1 / w.factor)
	if !ok {
		return
	}
	a := Alert{Kind: Beacon, Severity: Critical}
	if a.Peer = e.peer; e.name != "" {
		a.Name = c.name
	}
	if e.denied {
		a.Severity = Warning
	}
	period := Evidence{What: "seconds between calls", Seen: r.period}
	if r.comb {
		a.Why = fmt.Sprintf("of the calls to this new destination, %.0f %% are followed by one %.0f s later; %.0f %% would be by chance",
			100*r.hits, r.period, 100*r.chance)
		a.Evidence = []Evidence{{What: "share of calls on the beat", Seen: r.hits, Usual: r.chance, Limit: combHits}, period}
	} else {
		a.Why = fmt.Sprintf("this new destination is called every %.0f s, and the intervals differ by %.0f %% only", r.period, 100*r.spread)
		a.Evidence = []Evidence{{
			What: "coefficient of variation of the intervals", Seen: r.spread, Usual: 1, Limit: r.limit,
		}, period}
	}
	a.Evidence = append(a.Evidence, Evidence{What: "calls", Seen: float64(r.calls), Limit: leastIntervals + 1})
	j.raise(a, e.at)
}

// advance ends what is over at a time: windows, hours, days, and the learning time.
func (j *judgement) advance(now time.Time) {
	w := j.w
	for _, s := range w.sides() {
		if n := windowOf(now); n > s.window {
			j.d.grow(-s.scanners.end(!w.learned, w.second(now), w.factor))
			s.window, s.windowDenied, s.nextDenied = n, 0, 0
		}
		if n := hourOf(now); n > s.hour {
			j.side = s
			j.endHours(n)
			j.side = nil
		}
		if n := hourOf(now) / hoursPerDay; w.learned && n > s.judged {
			s.judged = n
			clear(s.sites)
			clear(s.fresh)
			for _, set := range s.sets() {
				set.judge(false)
			}
		}
		if !w.learned && !w.second(now) {
			for _, set := range s.sets() {
				set.late, set.lateWindow = 0, 0
			}
		}
	}
	if !w.learned && now.Sub(w.since) >= w.learning {
		w.learned = true
		for _, s := range w.sides() {
			s.judged = hourOf(now) / hoursPerDay
			for _, set := range s.sets() {
				set.judge(true)
			}
		}
	}
}

// endHours teaches the seasons of a side the hour that is over, and the silent ones since.
func (j *judgement) endHours(now int64) {
	s, w := j.side, j.w
	from := max(s.hour, now-hoursPerWeek)
	for h := from; h < now; h++ {
		var allowed, denied float64
		if h == s.hour {
			allowed, denied = s.hourAllowed, s.hourDenied
		}
		low, high, exact := s.allowed.usual(h)
		if w.learned && exact && s.allowed.known(h) >= dropWeeks && low >= dropLeast*w.factor && allowed*dropTimes*w.factor < low {
			limit := low / (dropTimes * w.factor)
			j.raise(Alert{
				Kind: Rate, Severity: Info, Of: "down",
				Why:      fmt.Sprintf("%.0f were allowed in the hour, at least %.0f are usual", allowed, low),
				Evidence: []Evidence{{What: "allowed in the hour", Seen: allowed, Usual: low, Limit: limit}},
			}, time.Unix((h+1)*3600, 0).UTC())
		}
		if !w.learned {
			s.allowed.teach(h, allowed, allowed)
			s.denied.teach(h, denied, denied)
			continue
		}
		_, highDenied, _ := s.denied.usual(h)
		s.allowed.teach(h, allowed, max(rateLeast, rateTimes*high))
		s.denied.teach(h, denied, max(denyLeast, denyTimes*highDenied))
	}
	s.hour, s.hourAllowed, s.hourDenied, s.nextRate = now, 0, 0, 0
	for k, n := range s.fresh {
		s.fresh[k] = freshCount{day: n.day}
	}
}
