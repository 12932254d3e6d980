package decisions

import (
	"net/netip"

	"pavise.dev/pavise/policy"
)

// mostFolded bounds the keys of a window. What would need more is passed on as it is, and
// the queues bound it.
const mostFolded = 4096

// folder keeps floods short. Of the same thing from the same source it passes a number of
// records on in each window, and counts the others into one.
//
// The same thing is first the same verdict for the same reason on the same host. As the
// host is the sender's to choose, what is passed on is counted once more without it: who
// asks for a new host each time is folded by the second count, and makes no more keys than
// that lets through. Windows are ended by take, once a second. It is not safe for
// concurrent use.
type folder struct {
	repeats, perSource int // records passed on in a window; repeats 0 passes all
	keys               map[foldKey]*fold
	folded             []*fold // those with a sum, in the order in which they began
	pending            Tally   // decisions in sums
}

// foldKey is what records have in common to be counted together. A wide one has no asked.
type foldKey struct {
	workload, listener string
	verdict            policy.Verdict
	reason, audit      string
	feed, alert        string
	source             netip.Prefix
	other              string // a source that is no address
	asked              string
}

type fold struct {
	passed int
	sum    *Record    // nil while nothing is folded; without a Count while it is one record
	source netip.Addr // of the first in it
}

func newFolder(repeats, perSource int) folder {
	return folder{repeats: repeats, perSource: perSource, keys: map[foldKey]*fold{}}
}

// passes says whether a bounded record is to be passed on. If not it has been counted.
func (f *folder) passes(r *Record) bool {
	if f.repeats <= 0 {
		return true
	}
	key := foldKey{
		workload: r.Workload, listener: r.Listener, verdict: r.Verdict, reason: r.Reason, audit: r.AuditReason,
		feed: r.Feed.Name, alert: r.Alert.Name,
	}
	addr := address(r.Source)
	if key.source = group(addr); !addr.IsValid() {
		key.other = r.Source
	}
	wide := f.at(key)
	if wide == nil { // no room for keys
		return true
	}
	key.asked = asked(r)
	narrow := f.keys[key]
	if narrow == nil && wide.passed < f.perSource {
		narrow = f.at(key)
	}
	switch {
	case narrow != nil && narrow.passed >= f.repeats:
		f.count(narrow, r, addr)
		return false
	case wide.passed >= f.perSource:
		f.count(wide, r, addr)
		return false
	}
	wide.passed++
	if narrow != nil {
		narrow.passed++
	}
	return true
}

func (f *folder) at(key foldKey) *fold {
	at := f.keys[key]
	if at == nil && len(f.keys) < mostFolded {
		at = new(fold)
		f.keys[key] = at
	}
	return at
}

func (f *folder) count(at *fold, r *Record, source netip.Addr) {
	f.pending.add(r.Verdict, 1)
	if at.sum == nil {
		sum := *r
		at.sum, at.source = &sum, source
		f.folded = append(f.folded, at)
		return
	}
	if at.sum.Count == 0 {
		at.sum.Count = 1
		if source.IsValid() {
			at.sum.Source = at.source.String()
		}
	}
	at.sum.merge(r)
	if at.source != source {
		at.sum.Source = group(source).String()
	}
}

// take ends the window and returns the sums of it. Their decisions are pending until the
// caller says otherwise.
func (f *folder) take() []*fold {
	out := f.folded
	f.folded = nil
	if len(f.keys) > 64 {
		f.keys = map[foldKey]*fold{} // a map that has grown stays as large
	} else {
		clear(f.keys)
	}
	return out
}

// merge counts o into a sum and leaves out of it what o says otherwise. The source is left
// to the caller.
func (r *Record) merge(o *Record) {
	r.Count++
	source := r.Source
	mine, theirs := r.texts(), o.texts()
	for i := range mine {
		if *mine[i].s != *theirs[i].s {
			*mine[i].s = ""
		}
	}
	r.Source = source
	// Half a hit says something that is not so.
	if r.Feed != o.Feed {
		r.Feed = Hit{Name: r.Feed.Name}
	}
	if r.Alert != o.Alert {
		r.Alert = Hit{Name: r.Alert.Name}
	}
	if r.Question != o.Question {
		r.Question = Question{}
	}
	if r.Status != o.Status {
		r.Status = 0
	}
}

// asked is what was asked for, as far as the record says.
func asked(r *Record) string {
	for _, s := range [...]string{r.Host, r.ServerName, r.Question.Name} {
		if s != "" {
			return s
		}
	}
	return r.Destination
}

// address is that of ADDRESS:PORT or ADDRESS; not valid for anything else.
func address(s string) netip.Addr {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// group is whom a source is counted with: of IPv4 itself, of IPv6 the /64, in which a host
// may take as many addresses as it likes.
func group(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, 32)
	}
	p, _ := a.Prefix(64) // the zero address has the zero prefix
	return p
}
