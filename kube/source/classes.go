package source

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// classID is what the pods of a class have in common. Labels are those that selectors look at,
// in a form that can be compared.
type classID struct {
	namespace, owner, account, labels string
	sidecar                           bool
}

// compare puts classes with sidecars first.
func (c classID) compare(o classID) int {
	side := 0
	if c.sidecar != o.sidecar {
		side = 1
		if c.sidecar {
			side = -1
		}
	}
	return cmp.Or(side, cmp.Compare(c.namespace, o.namespace), cmp.Compare(c.owner, o.owner),
		cmp.Compare(c.account, o.account), cmp.Compare(c.labels, o.labels))
}

// class is pods that no policy can tell apart.
type class struct {
	id       classID
	name     string // of the workload; empty until it is settled
	labels   map[string]string
	pods     map[*pod]struct{}
	services map[name]int // how many of the pods are behind each
	workload *api.Workload
}

// identify is the class that a pod belongs in.
func (s *State) identify(p *pod) classID {
	var b strings.Builder
	for _, key := range s.keys {
		if v, ok := p.label(key); ok {
			// Neither a key nor a value has such octets.
			b.WriteString(key)
			b.WriteByte('\x00')
			b.WriteString(v)
			b.WriteByte('\x01')
		}
	}
	return classID{p.name.namespace, p.owner, p.account, b.String(), p.sidecar}
}

func (s *State) project(p *pod) map[string]string {
	var out map[string]string
	for _, key := range s.keys {
		if v, ok := p.label(key); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = v
		}
	}
	return out
}

// rekey finds which labels selectors look at. Where that changed, every pod may be in another
// class.
func (s *State) rekey() {
	use := s.keyUse
	if s.options.InForce != nil {
		if extra := s.keysInForce(); len(extra) > 0 {
			use = maps.Clone(use)
			maps.Copy(use, extra)
		}
	}
	keys := slices.Sorted(maps.Keys(use))
	if slices.Equal(keys, s.keys) {
		return
	}
	s.keys = keys
	if len(s.pods) > 0 {
		s.reclassified++
	}
	for key := range s.pods {
		s.dirtyPods[key] = struct{}{}
	}
}

// classify puts the pods that changed into their classes.
func (s *State) classify() {
	for key := range s.dirtyPods {
		p := s.pods[key]
		if p == nil {
			continue
		}
		id := s.identify(p)
		if p.class != nil && p.class.id == id {
			continue
		}
		s.leave(p)
		c := s.classes[id]
		if c == nil {
			c = &class{id: id, labels: s.project(p), pods: map[*pod]struct{}{}, services: map[name]int{}}
			s.classes[id] = c
			s.dirtyClasses[c] = struct{}{}
		}
		s.join(p, c)
	}
}

func (s *State) join(p *pod, c *class) {
	p.class = c
	c.pods[p] = struct{}{}
	for service := range s.behind[p.name] {
		s.countService(c, service, 1)
	}
	if len(p.addresses) > 0 {
		s.dirtyClasses[c] = struct{}{}
	}
}

func (s *State) leave(p *pod) {
	c := p.class
	if c == nil {
		return
	}
	p.class = nil
	delete(c.pods, p)
	for service := range s.behind[p.name] {
		s.countService(c, service, -1)
	}
	if len(p.addresses) > 0 || len(c.pods) == 0 {
		s.dirtyClasses[c] = struct{}{}
	}
}

// settleClasses makes the workloads of the classes that changed. A class keeps its name while it
// lasts, with one exception: one without sidecars makes room for one with, because nobody is
// told its name.
func (s *State) settleClasses() {
	var unnamed []*class
	for c := range s.dirtyClasses {
		switch {
		case len(c.pods) == 0:
			s.drop(c)
			delete(s.classes, c.id)
			delete(s.dirtyClasses, c)
		case c.name == "":
			unnamed = append(unnamed, c)
		}
	}
	slices.SortFunc(unnamed, func(a, b *class) int { return a.id.compare(b.id) })
	for len(unnamed) > 0 {
		c := unnamed[0]
		unnamed = unnamed[1:]
		if holder := s.named[name{c.id.namespace, c.id.owner}]; holder != nil && c.id.sidecar && !holder.id.sidecar {
			s.drop(holder)
			s.dirtyClasses[holder] = struct{}{}
			unnamed = append(unnamed, holder)
		}
		c.name = s.freeName(c.id)
		s.named[name{c.id.namespace, c.name}] = c
	}
	for c := range s.dirtyClasses {
		s.build(c)
	}
	clear(s.dirtyClasses)
}

// drop takes the name from a class.
func (s *State) drop(c *class) {
	if c.name != "" {
		delete(s.named, name{c.id.namespace, c.name})
		s.workloads.remove(name{c.id.namespace, c.name})
		c.name, c.workload = "", nil
	}
}

// maxName is how long the name of an object may be, in octets.
const maxName = 253

// freeName is the name of the owner, or that with a hash behind it.
func (s *State) freeName(id classID) string {
	n := id.owner
	for i := 0; s.named[name{id.namespace, n}] != nil; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t %d", id.owner, id.account, id.labels, id.sidecar, i))
		n = strings.TrimRight(id.owner[:min(len(id.owner), maxName-9)], "-.") + "-" + hex.EncodeToString(sum[:4])
	}
	return n
}

// build makes the workload of a class. One that comes out as it was keeps its pointer.
func (s *State) build(c *class) {
	w := &api.Workload{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.id.namespace, Name: c.name, Labels: c.labels},
		Spec:       api.WorkloadSpec{ServiceAccount: c.id.account},
	}
	if c.id.sidecar {
		w.Spec.Transparent = s.transparent
	}
	var own, services []netip.Addr
	for p := range c.pods {
		for _, a := range p.addresses {
			if s.holder(a) == p {
				own = append(own, a)
			}
		}
	}
	for service := range c.services {
		services = append(services, s.services[service]...)
	}
	w.Spec.Addresses, w.Spec.ServiceAddresses = texts(own), texts(services)
	if old := c.workload; old != nil && slices.Equal(old.Spec.Addresses, w.Spec.Addresses) &&
		slices.Equal(old.Spec.ServiceAddresses, w.Spec.ServiceAddresses) {
		return // the rest is what makes it this class
	}
	c.workload = w
	s.workloads.put(w)
}

// texts are the addresses sorted, each once.
func texts(list []netip.Addr) []string {
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

// portName is a label of a named port, in a namespace or, without one, in the cluster.
type portName struct{ namespace, label string }

// countPort counts one pod more or less that gives a named port a number.
func (s *State) countPort(namespace, label, number string, by int) {
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 || n > 65535 {
		return
	}
	for _, at := range []portName{{namespace, label}, {"", label}} {
		counts := s.numbers[at]
		if counts == nil {
			counts = map[int32]int{}
			s.numbers[at] = counts
		}
		before := counts[int32(n)]
		counts[int32(n)] = before + by
		if before+by == 0 {
			delete(counts, int32(n))
		}
		if len(counts) == 0 {
			delete(s.numbers, at)
		}
		if before == 0 || before+by == 0 {
			maps.Copy(s.stale, s.askers[at])
		}
	}
}
