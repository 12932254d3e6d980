package flows

import (
	"strings"

	"pavise.dev/pavise/policy"
)

// groupKey is what a stranger cannot choose: whom a decision is about, and why it was made.
type groupKey struct {
	workload  string
	direction policy.Direction
	reason    string
}

// group bounds the flows that have it in common. Values are counted by the flows that have
// them; with the last of those a value makes room for another.
type group struct {
	key                        groupKey
	peers, names, meths, paths values
	ports                      map[uint16]int
	rows                       int
}

// values are texts and how many flows have each.
type values map[string]*value

type value struct {
	text string
	rows int
}

const (
	groupOctets = 1200    // a group and the beginnings of its maps
	valueOctets = 24 + 64 // a value, and its place in a map
	portOctets  = 32
)

func (g *group) bytes() int64 {
	return groupOctets + int64(len(g.key.workload)+len(g.key.direction)+len(g.key.reason))
}

func (p *part) group(key groupKey) *group {
	g := p.groups[key]
	if g == nil {
		key.workload, key.direction, key.reason = strings.Clone(key.workload), cloned(key.direction), strings.Clone(key.reason)
		g = &group{key: key, peers: values{}, names: values{}, meths: values{}, paths: values{}, ports: map[uint16]int{}}
		p.groups[key] = g
		p.delta += g.bytes()
	}
	return g
}

// admit makes "*" of every value of a key for which there is no room, and says whether it
// did. Nothing is kept of the key.
func (g *group) admit(k *Key) (merged bool) {
	full := func(vs values, s string) bool {
		return s != "" && s != Star && vs[s] == nil && len(vs) >= mostValues
	}
	_, known := g.ports[k.Port]
	star := func(s *string) {
		if *s != "" {
			*s, merged = Star, true
		}
	}
	if g.rows >= 2*mostRows {
		star(&k.Peer)
		star(&k.Name)
	}
	if g.rows >= mostRows {
		star(&k.Method)
		star(&k.Path)
	}
	if full(g.peers, k.Peer) {
		star(&k.Peer)
	}
	if full(g.names, k.Name) {
		star(&k.Name)
	}
	if full(g.meths, k.Method) {
		star(&k.Method)
	}
	if full(g.paths, k.Path) {
		star(&k.Path)
	}
	if k.Port != 0 && (g.rows >= 2*mostRows || !known && len(g.ports) >= mostValues) {
		k.Port, merged = 0, true
	}
	return merged
}

// take counts a flow in, and makes its texts those of the group. It returns by how many
// octets the group has grown.
func (g *group) take(k *Key) (grown int64) {
	g.rows++
	k.Workload, k.Direction, k.Reason = g.key.workload, g.key.direction, g.key.reason
	for _, t := range g.texts(k) {
		if *t.text == "" {
			continue
		}
		v := t.in[*t.text]
		if v == nil {
			v = &value{text: strings.Clone(*t.text)}
			t.in[v.text] = v
			grown += valueOctets + int64(len(v.text))
		}
		v.rows++
		*t.text = v.text
	}
	if k.Port != 0 {
		if g.ports[k.Port]++; g.ports[k.Port] == 1 {
			grown += portOctets
		}
	}
	return grown
}

// give undoes take.
func (g *group) give(k *Key) (shrunk int64) {
	g.rows--
	for _, t := range g.texts(k) {
		v := t.in[*t.text]
		if v == nil {
			continue
		}
		if v.rows--; v.rows == 0 {
			delete(t.in, v.text)
			shrunk += valueOctets + int64(len(v.text))
		}
	}
	if k.Port != 0 {
		if g.ports[k.Port]--; g.ports[k.Port] == 0 {
			delete(g.ports, k.Port)
			shrunk += portOctets
		}
	}
	return shrunk
}

type textOf struct {
	in   values
	text *string
}

func (g *group) texts(k *Key) [4]textOf {
	return [...]textOf{{g.peers, &k.Peer}, {g.names, &k.Name}, {g.meths, &k.Method}, {g.paths, &k.Path}}
}
