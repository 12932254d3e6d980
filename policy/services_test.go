package policy

import (
	"net/netip"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// TestAddressOfAService: what stands behind an address decides whether a rule means it. A Deny
// rule that let a shared address pass would be gone around by it; an Allow rule that took one
// would lead to who was never allowed.
func TestAddressOfAService(t *testing.T) {
	const service = "10.96.0.1"
	to := func(app string) []api.EgressPeer {
		return []api.EgressPeer{{Peer: api.Peer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}}}
	}
	workload := func(name string, services ...string) *api.Workload {
		return &api.Workload{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": name, "tier": "back"}},
			Spec:       api.WorkloadSpec{Addresses: []string{"10.0.0." + map[string]string{"a": "1", "b": "2", "client": "9"}[name]}, ServiceAddresses: services},
		}
	}
	back := []api.EgressPeer{{Peer: api.Peer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "back"}}}}}
	for _, tt := range []struct {
		name   string
		action api.Action
		to     []api.EgressPeer
		b      []string // services that hand on to b; all do to a
		want   Verdict
	}{
		{"allowed alone", api.ActionAllow, to("a"), nil, Allowed},
		{"allowed and shared with another", api.ActionAllow, to("a"), []string{service}, Denied},
		{"allowed with all that share it", api.ActionAllow, back, []string{service, service}, Allowed},
		{"denied alone", api.ActionDeny, to("a"), nil, Denied},
		{"denied and shared with another", api.ActionDeny, to("a"), []string{service}, Denied},
		{"of another", api.ActionDeny, to("b"), nil, Allowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := workload("client")
			client.Labels["tier"] = "front"
			client.Spec.Transparent = &api.Transparent{}
			rules := []api.EgressRule{{Action: tt.action, To: tt.to}}
			if tt.action == api.ActionDeny {
				rules = append(rules, api.EgressRule{Action: api.ActionAllow})
			}
			set, problems := api.NewSet(client, workload("a", service), workload("b", tt.b...), &api.AccessPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"},
				Spec:       api.AccessPolicySpec{Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "client"}}, Egress: rules},
			})
			if api.HasErrors(problems) {
				t.Fatal(problems)
			}
			m, _ := Compile(set)
			w := m.Workload("shop", "client")
			l := w.Listeners[slices.IndexFunc(w.Listeners, func(l *Listener) bool { return l.Direction == Egress })]
			got := l.Evaluate(&Request{Source: netip.MustParseAddr("10.0.0.9"), Destination: netip.MustParseAddr(service), Port: 80})
			if got.Verdict != tt.want {
				t.Errorf("%s, want %s: %+v", got.Verdict, tt.want, got)
			}
		})
	}
}
