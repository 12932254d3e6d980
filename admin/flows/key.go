package flows

import (
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// keyOf makes the key of a bounded record. Its texts are those of the record.
func (s *Store) keyOf(r *decisions.Record) Key {
	k := Key{
		Workload: r.Workload, Listener: r.Listener, Direction: r.Direction, From: r.From, Method: r.Method,
		Verdict: r.Verdict, Reason: r.Reason, AuditVerdict: r.AuditVerdict, AuditReason: r.AuditReason,
	}
	if r.Path != "" {
		k.Path = Shape(r.Path)
	}
	if r.From == decisions.DNS {
		k.Name, _ = canonical(r.Question.Name)
		return k
	}
	to, port := decisions.Endpoint(r.Destination)
	k.Port = port
	name, named := canonical(r.Host)
	if k.Name = name; k.Port == 0 {
		k.Port = named
	}
	if k.Name == "" {
		k.Name, _ = canonical(r.ServerName)
	}
	peer, text := to, r.Destination
	if r.Direction != policy.Egress {
		peer, _ = decisions.Endpoint(r.Source)
		text = r.Source
	}
	k.Peer = s.peer(peer, text)
	return k
}

// peer names an address. What is no address, such as the prefix of a folded record, is
// its own name.
func (s *Store) peer(a netip.Addr, text string) string {
	if !a.IsValid() {
		return text
	}
	if s.c.Resolve != nil {
		if w, ok := s.c.Resolve(a); ok {
			return w
		}
	}
	if i := strings.IndexByte(text, ':'); a.Is4() && strings.IndexByte(text, '.') > 0 && strings.LastIndexByte(text, ':') == i {
		if i < 0 {
			return text
		}
		return text[:i] // IPv4 has one form: spare the copy
	}
	return a.String()
}

// canonical brings a name to lower case and cuts its port and its trailing dot off. What has
// no usual form stays nearly as it is: policy.CanonicalHost would say so, at ten times
// the cost, and such a request was denied by its form.
func canonical(host string) (name string, port uint16) {
	name = host
	if i := strings.LastIndexByte(name, ':'); i >= 0 && (strings.IndexByte(name, ':') == i || name[i-1] == ']') {
		if p, err := strconv.ParseUint(name[i+1:], 10, 16); err == nil {
			name, port = name[:i], uint16(p)
		}
	}
	return strings.ToLower(strings.TrimSuffix(name, ".")), port
}

// weight is for how many decisions a record stands.
func weight(r *decisions.Record) uint64 {
	high, low := bits.Mul64(max(1, r.Count), uint64(max(1, r.Sampled)))
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

func plus(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// plain says that it was allowed and that nobody has anything against it.
func plain(r *decisions.Record) bool {
	return r.Verdict == policy.Allowed && r.AuditVerdict != policy.Denied && r.Feed == decisions.Hit{} && r.Alert == decisions.Hit{}
}
