package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// namespaceNameLabel is on every namespace, as on Kubernetes.
const namespaceNameLabel = "kubernetes.io/metadata.name"

// space is a namespace: what selectors see of it, and who is in it. There is one for
// every name that an object, a workload or a policy has.
type space struct {
	name     string
	object   *api.Namespace // nil where there is none
	labels   labels.Set
	members  map[*member]struct{}
	policies map[*compiledPolicy]struct{}
}

func (s *space) key() (namespace, name string) { return "", s.name }
func (s *space) current() *api.Namespace       { return s.object }

// space returns the namespace of that name.
func (c *Compiler) space(name string) *space {
	s := c.spaces[name]
	if s == nil {
		s = &space{name: name, labels: namespaceLabels(name, nil), members: map[*member]struct{}{}, policies: map[*compiledPolicy]struct{}{}}
		c.spaces[name] = s
	}
	return s
}

func namespaceLabels(name string, n *api.Namespace) labels.Set {
	l := labels.Set{}
	if n != nil {
		maps.Copy(l, n.Labels)
	}
	l[namespaceNameLabel] = name
	return l
}

// namespaces takes over the namespaces of the set. Those of which the labels changed have
// their members looked at again.
func (c *Compiler) namespaces() {
	change := func(s *space, n *api.Namespace) {
		s.object = n
		if l := namespaceLabels(s.name, n); !maps.Equal(l, s.labels) {
			s.labels = l
			for m := range s.members {
				c.moved[m] = struct{}{}
			}
		}
	}
	c.named = follow(c.named, c.set.Namespaces, func(n *api.Namespace) *space {
		s := c.space(n.Name)
		change(s, n)
		return s
	}, change, func(s *space) { change(s, nil) })
}

// forgetSpaces drops the namespaces that nothing is in.
func (c *Compiler) forgetSpaces() {
	for name, s := range c.spaces {
		if s.object == nil && len(s.members) == 0 && len(s.policies) == 0 {
			delete(c.spaces, name)
		}
	}
}

// member is a workload as selectors see it, and what it was compiled to.
type member struct {
	workload  *api.Workload
	space     *space
	addresses []netip.Addr
	services  []netip.Addr // of load balancers that hand on to it
	// selected are the policies that select it, in no order until it is compiled.
	selected []*compiledPolicy
	compiled *Workload
	problems []api.Problem
}

func (m *member) key() (namespace, name string) { return m.workload.Namespace, m.workload.Name }
func (m *member) current() *api.Workload        { return m.workload }

func (m *member) labels() labels.Set { return m.workload.Labels }

// workloads takes over the workloads of the set.
func (c *Compiler) workloads() {
	change := func(m *member, w *api.Workload) {
		if !slices.Equal(m.workload.Spec.Addresses, w.Spec.Addresses) {
			m.addresses = parseAddresses(w.Spec.Addresses)
			c.readdressed[m] = struct{}{}
		}
		if !slices.Equal(m.workload.Spec.ServiceAddresses, w.Spec.ServiceAddresses) {
			c.leaveServices(m)
			c.joinServices(m, w)
		}
		if m.workload.Spec.ServiceAccount != w.Spec.ServiceAccount || !maps.Equal(m.workload.Labels, w.Labels) {
			c.moved[m] = struct{}{}
		}
		m.workload = w
		c.dirty(m)
	}
	c.members = follow(c.members, c.set.Workloads, func(w *api.Workload) *member {
		m := &member{workload: w, space: c.space(w.Namespace), addresses: parseAddresses(w.Spec.Addresses)}
		m.space.members[m] = struct{}{}
		c.joinServices(m, w)
		c.moved[m] = struct{}{}
		c.dirty(m)
		return m
	}, change, func(m *member) {
		delete(m.space.members, m)
		c.leaveGroups(m)
		c.leaveServices(m)
		delete(c.readdressed, m)
		for _, p := range m.selected {
			delete(p.members, m)
			c.problemsChanged = true
		}
		delete(c.moved, m)
		c.remade = true
		c.problemsChanged = c.problemsChanged || len(m.problems) > 0
	})
}

func (c *Compiler) dirty(m *member) { c.dirtied[m] = struct{}{} }

func parseAddresses(in []string) []netip.Addr {
	out := make([]netip.Addr, 0, len(in))
	for _, s := range in {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// entry is what the compiler keeps of an object.
type entry[O comparable] interface {
	current() O
	key() (namespace, name string)
}

// follow walks a sorted list of objects beside what is kept of the last one, and calls for
// each object that came, that is another than before, and that is gone. What is out of order
// is taken for gone and come again, which is right and slower.
func follow[O interface {
	comparable
	GetNamespace() string
	GetName() string
}, E entry[O]](known []E, list []O, add func(O) E, change func(E, O), drop func(E)) []E {
	out := make([]E, 0, len(list))
	i := 0
	for _, o := range list {
		for ; i < len(known) && known[i].current() != o && compareKey(known[i], o.GetNamespace(), o.GetName()) < 0; i++ {
			drop(known[i])
		}
		switch {
		case i < len(known) && known[i].current() == o:
			out = append(out, known[i])
			i++
		case i < len(known) && compareKey(known[i], o.GetNamespace(), o.GetName()) == 0:
			change(known[i], o)
			out = append(out, known[i])
			i++
		default:
			out = append(out, add(o))
		}
	}
	for ; i < len(known); i++ {
		drop(known[i])
	}
	return out
}

func compareKey(e interface{ key() (string, string) }, namespace, name string) int {
	ns, n := e.key()
	if c := strings.Compare(ns, namespace); c != 0 {
		return c
	}
	return strings.Compare(n, name)
}

func defaultListenerName(prefix string, port int32) string {
	return prefix + "-" + strconv.Itoa(int(port))
}
