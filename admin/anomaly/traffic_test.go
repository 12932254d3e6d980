package anomaly

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// label says what a perfect detector would alert on.
type label struct {
	kind     Kind
	workload string
	of       string // a text that peer, name, path or of has; empty for any
	from, to time.Time
	// derived labels are right to alert on but no loss if not: the names of a scan of names.
	derived bool
	found   bool
}

// traffic makes decisions of a small company's cluster with labels, the same for a seed.
type traffic struct {
	rnd     *rand.Rand
	start   time.Time
	days    int
	pods    map[netip.Addr]string
	service []*service
	labels  []*label
	plan    map[int][]decisions.Record // of injected things by slot
}

type service struct {
	name    string
	addr    netip.Addr
	callers []*service
	shapes  []string
	names   []string
	peak    float64 // requests in ten minutes at noon
	public  bool    // called by anybody
	crawler bool    // asks for ever new names
	denials float64 // in ten minutes at noon
	poll    bool    // calls metrics.vendor.example every five minutes, from the beginning
	rate    map[int]float64
}

func newTraffic(seed uint64, days int) *traffic {
	t := &traffic{
		rnd: rand.New(rand.NewPCG(seed, 7)), start: time.Date(2026, 3, 2+int(seed%7), 0, 0, 0, 0, time.UTC), days: days,
		pods: map[netip.Addr]string{}, plan: map[int][]decisions.Record{},
	}
	words := []string{"cart", "orders", "users", "pay", "search", "mail", "stock", "ship", "auth", "ads", "web", "crawl"}
	for i, w := range words {
		s := &service{
			name: "shop/" + w, addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), peak: 50 + 800*t.rnd.Float64(),
			public: w == "web", crawler: w == "crawl", poll: i%3 == 0, rate: map[int]float64{},
		}
		if i%2 == 0 {
			s.denials = 0.3 + t.rnd.Float64()
		}
		for k := range 4 + t.rnd.IntN(12) {
			s.shapes = append(s.shapes, fmt.Sprintf("/v1/%s/part%c/{}", w, 'a'+k))
		}
		for k := range 1 + t.rnd.IntN(5) {
			s.names = append(s.names, fmt.Sprintf("api%c.%s.example", 'a'+k, w))
		}
		t.pods[s.addr] = s.name
		t.service = append(t.service, s)
	}
	for i, s := range t.service {
		for k := range 1 + t.rnd.IntN(4) {
			s.callers = append(s.callers, t.service[(i+k+1)%len(t.service)])
		}
	}
	t.inject()
	return t
}

func (t *traffic) slots() int            { return t.days * 144 }
func (t *traffic) at(slot int) time.Time { return t.start.Add(time.Duration(slot) * 10 * time.Minute) }

func (t *traffic) in(slot int) time.Time {
	return t.at(slot).Add(time.Duration(t.rnd.IntN(600_000)) * time.Millisecond)
}

func (t *traffic) day(from int) (slot int) {
	return (from+t.rnd.IntN(t.days-from-2))*144 + 54 + t.rnd.IntN(54)
}
func (t *traffic) any() *service { return t.service[t.rnd.IntN(10)] } // neither public nor crawler

func (t *traffic) label(k Kind, s *service, of string, from, to time.Time, derived bool) {
	t.labels = append(t.labels, &label{kind: k, workload: s.name, of: of, from: from, to: to, derived: derived})
}

func (t *traffic) put(r decisions.Record) {
	slot := int(r.Time.Sub(t.start) / (10 * time.Minute))
	if slot < t.slots() {
		t.plan[slot] = append(t.plan[slot], r)
	}
}

func (t *traffic) ingress(s *service, at time.Time, source, method, path string) decisions.Record {
	return decisions.Record{
		Time: at, From: decisions.Envoy, Workload: s.name, Listener: s.name + "/inbound", Direction: policy.Ingress,
		Verdict: policy.Allowed, Reason: "default-allow", Source: source + ":40000", Destination: s.addr.String() + ":8080",
		Method: method, Host: strings.TrimPrefix(s.name, "shop/") + ".shop", Path: path, Status: 200,
	}
}

func (t *traffic) egress(s *service, at time.Time, name, destination string) decisions.Record {
	return decisions.Record{
		Time: at, From: decisions.Envoy, Workload: s.name, Listener: s.name + "/outbound", Direction: policy.Egress,
		Verdict: policy.Allowed, Reason: "default-allow", Source: s.addr.String() + ":40000", Destination: destination, ServerName: name,
	}
}

func (t *traffic) address(first byte) string {
	return netip.AddrFrom4([4]byte{first, byte(t.rnd.IntN(256)), byte(t.rnd.IntN(256)), byte(1 + t.rnd.IntN(254))}).String()
}

// level is the share of the noon's traffic: nights and weekends are quiet.
func level(at time.Time) float64 {
	h := float64(at.Hour()) + float64(at.Minute())/60
	x := 0.15 + 0.85*math.Max(0, math.Sin((h-6)/14*math.Pi))
	if h < 6 || h > 20 {
		x = 0.15
	}
	if d := at.Weekday(); d == time.Saturday || d == time.Sunday {
		x *= 0.4
	}
	return x
}

func (t *traffic) poisson(mean float64) int {
	n, p, limit := 0, 1.0, math.Exp(-mean)
	for p *= t.rnd.Float64(); p > limit; p *= t.rnd.Float64() {
		n++
	}
	return n
}

// slot returns what happens in ten minutes, in order.
func (t *traffic) slot(n int) []decisions.Record {
	out := t.plan[n]
	at := t.at(n)
	for _, s := range t.service {
		x := level(at) * math.Exp(0.25*t.rnd.NormFloat64())
		if f, ok := s.rate[n]; ok {
			x *= f
		}
		for _, c := range s.callers {
			shape := s.shapes[min(int(t.rnd.ExpFloat64()*3), len(s.shapes)-1)]
			if n < 36 || t.rnd.IntN(20) == 0 {
				shape = s.shapes[t.rnd.IntN(len(s.shapes))]
			}
			r := t.ingress(s, t.in(n), c.addr.String(), "GET", strings.ReplaceAll(shape, "{}", fmt.Sprint(t.rnd.IntN(1_000_000))))
			if r.Count = uint64(x * s.peak / float64(len(s.callers))); r.Count > 0 {
				out = append(out, r)
			}
		}
		if s.public {
			for range 1 + t.rnd.IntN(4) {
				out = append(out, t.ingress(s, t.in(n), t.address(93), "GET", s.shapes[0]))
			}
		}
		if s.crawler {
			for range 1 + t.rnd.IntN(3) {
				out = append(out, t.egress(s, t.in(n), fmt.Sprintf("site%x.example", t.rnd.Uint32()), t.address(151)+":443"))
			}
		}
		name := s.names[t.rnd.IntN(len(s.names))]
		r := t.egress(s, t.in(n), name, t.address(52)+":443")
		r.Count = uint64(1 + 20*x)
		out = append(out, r)
		if s.poll {
			for m := range 2 {
				out = append(out, t.egress(s, at.Add(time.Duration(m)*5*time.Minute), "metrics.vendor.example", "52.0.0.1:443"))
			}
		}
		for range t.poisson(s.denials * x) {
			r := t.ingress(s, t.in(n), t.address(93), "POST", "/admin")
			r.Verdict, r.Reason = policy.Denied, "default-deny"
			out = append(out, r)
		}
		t.jobs(s, n, &out)
	}
	slices.SortStableFunc(out, func(a, b decisions.Record) int { return a.Time.Compare(b.Time) })
	return out
}

// jobs are regular and no anomaly.
func (t *traffic) jobs(s *service, n int, out *[]decisions.Record) {
	switch {
	case s.name == "shop/stock" && n%144 == 12+t.rnd.IntN(2): // nightly, sometimes late and sometimes twice
		*out = append(*out, t.egress(s, t.in(n), "backup.vendor.example", "52.0.0.2:443"))
	case s.name == "shop/mail" && n%6 == 0: // hourly, and denied each time
		r := t.ingress(s, t.at(n).Add(time.Second), t.service[0].addr.String(), "POST", "/v1/mail/parta/1")
		r.Verdict, r.Reason, r.Count = policy.Denied, "default-deny", uint64(50+t.rnd.IntN(20))
		*out = append(*out, r)
	}
}

// inject plans what is to be found, and what looks like it and is none.
func (t *traffic) inject() {
	t.novelties()
	t.scans()
	t.beacons()
	for range 4 { // bursts of denials
		s, slot := t.any(), t.day(2)
		from := t.at(slot)
		for i := range 10 {
			r := t.ingress(s, from.Add(time.Duration(i)*30*time.Second), t.service[3].addr.String(), "POST", "/v1/admin")
			r.Verdict, r.Reason, r.Count = policy.Denied, "default-deny", uint64(60+t.rnd.IntN(200))
			t.put(r)
		}
		t.label(Denials, s, "", from, from.Add(10*time.Minute), false)
		t.label(NewPeer, s, "", from, from.Add(10*time.Minute), true)
	}
	for range 3 { // rushes
		s, slot := t.any(), t.day(3)/6*6
		for i := range 12 {
			s.rate[slot+i] = 15
		}
		s.peak = max(s.peak, 300)
		t.label(Rate, s, "up", t.at(slot), t.at(slot+12), false)
	}
	for range 2 { // an outage at noon, in the fourth week
		s := t.any()
		slot := (22+t.rnd.IntN(3))*144 + 66
		for i := range 18 {
			s.rate[slot+i] = 0
		}
		s.peak = max(s.peak, 300)
		t.label(Rate, s, "down", t.at(slot), t.at(slot+19), false)
	}
	for range 4 { // clients with an old token: many denials, and no burst
		s, from := t.any(), t.at(t.day(2))
		for i := range 10 + t.rnd.IntN(12) {
			r := t.ingress(s, from.Add(time.Duration(i)*20*time.Second), s.callers[0].addr.String(), "POST", "/v1/admin")
			r.Verdict, r.Reason = policy.Denied, "default-deny"
			t.put(r)
		}
	}
	for i := range 3 { // new vendors that are asked again after a random while: no beacon
		s, from := t.any(), t.at(t.day(2))
		name := fmt.Sprintf("retry%c.example", 'a'+i)
		at := from
		for range 60 {
			t.put(t.egress(s, at, name, "52.2.0.1:443"))
			at = at.Add(time.Duration((0.2 + 1.6*t.rnd.Float64()) * float64(10*time.Minute)))
		}
		t.label(NewName, s, name, from, from, false)
	}
	for range 2 { // a release with several routes at once: new, and no scan
		s, from := t.any(), t.at(t.day(2))
		for k := range 16 {
			t.put(t.ingress(s, from.Add(time.Duration(k)*time.Second), s.callers[0].addr.String(), "GET", fmt.Sprintf("/v3/r%c/x", 'a'+k)))
		}
		t.label(NewPath, s, "", from, from, false)
	}
	for range 6 { // deploys: for half an hour half as much again, or a third
		s, slot := t.any(), t.day(2)
		for i := range 3 {
			s.rate[slot+i] = []float64{1.5, 0.3}[t.rnd.IntN(2)]
		}
	}
}

func (t *traffic) novelties() {
	for i := range 5 {
		s, from := t.any(), t.at(t.day(2))
		source := netip.AddrFrom4([4]byte{10, 9, byte(i), 1})
		t.pods[source] = fmt.Sprintf("batch/job-%c", 'a'+i)
		t.put(t.ingress(s, from, source.String(), "GET", strings.ReplaceAll(s.shapes[0], "{}", "1")))
		t.label(NewPeer, s, t.pods[source], from, from, false)

		s, from = t.any(), t.at(t.day(2))
		path := fmt.Sprintf("/v2/new%c/", 'a'+i)
		for k := range 30 { // a deploy that has a new route
			t.put(t.ingress(s, from.Add(time.Duration(k)*time.Hour), s.callers[0].addr.String(), "GET", path+fmt.Sprint(k)))
		}
		t.label(NewPath, s, path, from, from, false)

		s, from = t.any(), t.at(t.day(2))
		name := fmt.Sprintf("saas%c.example", 'a'+i)
		at := from
		for range 80 { // a new vendor, called when somebody needs it
			t.put(t.egress(s, at, name, "52.1.0.1:443"))
			at = at.Add(time.Duration(t.rnd.ExpFloat64() * float64(20*time.Minute)))
		}
		t.label(NewName, s, name, from, from, false)
	}
}

func (t *traffic) scans() {
	for range 2 {
		s, from := t.any(), t.at(t.day(2)) // paths, one per source
		source := t.address(185)
		for k := range 40 + t.rnd.IntN(100) {
			r := t.ingress(s, from.Add(time.Duration(k)*time.Second), source, "GET", fmt.Sprintf("/wp-%c%c/x.php", 'a'+k%26, 'a'+k/26))
			if r.Status = 404; t.rnd.IntN(2) == 0 {
				r.Verdict, r.Reason = policy.Denied, "default-deny"
			}
			t.put(r)
		}
		end := from.Add(4 * time.Minute)
		t.label(Scan, s, "paths", from, end, false)
		t.label(NewPath, s, "", from, end, true)
		t.label(NewPeer, s, source, from, end, true)
		t.label(Denials, s, "", from, end, true)

		s, from = t.any(), t.at(t.day(2)) // ports of a neighbour
		for k := range 15 + t.rnd.IntN(40) {
			t.put(t.egress(s, from.Add(time.Duration(k)*time.Second), "", fmt.Sprintf("10.3.0.1:%d", 1000+k)))
		}
		t.label(Scan, s, "ports", from, from.Add(2*time.Minute), false)
		t.label(NewPeer, s, "", from, from, true)

		s, from = t.any(), t.at(t.day(2)) // neighbours by one port
		for k := range 25 + t.rnd.IntN(100) {
			r := t.egress(s, from.Add(time.Duration(k)*time.Second), "", fmt.Sprintf("10.4.0.%d:22", k))
			r.Verdict, r.Reason = policy.Denied, "default-deny"
			t.put(r)
		}
		t.label(Scan, s, "peers", from, from.Add(3*time.Minute), false)
		t.label(NewPeer, s, "", from, from.Add(3*time.Minute), true)
		t.label(Denials, s, "", from, from.Add(3*time.Minute), true)

		s, from = t.any(), t.at(t.day(2)) // data in names
		for k := range 30 + t.rnd.IntN(200) {
			t.put(decisions.Record{
				Time: from.Add(time.Duration(k) * 2 * time.Second), From: decisions.DNS, Workload: s.name, Listener: s.name + "/dns",
				Direction: policy.Egress, Verdict: policy.Allowed, Reason: "default-allow",
				Question: decisions.Question{Name: fmt.Sprintf("%016x.tunnel.example", t.rnd.Uint64()), Type: "TXT"},
			})
		}
		t.label(Scan, s, "names", from, from.Add(8*time.Minute), false)
		t.label(NewName, s, "", from, from.Add(8*time.Minute), true)
	}
}

func (t *traffic) beacons() {
	for i := range 5 {
		s, from := t.any(), t.at(t.day(2))
		period := time.Duration(60+t.rnd.IntN(900)) * time.Second
		jitter := 0.3 * t.rnd.Float64()
		beats := 14 + t.rnd.IntN(60)
		noise := 0
		if i == 4 { // hidden below as many calls at random times
			noise, beats, jitter = 1, 90, 0.01
		}
		name := fmt.Sprintf("c2%c.example", 'a'+i)
		at := from
		for range beats {
			if t.rnd.IntN(25) > 0 || noise > 0 { // a few are missed
				r := t.egress(s, at, fmt.Sprintf("%x.%s", t.rnd.Uint32(), name), "45.0.0.1:443")
				t.put(r)
			}
			for range noise {
				t.put(t.egress(s, at.Add(time.Duration(t.rnd.Float64()*float64(period))), "x."+name, "45.0.0.1:443"))
			}
			at = at.Add(time.Duration(float64(period) * (1 + jitter*(2*t.rnd.Float64()-1))))
		}
		t.label(Beacon, s, name, from, at, false)
		t.label(NewName, s, name, from, at, true)
		t.label(NewName, s, "*", from, at, true)
		t.label(Scan, s, "names", from, at, true)
	}
}

// score is what came of it for one kind.
type score struct{ alerts, right, labels, found int }

func (s score) precision() float64 { return ratio(s.right, s.alerts) }
func (s score) recall() float64    { return ratio(s.found, s.labels) }

func ratio(a, b int) float64 {
	if b == 0 {
		return 1
	}
	return float64(a) / float64(b)
}

// compare matches alerts with labels: same kind and workload, times that overlap to within an
// hour, and the text. It returns the alerts that match none.
func compare(alerts []Alert, labels []*label, into map[Kind]score) (wrong []Alert) {
	for i := range alerts {
		a := &alerts[i]
		s := into[a.Kind]
		s.alerts++
		right := false
		for _, l := range labels {
			if l.kind != a.Kind || l.workload != a.Workload || a.First.After(l.to.Add(time.Hour)) || a.Last.Before(l.from.Add(-time.Minute)) {
				continue
			}
			if l.of == "" || a.Of == l.of || strings.Contains(cmp.Or(a.Path, a.Name, a.Peer), l.of) {
				right, l.found = true, true
			}
		}
		if right {
			s.right++
		} else {
			wrong = append(wrong, *a)
		}
		into[a.Kind] = s
	}
	for _, l := range labels {
		if l.derived {
			continue
		}
		s := into[l.kind]
		s.labels++
		if l.found {
			s.found++
		}
		into[l.kind] = s
	}
	return wrong
}
