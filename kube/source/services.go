package source

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// slice is the pods that one EndpointSlice names, sorted, each once.
type slice struct {
	service name
	pods    []name
}

func (s *State) serviceChanged(o *corev1.Service) {
	var ips []netip.Addr
	if o.Spec.Type != corev1.ServiceTypeExternalName {
		// "None" is no address, as are all that are not set yet.
		for _, text := range o.Spec.ClusterIPs {
			ips = appendAddress(ips, text)
		}
		if len(o.Spec.ClusterIPs) == 0 {
			ips = appendAddress(ips, o.Spec.ClusterIP)
		}
	}
	s.setService(nameOf(o), ips)
}

func (s *State) serviceGone(key name) { s.setService(key, nil) }

func (s *State) setService(key name, ips []netip.Addr) {
	if slices.Equal(ips, s.services[key]) {
		return
	}
	if s.services[key] = ips; len(ips) == 0 {
		delete(s.services, key)
	}
	for at := range s.slicesOf[key] {
		for _, pod := range s.slices[at].pods {
			if p := s.pods[pod]; p != nil && p.class != nil {
				s.dirtyClasses[p.class] = struct{}{}
			}
		}
	}
}

func (s *State) sliceChanged(o *discoveryv1.EndpointSlice) {
	now := slice{service: name{o.Namespace, o.Labels[discoveryv1.LabelServiceName]}}
	if now.service.name == "" {
		s.setSlice(nameOf(o), slice{})
		return
	}
	for i := range o.Endpoints {
		// A pod of another namespace is not this one's to give an address.
		if t := o.Endpoints[i].TargetRef; t != nil && t.Kind == "Pod" && (t.Namespace == "" || t.Namespace == o.Namespace) {
			now.pods = append(now.pods, name{o.Namespace, t.Name})
		}
	}
	slices.SortFunc(now.pods, name.compare)
	now.pods = slices.Compact(now.pods)
	s.setSlice(nameOf(o), now)
}

// setSlice takes over what a slice names; none where it is gone.
func (s *State) setSlice(key name, now slice) {
	old := s.slices[key]
	if old.service == now.service && slices.Equal(old.pods, now.pods) {
		return
	}
	if old.service != now.service && old.service.name != "" {
		if delete(s.slicesOf[old.service], key); len(s.slicesOf[old.service]) == 0 {
			delete(s.slicesOf, old.service)
		}
	}
	if now.service.name == "" {
		delete(s.slices, key)
	} else {
		s.slices[key] = now
		if s.slicesOf[now.service] == nil {
			s.slicesOf[now.service] = map[name]struct{}{}
		}
		s.slicesOf[now.service][key] = struct{}{}
	}
	count := func(of slice, but slice, by int) {
		for _, pod := range of.pods {
			if _, also := slices.BinarySearchFunc(but.pods, pod, name.compare); !also || of.service != but.service {
				s.countEndpoint(pod, of.service, by)
			}
		}
	}
	count(now, old, 1)
	count(old, now, -1)
}

// countEndpoint counts one slice more or less that has the pod behind the Service.
func (s *State) countEndpoint(pod, service name, by int) {
	of := s.behind[pod]
	if of == nil {
		of = map[name]int{}
		s.behind[pod] = of
	}
	before := of[service]
	of[service] = before + by
	if before+by == 0 {
		delete(of, service)
	}
	if len(of) == 0 {
		delete(s.behind, pod)
	}
	if p := s.pods[pod]; p != nil && p.class != nil && (before == 0 || before+by == 0) {
		s.countService(p.class, service, by)
	}
}

// countService counts one pod more or less of the class behind the Service.
func (s *State) countService(c *class, service name, by int) {
	before := c.services[service]
	c.services[service] = before + by
	if before+by == 0 {
		delete(c.services, service)
	}
	if before == 0 || before+by == 0 {
		s.dirtyClasses[c] = struct{}{}
	}
}

func (s *State) namespaceChanged(o *corev1.Namespace) {
	if old := s.namespaces.byName[name{"", o.Name}]; old == nil || !maps.Equal(old.Labels, o.Labels) {
		s.namespaces.put(namespace(o))
	}
}
