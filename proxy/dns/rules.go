package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"weak"

	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/proxy/filter"
)

// ruling is what there is to say against a question or its answer. The zero ruling lets it
// by.
type ruling struct {
	action  filter.Action
	verdict filter.Verdict
	addr    netip.Addr
	via     string
	reason  string // if it is not the verdict's
}

// take keeps the stronger of two, the first of equals.
func (r *ruling) take(v filter.Verdict, via string, addr netip.Addr) {
	if v.Action > r.action {
		*r = ruling{action: v.Action, verdict: v, via: via, addr: addr}
	}
}

// judge asks about a name and all that its answer leads to.
func (r *Resolver) judge(name string, a *answer) ruling {
	var found ruling
	found.take(r.c.Engine.CheckName(filter.Name, name), "", netip.Addr{})
	for _, n := range a.names {
		if found.action == filter.Deny {
			return found
		}
		found.take(r.c.Engine.CheckName(filter.Name, n), n, netip.Addr{})
	}
	for _, addr := range a.addrs {
		if found.action == filter.Deny {
			return found
		}
		found.take(r.c.Engine.CheckAddr(filter.Egress, filter.Answer, addr), "", addr)
	}
	if r.c.Rebind == RebindIgnore || found.action == filter.Deny || !strings.Contains(name, ".") {
		return found
	}
	action := filter.Deny
	if r.c.Rebind == RebindReport {
		action = filter.Alert
	}
	if action <= found.action {
		return found
	}
	for _, addr := range a.addrs {
		if private(addr) {
			if r.own.Load().has(name) {
				break
			}
			return ruling{action: action, addr: addr, reason: ReasonRebind}
		}
	}
	return found
}

// era is a snapshot, or a set of own zones, and its number. Answers that passed in one
// are judged again in the next.
type era struct {
	// Weak, so that a resolver that nobody asks does not keep an old snapshot in memory.
	snapshot weak.Pointer[snapshot.Snapshot]
	own      *zones
	number   uint64
}

// generation is the number of what is in force. It is read before anything is judged: what
// changes meanwhile makes the judgement one of before.
func (r *Resolver) generation() uint64 {
	for {
		now, own, e := r.c.Engine.Snapshot(), r.own.Load(), r.era.Load()
		if e != nil && e.own == own && e.snapshot.Value() == now {
			return e.number
		}
		next := &era{snapshot: weak.Make(now), own: own, number: 1}
		if e != nil {
			next.number = e.number + 1
		}
		if r.era.CompareAndSwap(e, next) {
			return next.number
		}
	}
}

// eraPointer is an alias for readers of Resolver.
type eraPointer = atomic.Pointer[era]

const (
	canary    = "use-application-dns.net"
	discovery = "resolver.arpa"
)

// upgrade says whether a name is one by which clients find another resolver, and what to
// answer: the canary is to be missing, while the discovery zone is one that every resolver
// has, with nothing in it (RFC 9462 8.2).
func (r *Resolver) upgrade(name string) (rcode int, is bool) {
	switch {
	case r.c.AllowUpgrade:
	case name == canary:
		return rcodeNX, true
	case strings.HasSuffix(name, discovery) && (len(name) == len(discovery) || name[len(name)-len(discovery)-1] == '.'):
		return rcodeOK, true
	}
	return 0, false
}

// explain writes what a client is told of a ruling.
func (r *ruling) explain(dst []byte) extended {
	switch {
	case r.reason == ReasonRebind:
		dst = append(dst, "a private address for a public name"...)
	case r.verdict.Cause == filter.NotLoaded:
		dst = append(dst, "feed "...)
		dst = append(dst, r.verdict.Feed...)
		dst = append(dst, " was not loaded yet"...)
	case r.verdict.Cause == filter.Unavailable:
		dst = append(dst, "no feeds were loaded yet"...)
	default:
		dst = append(dst, "feed "...)
		dst = append(dst, r.verdict.Feed[:min(len(r.verdict.Feed), maxText-32)]...)
		dst = append(dst, " line "...)
		dst = strconv.AppendUint(dst, uint64(r.verdict.Line), 10)
	}
	return extended{edeBlocked, dst}
}

// report tells of a decision. Nothing in it lies in memory that changes later.
func (r *Resolver) report(q *asked, found *ruling, rcode int, upstream string) {
	if r.c.Decided == nil {
		return
	}
	d := Decision{
		Time: time.Now(), Client: q.peer, Name: strings.Clone(q.name), Type: u16(q.asker.qtype),
		Action: found.action, Verdict: found.verdict, Addr: found.addr, Via: found.via,
		Reason: found.reason, Rcode: byte(rcode & 0xff), Upstream: upstream,
	}
	d.Verdict.Domain = strings.Clone(found.verdict.Domain)
	if d.Reason == "" {
		d.Reason = found.verdict.Reason()
	}
	r.c.Decided(d)
}
