package suggest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// did is what one peer asked for, and by which flows.
type did map[ask]*cover

func (d did) add(a ask, c *cover) {
	if d[a] == nil {
		d[a] = &cover{}
	}
	d[a].merge(c)
}

// group is peers that share a rule, as they did the same.
type group struct {
	peers []peer
	did   did
	said  []Generalised
}

// write makes the policy. Where it would have too many rules it is made once more, coarser.
func (s *Suggestion) write(k *known, opt *Options, labels map[string]string, all []seen, total *cover, leave func(string, uint64)) {
	namespace, name, _ := strings.Cut(s.Workload, "/")
	p := &api.AccessPolicy{}
	p.APIVersion, p.Kind = api.APIVersion, api.KindAccessPolicy
	p.Namespace, p.Name = namespace, "suggested-"+name+"-"+string(s.Direction)
	p.Spec.Selector.MatchLabels = maps.Clone(labels)
	order := int32(Order)
	p.Spec.Order, p.Spec.Mode = &order, opt.Mode
	for coarse := range 3 {
		w := writer{k: k, opt: opt, namespace: namespace, direction: s.Direction, names: map[string]bool{}}
		for _, g := range w.groups(all, coarse) {
			w.write(g)
		}
		if len(w.rules) > maxRules && coarse < 2 {
			continue
		}
		if coarse > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("more than %d rules would be needed to tell all apart, so it is coarser than usual", maxRules))
		}
		p.Spec.Ingress, p.Spec.Egress, s.Rules = w.ingress, w.egress, w.rules
		break
	}
	if len(s.Rules) > maxRules {
		leave(fmt.Sprintf("more than %d rules would be needed", maxRules), total.decisions)
		s.Rules = nil
		return
	}
	if others := k.alike(s.Workload, labels); len(others) > 0 {
		s.Notes = append(s.Notes, "the selector also picks "+list(others)+": what they do is not looked at here, and is denied where it is not listed")
	}
	s.Policy = p
}

// writer makes the rules of one policy.
type writer struct {
	k         *known
	opt       *Options
	namespace string
	direction policy.Direction
	names     map[string]bool
	ingress   []api.IngressRule
	egress    []api.EgressRule
	rules     []Rule
}

// groups puts peers together that did the same. Coarse 1 makes paths and addresses few, and coarse
// 2 lets every peer do what any did.
func (w *writer) groups(all []seen, coarse int) []*group {
	by := map[peer]did{}
	for _, s := range all {
		if by[s.peer] == nil {
			by[s.peer] = did{}
		}
		c := &cover{}
		c.add(s.flow)
		by[s.peer].add(s.ask, c)
	}
	most, paths := w.opt.Addresses, w.opt.Paths
	if coarse > 0 {
		most, paths = min(most, 16), 0
	}
	groups := slices.Concat(w.wildcards(by), addresses(by, most), w.single(by))
	var together *group
	byDeed := map[string]*group{}
	var out []*group
	for _, g := range groups {
		g.said = append(g.said, g.did.simplify(paths)...)
		key := g.did.key()
		if coarse == 2 && g.peers[0].kind != anyPeer {
			key = ""
		} else if g.peers[0].kind == anyPeer {
			key = "any " + key // nobody is named, so it shares a rule with nobody
		}
		to := byDeed[key]
		if to == nil {
			byDeed[key] = g
			out = append(out, g)
			if key == "" {
				together = g
			}
			continue
		}
		to.peers = append(to.peers, g.peers...)
		to.said = append(to.said, g.said...)
		for a, c := range g.did {
			to.did.add(a, c)
		}
	}
	if together != nil && len(together.peers) > 1 {
		together.said = append(together.said, Generalised{Together, "", fmt.Sprintf("each of the %d peers may do what any of them did", len(together.peers))})
		together.said = append(together.said, together.did.simplify(paths)...)
	}
	for _, g := range out {
		slices.SortFunc(g.peers, comparePeers)
	}
	slices.SortFunc(out, func(a, b *group) int {
		return cmp.Or(comparePeers(a.peers[0], b.peers[0]), cmp.Compare(len(a.peers), len(b.peers)), strings.Compare(a.did.key(), b.did.key()))
	})
	return out
}

// single makes a group of each peer that is left.
func (w *writer) single(by map[peer]did) []*group {
	var out []*group
	for _, p := range sortedKeys(by, comparePeers) {
		out = append(out, &group{peers: []peer{p}, did: by[p]})
	}
	return out
}

func comparePeers(a, b peer) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.value, b.value))
}

func compareAsks(a, b ask) int {
	if a.port != b.port {
		return cmp.Compare(a.port, b.port)
	}
	if a.http != b.http {
		return map[bool]int{false: -1, true: 1}[a.http]
	}
	return cmp.Or(strings.Compare(a.path.text, b.path.text), strings.Compare(string(a.path.kind), string(b.path.kind)),
		strings.Compare(a.method, b.method), strings.Compare(a.serverName, b.serverName))
}

// key tells apart what was done.
func (d did) key() string {
	var b strings.Builder
	for _, a := range sortedKeys(d, compareAsks) {
		fmt.Fprintf(&b, "%d %t %q %q %q %q\n", a.port, a.http, a.method, a.path.kind, a.path.text, a.serverName)
	}
	return b.String()
}

// simplify takes together what a wider part of it allows anyway, and paths that are more than most.
// It says what is allowed beyond what was seen.
func (d did) simplify(most int) []Generalised {
	var said []Generalised
	said = append(said, d.fewerPaths(most)...)
	methods := map[string]bool{}
	for a := range d {
		methods[a.method] = true
	}
	if len(methods) > maxMethods {
		said = append(said, Generalised{AnyMethod, "", fmt.Sprintf("any method: there were %d", len(methods))})
		d.replace(func(a ask) ask { a.method = ""; return a })
	}
	ports := map[uint16]bool{}
	for a := range d {
		ports[a.port] = true
	}
	if len(ports) > maxPorts {
		said = append(said, Generalised{AnyPort, "", fmt.Sprintf("any port: there were %d", len(ports))})
		d.replace(func(a ask) ask { a.port = 0; return a })
	}
	// What is not looked into lets HTTP through as well, whatever is asked of it.
	d.replace(func(a ask) ask {
		for _, plain := range []ask{{port: a.port}, {}} {
			if _, open := d[plain]; open {
				return plain
			}
		}
		return a
	})
	return said
}

// replace puts something else in place of each ask.
func (d did) replace(by func(ask) ask) {
	old := maps.Clone(d)
	next := did{}
	for _, a := range sortedKeys(old, compareAsks) {
		next.add(by(a), old[a])
	}
	clear(d)
	maps.Copy(d, next)
}

// fewerPaths makes prefixes of the paths of a port and method that are more than most, as long
// as there are not too many.
func (d did) fewerPaths(most int) []Generalised {
	type where struct {
		port   uint16
		method string
	}
	by := map[where][]pattern{}
	for _, a := range sortedKeys(d, compareAsks) {
		if a.http && a.path.kind != "" {
			at := where{a.port, a.method}
			by[at] = append(by[at], a.path)
		}
	}
	var said []Generalised
	prefixes := map[where]int{}
	for at, paths := range by {
		if len(paths) <= max(1, most) {
			continue
		}
		depth := 6
		for ; depth > 0; depth-- {
			distinct := map[pattern]bool{}
			for _, p := range paths {
				distinct[prefixOf(p.text, depth)] = true
			}
			if len(distinct) <= max(1, most) {
				break
			}
		}
		prefixes[at] = depth
	}
	counts := map[pattern]int{}
	d.replace(func(a ask) ask {
		depth, many := prefixes[where{a.port, a.method}]
		if !a.http || a.path.kind == "" || !many {
			return a
		}
		from := a.path.text
		if a.path.kind == policy.RegexPath {
			from = "/"
		}
		a.path = prefixOf(from, depth)
		counts[a.path]++
		return a
	})
	for _, p := range sortedKeys(counts, func(a, b pattern) int { return strings.Compare(a.text, b.text) }) {
		said = append(said, Generalised{ByPrefix, p.text, fmt.Sprintf("everything below %s: %d paths were seen", p.text, counts[p])})
	}
	return said
}

// write makes the rules of a group: one for each way to ask, so that nothing is combined that was
// not seen together.
func (w *writer) write(g *group) {
	type part struct {
		match api.RuleMatch
		asks  []ask
	}
	var parts []part
	// What is no HTTP, by server name.
	ports := map[string][]ask{}
	names := map[uint16][]string{}
	for _, a := range sortedKeys(g.did, compareAsks) {
		if !a.http {
			names[a.port] = append(names[a.port], a.serverName)
		}
	}
	for _, a := range sortedKeys(g.did, compareAsks) {
		if !a.http {
			key := strings.Join(names[a.port], ",")
			ports[key] = append(ports[key], a)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(ports)) {
		m := api.RuleMatch{Ports: portsOf(ports[key])}
		if key != "" {
			m.TLS = &api.TLSMatch{ServerNames: strings.Split(key, ",")}
		}
		parts = append(parts, part{m, ports[key]})
	}
	// HTTP, by the ports at which it was seen.
	type request struct {
		method string
		path   pattern
	}
	at := map[request][]ask{}
	for _, a := range sortedKeys(g.did, compareAsks) {
		if a.http {
			r := request{a.method, a.path}
			at[r] = append(at[r], a)
		}
	}
	byPorts := map[string][]ask{}
	for _, asks := range at {
		key := fmt.Sprint(portsOf(asks))
		byPorts[key] = append(byPorts[key], asks...)
	}
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		asks := byPorts[key]
		slices.SortFunc(asks, compareAsks)
		for chunk := range slices.Chunk(matches(asks), maxMatches) {
			parts = append(parts, part{api.RuleMatch{Ports: portsOf(asks), HTTP: chunk}, asks})
		}
	}
	for _, p := range parts {
		for peers := range slices.Chunk(g.peers, maxPeers) {
			w.rule(g, peers, p.match, p.asks)
		}
	}
}

// portsOf are the ports of asks, nil for any.
func portsOf(asks []ask) []api.Port {
	var out []api.Port
	for _, a := range asks {
		if a.port == 0 {
			return nil
		}
		if one := (api.Port{Port: int32(a.port)}); !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b api.Port) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

// matches are the requests: paths that were asked for by the same methods stand together.
func matches(asks []ask) []api.HTTPMatch {
	methods := map[pattern][]string{}
	for _, a := range asks {
		if !slices.Contains(methods[a.path], a.method) {
			methods[a.path] = append(methods[a.path], a.method)
		}
	}
	paths := map[string][]pattern{}
	for p, ms := range methods {
		slices.Sort(ms)
		paths[strings.Join(ms, ",")] = append(paths[strings.Join(ms, ",")], p)
	}
	var out []api.HTTPMatch
	for _, key := range slices.Sorted(maps.Keys(paths)) {
		ps := paths[key]
		slices.SortFunc(ps, func(a, b pattern) int {
			return cmp.Or(strings.Compare(a.text, b.text), strings.Compare(string(a.kind), string(b.kind)))
		})
		m := api.HTTPMatch{}
		// An empty method is any, and comes first.
		if key != "" && !strings.HasPrefix(key, ",") {
			m.Methods = strings.Split(key, ",")
		}
		anyPath := false
		for _, p := range ps {
			anyPath = anyPath || p.kind == ""
			m.Paths = append(m.Paths, p.match())
		}
		if anyPath {
			m.Paths = []api.PathMatch{{Prefix: "/"}}
		}
		for chunk := range slices.Chunk(m.Paths, maxMatches) {
			out = append(out, api.HTTPMatch{Methods: m.Methods, Paths: chunk})
		}
	}
	return out
}

// rule adds one rule with its explanation.
func (w *writer) rule(g *group, peers []peer, m api.RuleMatch, asks []ask) {
	var c cover
	for _, a := range asks {
		c.merge(g.did[a])
	}
	to, said := w.peers(peers)
	said = append(said, beyond(asks, g.said)...)
	r := Rule{Name: w.name(peers), Flows: c.flows, Decisions: c.decisions, First: c.first, Last: c.last, IDs: c.ids, Generalised: said}
	w.rules = append(w.rules, r)
	if w.direction == policy.Egress {
		w.egress = append(w.egress, api.EgressRule{Name: r.Name, Action: api.ActionAllow, To: to, RuleMatch: m})
		return
	}
	in := api.IngressRule{Name: r.Name, Action: api.ActionAllow, RuleMatch: m}
	for _, p := range to {
		in.From = append(in.From, p.Peer)
	}
	w.ingress = append(w.ingress, in)
}

// beyond says what asks allow that was not seen. What was said of the group before stands first, but for
// prefixes that are of other asks.
func beyond(asks []ask, before []Generalised) []Generalised {
	var out []Generalised
	add := func(g Generalised) {
		if !slices.ContainsFunc(out, func(o Generalised) bool {
			return o == g || o.Kind == ByPrefix && g.Kind == ByPrefix && o.Value == g.Value
		}) {
			out = append(out, g)
		}
	}
	for _, g := range before {
		if g.Kind != ByPrefix || slices.ContainsFunc(asks, func(a ask) bool { return a.path == pattern{policy.PrefixPath, g.Value} }) {
			add(g)
		}
	}
	for _, a := range asks {
		if a.port == 0 {
			add(Generalised{AnyPort, "", "any port: those of the flows are not known or were too many"})
		}
		switch {
		case !a.http && a.serverName == "":
			add(Generalised{AnyProtocol, "", "any protocol at these ports: what was seen is not HTTP, and HTTP is let through too, whatever it asks for"})
		case !a.http:
		case a.method == "":
			add(Generalised{AnyMethod, "", "any method: those of the flows are not known or were too many"})
		}
		if !a.http {
			continue
		}
		switch a.path.kind {
		case "":
			add(Generalised{AnyPath, "", "any path: those of the flows are not known or were too many"})
		case policy.TemplatePath:
			add(Generalised{ByTemplate, a.path.text, a.path.text + ": what is in braces is any one segment, or with =** all that follows"})
		case policy.PrefixPath:
			add(Generalised{ByPrefix, a.path.text, fmt.Sprintf("everything below %s", a.path.text)})
		}
	}
	return out
}
