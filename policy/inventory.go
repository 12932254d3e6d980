package policy

import (
	"net/netip"
	"strconv"

	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// namespaceNameLabel is on every namespace, as on Kubernetes.
const namespaceNameLabel = "kubernetes.io/metadata.name"

// member is a workload as selectors see it.
type member struct {
	workload        *api.Workload
	labels          labels.Set
	namespaceLabels labels.Set
	addresses       []netip.Addr
}

func newInventory(set *api.Set) []*member {
	namespaces := map[string]labels.Set{}
	for _, n := range set.Namespaces {
		l := labels.Set{namespaceNameLabel: n.Name}
		for k, v := range n.Labels {
			l[k] = v
		}
		l[namespaceNameLabel] = n.Name
		namespaces[n.Name] = l
	}
	members := make([]*member, 0, len(set.Workloads))
	for _, w := range set.Workloads {
		m := &member{workload: w, labels: w.Labels, namespaceLabels: namespaces[w.Namespace]}
		if m.namespaceLabels == nil {
			m.namespaceLabels = labels.Set{namespaceNameLabel: w.Namespace}
		}
		for _, a := range w.Spec.Addresses {
			if addr, err := netip.ParseAddr(a); err == nil {
				m.addresses = append(m.addresses, addr.Unmap())
			}
		}
		members = append(members, m)
	}
	return members
}

// addressesOf is the set of the addresses of the members that pick approves, and
// how many members those are.
func addressesOf(members []*member, pick func(*member) bool) (*AddrSet, int) {
	var ps []netip.Prefix
	n := 0
	for _, m := range members {
		if !pick(m) {
			continue
		}
		n++
		for _, a := range m.addresses {
			ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return newAddrSet(ps, nil), n
}

func defaultListenerName(prefix string, port int32) string {
	return prefix + "-" + strconv.Itoa(int(port))
}
