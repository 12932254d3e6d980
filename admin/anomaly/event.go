package anomaly

import (
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// mostText bounds the texts that are kept, in octets.
const mostText = 255

// event is what of a record is looked at. Its texts may be those of the record; what is kept
// of them is copied.
type event struct {
	record   *decisions.Record
	at       time.Time // not after now
	window   int32
	hour     int64
	egress   bool
	denied   bool
	nowhere  bool // a name that does not exist
	workload string
	// peer is a workload or an address, and known that it is a workload. For egress it is
	// empty where there is a name: the addresses of a name change as they like.
	peer  string
	known bool
	// source is whom a scan is counted for; empty for the workload itself.
	source string
	name   string
	shape  string
	method string
	port   string
	// outside is the external destination; empty for none.
	outside string
	weight  float64
}

// read makes an event of a record. It reports false for one of which nobody knows whose
// it is.
func (d *Detector) read(r *decisions.Record, now time.Time) (event, bool) {
	e := event{
		record: r, at: r.Time, egress: r.Direction == policy.Egress || r.From == decisions.DNS,
		denied: r.Verdict != policy.Allowed, nowhere: r.Answer == "NXDOMAIN",
		workload: r.Workload, method: clip(r.Method), weight: weight(r),
	}
	if e.workload == "" {
		if i := strings.LastIndexByte(r.Listener, '/'); i > 0 {
			e.workload = r.Listener[:i]
		}
	}
	if e.workload == "" || len(e.workload) > 2*mostText || !utf8.ValidString(e.workload) {
		return e, false
	}
	// A clock that is ahead must not end windows, nor one that is behind reopen them: what
	// is late by more than a window counts as now's.
	if e.at.After(now) || now.Sub(e.at) > windowLength {
		e.at = now
	}
	e.window, e.hour = windowOf(e.at), hourOf(e.at)
	for _, s := range [...]string{r.Host, r.ServerName, r.Question.Name} {
		if s != "" {
			e.name = canonical(s)
			break
		}
	}
	if r.Path != "" {
		e.shape = clip(flows.Shape(r.Path))
	}
	to, port := decisions.Endpoint(r.Destination)
	if port != 0 {
		e.port = strconv.FormatUint(uint64(port), 10)
	}
	if !e.egress {
		e.peer, e.known = d.peer(r.Source)
		e.source = e.peer
		return e, true
	}
	if a, err := netip.ParseAddr(strings.Trim(e.name, "[]")); err == nil {
		e.name, to = "", a.Unmap().WithZone("")
	}
	if e.name != "" {
		e.outside = d.site(e.name)
		return e, true
	}
	if to.IsValid() {
		e.peer, e.known = d.peer(to.String())
		if !e.known && !to.IsLoopback() {
			e.outside = e.peer
		}
	}
	return e, true
}

// peer names the other end. Of IPv6, it is the /64, in which a host may take as many
// addresses as it likes.
func (d *Detector) peer(s string) (name string, known bool) {
	a, _ := decisions.Endpoint(s)
	if !a.IsValid() {
		return clip(s), false // such as the prefix of a folded record
	}
	if d.config.Resolve != nil {
		if w, ok := d.config.Resolve(a); ok {
			return clip(w), true
		}
	}
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String(), false
		}
	}
	return a.String(), false
}

// site is the registrable domain of an external name, so that the beacon to a new host of
// it each time is one; empty for a name inside.
func (d *Detector) site(name string) string {
	if !strings.Contains(name, ".") {
		return ""
	}
	for _, in := range d.config.Inside {
		if name == in || strings.HasSuffix(name, "."+in) {
			return ""
		}
	}
	if s, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return s
	}
	return name
}

func canonical(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 && (strings.IndexByte(host, ':') == i || host[i-1] == ']') {
		host = host[:i]
	}
	return clip(strings.ToLower(strings.TrimSuffix(host, ".")))
}

// clip bounds a text and makes it valid UTF-8. An octet that is none becomes a question mark,
// which is not longer.
func clip(s string) string {
	if len(s) <= mostText && utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s[:min(len(s), mostText)], "?")
}

// weight is for how many decisions a record stands.
func weight(r *decisions.Record) float64 {
	high, low := bits.Mul64(max(1, r.Count), uint64(max(1, r.Sampled)))
	if high != 0 {
		return math.MaxUint64
	}
	return float64(low)
}

const (
	// windowLength is what scans and bursts are counted in.
	windowLength   = 10 * time.Minute
	windowsPerHour = 6
)

func windowOf(t time.Time) int32 { return int32(t.Unix() / int64(windowLength/time.Second)) } // #nosec G115 -- up to the year 42,000
func hourOf(t time.Time) int64   { return t.Unix() / 3600 }
