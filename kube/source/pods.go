package source

import (
	"cmp"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"pavise.dev/pavise/kube/netpol"
)

// What the injector leaves on a pod.
const (
	StatusAnnotation = "pavise.dev/status"
	RevisionLabel    = "pavise.dev/revision"
)

// pod is one that may still run, as far as it matters.
type pod struct {
	name           name
	uid            types.UID
	owner          string // the name that its class is called by
	account        string
	labels, ports  map[string]string // its own, and those of its named ports
	addresses      []netip.Addr      // none on the host's network
	start, created int64             // seconds since 1970; start is 0 where it did not yet
	sidecar        bool
	class          *class
}

// label is what selectors see.
func (p *pod) label(key string) (string, bool) {
	if strings.HasPrefix(key, netpol.PortLabelDomain+"/") {
		v, ok := p.ports[key]
		return v, ok
	}
	v, ok := p.labels[key]
	return v, ok
}

func (s *State) readPod(o *corev1.Pod) pod {
	p := pod{
		name: nameOf(o), uid: o.UID, account: cmp.Or(o.Spec.ServiceAccountName, "default"), labels: o.Labels, owner: ownerOf(o),
		created: o.CreationTimestamp.Unix(),
	}
	if at := startOf(o); at != nil {
		p.start = at.Unix()
	}
	if _, injected := o.Annotations[StatusAnnotation]; injected && o.Labels[RevisionLabel] == s.options.Revision {
		p.sidecar = true
	}
	if s.options.NetworkPolicies {
		p.ports = netpol.PortLabels(&o.Spec)
	}
	if o.Spec.HostNetwork {
		return p
	}
	for _, ip := range o.Status.PodIPs {
		p.addresses = appendAddress(p.addresses, ip.IP)
	}
	if len(o.Status.PodIPs) == 0 {
		p.addresses = appendAddress(p.addresses, o.Status.PodIP)
	}
	slices.SortFunc(p.addresses, netip.Addr.Compare)
	p.addresses = slices.Compact(p.addresses)
	return p
}

// startOf is when a pod had a network: the kubelet may have taken it on long before. Where the
// kubelet does not say, it is when it took it on; nil where it did not yet.
func startOf(o *corev1.Pod) *metav1.Time {
	at := o.Status.StartTime
	for i := range o.Status.Conditions {
		c := &o.Status.Conditions[i]
		if c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue && (at == nil || at.Before(&c.LastTransitionTime)) {
			at = &c.LastTransitionTime
		}
	}
	if at == nil {
		return nil
	}
	return &metav1.Time{Time: at.Time} // a copy, that does not keep the conditions
}

// appendAddress leaves out what no connection comes from: a class with it would have an error,
// and be as if it were not there.
func appendAddress(list []netip.Addr, text string) []netip.Addr {
	a, err := netip.ParseAddr(text)
	if a = a.Unmap(); err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return list
	}
	return append(list, a)
}

// cronJobRun is how the controller of CronJobs calls the Jobs: by the minutes since 1970.
var cronJobRun = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// ownerOf is the name of what made the pod, see Owner.
func ownerOf(o *corev1.Pod) string {
	_, name := Owner(o)
	return name
}

// Owner is the kind and the name of what made a pod: of a Deployment rather than a ReplicaSet, of
// a CronJob rather than one run of it. Where there is none, or the name could not be that of an
// object, it is the pod itself.
func Owner(o *corev1.Pod) (kind, name string) {
	for i := range o.OwnerReferences {
		r := &o.OwnerReferences[i]
		if r.Controller == nil || !*r.Controller {
			continue
		}
		kind, name := r.Kind, r.Name
		switch r.Kind {
		case "ReplicaSet":
			if hash := o.Labels["pod-template-hash"]; hash != "" {
				kind, name = "Deployment", strings.TrimSuffix(name, "-"+hash)
			}
		case "Job":
			if m := cronJobRun.FindStringSubmatch(name); m != nil {
				kind, name = "CronJob", m[1]
			}
		case "Node": // of a static pod NAME-NODE
			kind, name = "Pod", strings.TrimSuffix(o.Name, "-"+r.Name)
		}
		if len(validation.IsDNS1123Subdomain(name)) == 0 {
			return kind, name
		}
	}
	return "Pod", o.Name
}

func (p *pod) same(o *pod) bool {
	return p.uid == o.uid && p.owner == o.owner && p.account == o.account && p.sidecar == o.sidecar &&
		p.start == o.start && p.created == o.created && slices.Equal(p.addresses, o.addresses) &&
		maps.Equal(p.labels, o.labels) && maps.Equal(p.ports, o.ports)
}

func (s *State) podChanged(o *corev1.Pod) {
	key := nameOf(o)
	if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		s.podGone(key)
		return
	}
	now := s.readPod(o)
	p := s.pods[key]
	switch {
	case p == nil:
		p = &pod{}
		s.pods[key] = p
	case p.same(&now):
		p.labels = now.labels // so that the object before is not kept for them
		return
	default:
		s.release(p)
	}
	now.class = p.class
	*p = now
	s.take(p)
	s.dirtyPods[key] = struct{}{}
}

func (s *State) podGone(key name) {
	p := s.pods[key]
	if p == nil {
		return
	}
	s.release(p)
	s.leave(p)
	delete(s.pods, key)
	s.dirtyPods[key] = struct{}{}
}

// take counts what a pod claims, release takes it back.
func (s *State) take(p *pod) {
	for label, number := range p.ports {
		s.countPort(p.name.namespace, label, number, 1)
	}
	for _, a := range p.addresses {
		before := s.holder(a)
		s.claims[a] = append(s.claims[a], p)
		if len(s.claims[a]) == 2 {
			s.shared++
		}
		s.handOver(before, s.holder(a))
	}
}

func (s *State) release(p *pod) {
	for label, number := range p.ports {
		s.countPort(p.name.namespace, label, number, -1)
	}
	for _, a := range p.addresses {
		before := s.holder(a)
		rest := slices.DeleteFunc(s.claims[a], func(o *pod) bool { return o == p })
		if len(rest) == 1 {
			s.shared--
		}
		if s.claims[a] = rest; len(rest) == 0 {
			delete(s.claims, a)
		}
		s.handOver(before, s.holder(a))
	}
}

func (s *State) handOver(from, to *pod) {
	for _, p := range []*pod{from, to} {
		if from != to && p != nil && p.class != nil {
			s.dirtyClasses[p.class] = struct{}{}
		}
	}
}

// holder is the pod that an address belongs to: of those that claim it the one whose network
// started last, which is the one that the others' end made room for. Seconds are all that there is to
// go by; what is equal in them is told apart by the UID, so that all replicas decide alike.
func (s *State) holder(a netip.Addr) *pod {
	claims := s.claims[a]
	if len(claims) == 0 {
		return nil
	}
	return slices.MaxFunc(claims, func(p, o *pod) int {
		return cmp.Or(cmp.Compare(p.start, o.start), cmp.Compare(p.created, o.created), cmp.Compare(p.uid, o.uid))
	})
}
