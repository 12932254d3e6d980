package policy

import (
	"fmt"
	"slices"
)

// refuseUnseen refuses rules that ask an explicit proxy for what it does not see.
func (c *Compiler) refuseUnseen(w *Workload, selected []*compiledPolicy) {
	if !slices.ContainsFunc(w.Listeners, func(l *Listener) bool { return l.Traffic == Proxy }) {
		return
	}
	for _, p := range selected {
		for _, r := range p.rules(Egress) {
			if slices.ContainsFunc(r.Terms, func(t *Term) bool { return len(t.ServerNames) > 0 }) {
				c.fail("PAV0704", p.object, r.Field+".tls", "an explicit proxy, which workload "+w.Key()+" has, does not see the ClientHello inside a CONNECT tunnel",
					"name the destination with domains, which are compared with the name that CONNECT asks for")
			}
		}
	}
}

// warnBlunt warns of Deny rules that ask for HTTP where other traffic passes too: they
// deny that on the rest of what they ask for, which may be everything.
func (c *Compiler) warnBlunt(w *Workload, selected []*compiledPolicy) {
	for _, l := range w.Listeners {
		if l.Traffic == HTTP {
			continue
		}
		for _, p := range selected {
			for _, r := range p.rules(l.Direction) {
				if r.Action == Deny && slices.ContainsFunc(r.Terms, func(t *Term) bool { return t.blunt(l) }) {
					c.warn("PAV0709", p.object, r.Field,
						fmt.Sprintf("denies everything at listener %s of workload %s that is not HTTP (%s)", l.Name, w.Key(), notHTTP[l.Traffic]),
						"say for which ports, peers or hosts the rule is")
				}
			}
		}
	}
}

var notHTTP = map[Traffic]string{TCP: "every connection", TLS: "every connection", Proxy: "every CONNECT", Transparent: "every connection"}

// blunt reports whether the term asks for HTTP and for nothing that tells other traffic
// at the listener apart.
func (t *Term) blunt(l *Listener) bool {
	if t.HTTP == nil || t.Sources != nil || t.Destinations != nil || len(t.Domains) > 0 ||
		len(t.ServerNames) > 0 && (l.Traffic == TLS || l.Traffic == Transparent) {
		return false
	}
	switch l.Traffic {
	case Proxy:
		return len(t.Ports) == 0 && len(t.HTTP.Hosts) == 0
	case Transparent:
		return len(t.Ports) == 0
	}
	return len(t.Ports) == 0 || containsPort(t.Ports, l.Address.Port())
}
