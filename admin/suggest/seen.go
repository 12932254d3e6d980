package suggest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// known is what is known of workloads and listeners.
type known struct {
	opt       *Options
	objects   map[string]*api.Workload
	listeners map[string]*policy.Listener
	behind    map[netip.Addr][]string // workloads behind an address of a service, sorted
	// What was found of paths and methods before: flows share them.
	patterns map[string]pattern
	methods  map[string]bool
}

func newKnown(opt *Options) (*known, error) {
	k := &known{opt: opt, objects: map[string]*api.Workload{}, listeners: map[string]*policy.Listener{}, behind: map[netip.Addr][]string{}, patterns: map[string]pattern{}, methods: map[string]bool{}}
	if opt.Set == nil {
		return k, nil
	}
	m, problems := policy.Compile(opt.Set)
	if i := slices.IndexFunc(problems, func(p api.Problem) bool { return p.Severity == api.Error }); i >= 0 {
		return nil, fmt.Errorf("suggest: the set in force has errors: %s", problems[i])
	}
	for _, w := range opt.Set.Workloads {
		key := w.Namespace + "/" + w.Name
		k.objects[key] = w
		for _, s := range w.Spec.ServiceAddresses {
			if a, err := netip.ParseAddr(s); err == nil && !slices.Contains(k.behind[a.Unmap()], key) {
				k.behind[a.Unmap()] = append(k.behind[a.Unmap()], key)
			}
		}
	}
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			k.listeners[w.Key()+"/"+l.Name] = l
		}
	}
	return k, nil
}

func (k *known) labels(workload string) map[string]string {
	if k.opt.Labels != nil {
		if l := k.opt.Labels(workload); len(l) > 0 {
			return l
		}
	}
	if w := k.objects[workload]; w != nil {
		return w.Labels
	}
	return nil
}

func (k *known) account(workload string) string {
	if !k.opt.ServiceAccounts {
		return ""
	}
	if k.opt.Account != nil {
		return k.opt.Account(workload)
	}
	if w := k.objects[workload]; w != nil && w.Spec.ServiceAccount != "" {
		return w.Namespace + "/" + w.Spec.ServiceAccount
	}
	return ""
}

// alike are the other workloads of the namespace that labels select.
func (k *known) alike(workload string, labels map[string]string) []string {
	namespace, _, _ := strings.Cut(workload, "/")
	var out []string
	for key, w := range k.objects {
		if key == workload || w.Namespace != namespace {
			continue
		}
		all := true
		for name, value := range labels {
			got, has := w.Labels[name]
			all = all && has && got == value
		}
		if all {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// peerKind is how a peer is named in a rule.
type peerKind int

const (
	anyPeer peerKind = iota
	workloadPeer
	namePeer
	addressPeer
)

// peer is one other end. It is a map key.
type peer struct {
	kind peerKind
	// value is workloads joined by commas (several where they share a service), a name, or a
	// range of addresses.
	value string
}

// pattern names paths; the zero value is any.
type pattern struct {
	kind policy.PathKind
	text string
}

// ask is what a peer asked for. It is a map key.
type ask struct {
	port uint16 // 0 is any
	http bool
	// method and path of HTTP; empty is any.
	method string
	path   pattern
	// serverName of TLS that is not terminated, in ingress.
	serverName string
}

// seen is a flow as it would stand in a rule.
type seen struct {
	flow *flows.Flow
	peer peer
	ask  ask
}

func (k *known) seen(workload string, f *flows.Flow) (seen, bool) {
	l := k.listeners[f.Listener]
	s := seen{flow: f, ask: k.ask(l, f)}
	var ok bool
	s.peer, ok = k.peer(f)
	return s, ok
}

func (k *known) ask(l *policy.Listener, f *flows.Flow) ask {
	a := ask{port: f.Port}
	switch {
	case l == nil || l.Traffic == policy.Transparent:
	case l.Direction == policy.Ingress:
		a.port = l.Address.Port() // the destination is that behind the listener
	default: // a proxy
		if _, port, ok := policy.CanonicalHost(f.Example.Host); ok && f.Example.Host != "" && !(f.Merged && f.Port == 0) {
			if a.port = 80; port != policy.NoPort {
				a.port = uint16(port) //nolint:gosec // 0 to 65535
			}
		}
	}
	if f.Method == "CONNECT" {
		return a
	}
	if a.http = f.Method != "" || f.Path != ""; !a.http {
		if name := f.Example.ServerName; f.Direction == policy.Ingress && name != "" && f.Name != flows.Star {
			if d, err := policy.ParseDomain(name); err == nil && !d.Wildcard && !policy.IsAddress(d.Name) {
				a.serverName = d.Name
			}
		}
		return a
	}
	ok, asked := k.methods[f.Method]
	if !asked {
		ok = f.Method != flows.Star && fits(api.HTTPMatch{Methods: []string{f.Method}})
		k.methods[f.Method] = ok
	}
	if ok {
		a.method = f.Method
	}
	if strings.Contains(f.Example.Path, "…+") { // the log cut it: nobody knows how it goes on
		a.path = prefixOf(f.Path, strings.Count(f.Path, "/")-1)
		return a
	}
	if a.path, asked = k.patterns[f.Path]; !asked {
		a.path = patternOf(f.Path)
		k.patterns[f.Path] = a.path
	}
	return a
}

// peer is who the other end of a flow is, as precisely as rules can say it and lastingly.
func (k *known) peer(f *flows.Flow) (peer, bool) {
	at := f.Example.Source
	if f.Direction == policy.Egress {
		at = f.Example.Destination
	}
	addr, known := endpoint(at)
	if f.Direction == policy.Egress && known && f.Peer != flows.Star {
		// A rule that selects some of those behind a service does not reach it.
		if ws := k.behind[addr]; len(ws) > 0 && k.allLabelled(ws) {
			ws = slices.Clone(ws)
			slices.Sort(ws)
			return peer{workloadPeer, strings.Join(ws, ",")}, true
		}
	}
	if isWorkload(f.Peer) && k.allLabelled([]string{f.Peer}) {
		return peer{workloadPeer, f.Peer}, true
	}
	if f.Direction == policy.Egress && f.Name != "" {
		if f.Name == flows.Star {
			return peer{}, true
		}
		if d, err := policy.ParseDomain(f.Name); err == nil && !d.Wildcard && !policy.IsAddress(d.Name) {
			return peer{namePeer, d.Name}, true
		}
	}
	if f.Peer == flows.Star {
		return peer{}, true
	}
	if p, err := netip.ParsePrefix(f.Peer); err == nil {
		return peer{addressPeer, p.Masked().String()}, true
	}
	if a, err := netip.ParseAddr(f.Peer); err == nil {
		addr, known = a.Unmap().WithZone(""), true
	}
	if known {
		return peer{addressPeer, netip.PrefixFrom(addr, addr.BitLen()).String()}, true
	}
	return peer{}, false
}

func (k *known) allLabelled(workloads []string) bool {
	return !slices.ContainsFunc(workloads, func(w string) bool { return len(k.labels(w)) == 0 && k.account(w) == "" })
}

func isWorkload(s string) bool {
	namespace, name, both := strings.Cut(s, "/")
	if _, err := netip.ParseAddr(namespace); err == nil {
		return false
	}
	return both && namespace != "" && name != ""
}

// endpoint is the address of ADDRESS:PORT or ADDRESS.
func endpoint(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if ap, perr := netip.ParseAddrPort(s); perr == nil {
		a, err = ap.Addr(), nil
	}
	return a.Unmap().WithZone(""), err == nil
}

// patternOf is a shape as a rule names it: exact where it is a path, else with a variable for each
// segment in which something was left out.
func patternOf(shape string) pattern {
	if shape == "" || shape == flows.Star || !strings.HasPrefix(shape, "/") {
		return pattern{}
	}
	if !strings.Contains(shape, "{") {
		for _, p := range []pattern{{policy.ExactPath, shape}, {policy.RegexPath, quoteRegex(shape)}} {
			if fits(api.HTTPMatch{Paths: []api.PathMatch{p.match()}}) {
				return p
			}
		}
		return prefixOf(shape, strings.Count(shape, "/")-1)
	}
	segments := strings.Split(shape, "/")
	names := map[string]int{}
	for i, s := range segments {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			continue
		}
		name, _, _ := strings.Cut(s[open+1:], "}")
		if name == "more" && i == len(segments)-1 {
			segments[i] = "{more=**}"
			continue
		}
		names[name]++
		if n := names[name]; n > 1 {
			name = fmt.Sprint(name, n)
		}
		segments[i] = "{" + name + "}"
	}
	p := pattern{policy.TemplatePath, strings.Join(segments, "/")}
	if fits(api.HTTPMatch{Paths: []api.PathMatch{p.match()}}) {
		return p
	}
	return prefixOf(shape, strings.Count(shape, "/")-1)
}

// prefixOf is the prefix of a path, shape or template, of at most that many segments, that can be
// written.
func prefixOf(path string, most int) pattern {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if i := slices.IndexFunc(segments, func(s string) bool { return s == "" || strings.Contains(s, "{") }); i >= 0 {
		segments = segments[:i]
	}
	for n := min(most, len(segments)); n > 0; n-- {
		p := pattern{policy.PrefixPath, "/" + strings.Join(segments[:n], "/")}
		if fits(api.HTTPMatch{Paths: []api.PathMatch{p.match()}}) {
			return p
		}
	}
	return pattern{policy.PrefixPath, "/"}
}

func (p pattern) match() api.PathMatch {
	switch p.kind {
	case policy.ExactPath:
		return api.PathMatch{Exact: p.text}
	case policy.PrefixPath:
		return api.PathMatch{Prefix: p.text}
	case policy.TemplatePath:
		return api.PathMatch{Template: p.text}
	}
	return api.PathMatch{Regex: p.text}
}

// fits reports whether a match can stand in a policy without a word from the one who reads it.
func fits(m api.HTTPMatch) bool {
	p := &api.AccessPolicy{}
	p.Name, p.Namespace = "x", "x"
	p.Spec.Ingress = []api.IngressRule{{Action: api.ActionAllow, RuleMatch: api.RuleMatch{HTTP: []api.HTTPMatch{m}}}}
	return len(api.Validate(p)) == 0
}

// quoteRegex is an expression for exactly this path.
func quoteRegex(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`\.+*?()|[]{}^$`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}
