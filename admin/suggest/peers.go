package suggest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// namespaceNameLabel is on every namespace.
const namespaceNameLabel = "kubernetes.io/metadata.name"

// peers are those of a rule as it names them: workloads one by one, addresses and names in a list.
func (w *writer) peers(peers []peer) ([]api.EgressPeer, []Generalised) {
	var out []api.EgressPeer
	var said []Generalised
	var accounts, cidrs, domains []string
	for _, p := range peers {
		switch p.kind {
		case anyPeer:
			said = append(said, Generalised{AnyPeer, "", "any peer: those of the flows were too many to be told apart"})
		case addressPeer:
			cidrs = append(cidrs, p.value)
		case namePeer:
			domains = append(domains, p.value)
		case workloadPeer:
			for one := range strings.SplitSeq(p.value, ",") {
				if a := w.k.account(one); a != "" {
					if !slices.Contains(accounts, a) {
						accounts = append(accounts, a)
					}
					continue
				}
				s, more := w.selector(one)
				if !slices.ContainsFunc(out, func(o api.EgressPeer) bool { return samePeer(&o.Peer, &s) }) {
					out = append(out, api.EgressPeer{Peer: s})
				}
				said = append(said, more...)
			}
			if n := strings.Count(p.value, ","); n > 0 {
				said = append(said, Generalised{BySelector, "", fmt.Sprintf("%s are behind one address, and a rule has to name them all", list(strings.Split(p.value, ",")))})
			}
		}
	}
	if len(accounts) > 0 {
		slices.Sort(accounts)
		out = append(out, api.EgressPeer{Peer: api.Peer{ServiceAccounts: accounts}})
		said = append(said, Generalised{BySelector, "", "every workload with the service account " + list(accounts)})
	}
	if len(cidrs) > 0 {
		out = append(out, api.EgressPeer{Peer: api.Peer{CIDRs: cidrs}})
	}
	if len(domains) > 0 {
		out = append(out, api.EgressPeer{Domains: domains})
	}
	return out, said
}

func samePeer(a, b *api.Peer) bool {
	return maps.Equal(selectorLabels(a.PodSelector), selectorLabels(b.PodSelector)) && maps.Equal(selectorLabels(a.NamespaceSelector), selectorLabels(b.NamespaceSelector))
}

func selectorLabels(s *metav1.LabelSelector) map[string]string {
	if s == nil {
		return nil
	}
	return s.MatchLabels
}

// selector names a workload by its labels.
func (w *writer) selector(workload string) (api.Peer, []Generalised) {
	namespace, _, _ := strings.Cut(workload, "/")
	labels := w.k.labels(workload)
	p := api.Peer{PodSelector: &metav1.LabelSelector{MatchLabels: maps.Clone(labels)}}
	if namespace != w.namespace {
		p.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{namespaceNameLabel: namespace}}
	}
	if others := w.k.alike(workload, labels); len(others) > 0 {
		return p, []Generalised{{BySelector, "", "the labels of " + workload + " are also those of " + list(others)}}
	}
	return p, nil
}

// name is what decisions will call the rule.
func (w *writer) name(peers []peer) string {
	verb := map[policy.Direction]string{policy.Ingress: "from-", policy.Egress: "to-"}[w.direction]
	base := verb + "anybody"
	if p := peers[0]; p.kind != anyPeer {
		base = verb + slug(p.value)
	}
	if len(peers) > 1 {
		base += fmt.Sprintf("-and-%d-more", len(peers)-1)
	}
	name := base
	for n := 2; w.names[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	w.names[name] = true
	return name
}

// slug is at most 40 characters of what may stand in the name of a rule.
func slug(s string) string {
	out := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(s, "/32"), "/128")))
	return cmp.Or(strings.Trim(out[:min(len(out), 40)], "-."), "peer")
}

// list names a few and counts the others.
func list(names []string) string {
	if len(names) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}
