package admin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// TestGraphOfTheShop: who may reach whom in a model that one can oversee.
func TestGraphOfTheShop(t *testing.T) {
	l := newLab(t)
	g, err := graph(context.Background(), l.model, l.model.Workloads)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range g.Nodes {
		got = append(got, fmt.Sprintf("%s in %s out %s", n.Name, n.Anyone, n.Anywhere))
	}
	for _, e := range g.Edges {
		got = append(got, fmt.Sprintf("%s -> %s %s", e.From, e.To, e.Traffic))
	}
	want := []string{
		"jobs/cron in all out none", "shop/db in none out all", "shop/web in some out all",
		"shop/web -> shop/db all", "jobs/cron -> shop/web all",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestGraphIsWhatIsDecided compares the graph of random policies with what Evaluate says of many
// requests: what is all is never denied, and what is none never allowed.
func TestGraphIsWhatIsDecided(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	denied, allowed := 0, 0
	for round := range 200 {
		m := randomModel(t, r)
		to := m.Workloads
		g, err := graph(context.Background(), m, to)
		if err != nil {
			t.Fatal(err)
		}
		traffic := map[string]Traffic{}
		for _, n := range g.Nodes {
			for _, w := range m.Workloads {
				traffic[w.Key()+n.Name] = n.Anyone
			}
		}
		for _, e := range g.Edges {
			traffic[e.From+e.To] = e.Traffic
		}
		for _, from := range m.Workloads {
			for _, w := range to {
				if from == w {
					continue
				}
				for range 20 {
					ok := allows(r, from, w)
					switch said := traffic[from.Key()+w.Key()]; {
					case said == AllTraffic && !ok, said == NoTraffic && ok:
						t.Fatalf("round %d: %s -> %s is %s, and it is allowed: %v", round, from.Key(), w.Key(), said, ok)
					case said == AllTraffic:
						allowed++
					case said == NoTraffic:
						denied++
					}
				}
			}
		}
	}
	if allowed < 1000 || denied < 1000 {
		t.Errorf("%d were allowed and %d denied, which shows little", allowed, denied)
	}
}

// allows asks both ends about a random request.
func allows(r *rand.Rand, from, to *policy.Workload) bool {
	request := &policy.HTTPRequest{Method: []string{"GET", "POST"}[r.IntN(2)], Authority: "a.example", Path: []string{"/a", "/b"}[r.IntN(2)]}
	for _, l := range from.Listeners {
		if l.Direction == policy.Egress {
			d := l.Evaluate(&policy.Request{Source: from.Addresses[0], Destination: to.Addresses[0], Port: 8080, HTTP: request})
			if d.Verdict == policy.Denied {
				return false
			}
		}
	}
	for _, l := range to.Listeners {
		if l.Direction == policy.Ingress && l.Traffic == policy.HTTP {
			return l.Evaluate(&policy.Request{Source: from.Addresses[0], Destination: to.Addresses[0], HTTP: request}).Verdict == policy.Allowed
		}
	}
	return false
}

func randomModel(t *testing.T, r *rand.Rand) *policy.Model {
	t.Helper()
	var b strings.Builder
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	for i := range 4 {
		fmt.Fprintf(&b, "---\napiVersion: pavise.dev/v1alpha1\nkind: Workload\nmetadata: {name: w%d, namespace: n, labels: {app: w%d}}\n"+
			"spec:\n  addresses: [%s]\n  transparent: {}\n  inbound: [{name: http, port: %d, upstream: \"127.0.0.1:80\"}]\n",
			i, i, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 8080+i)
	}
	for i := range r.IntN(5) {
		kind, namespace, tier := "AccessPolicy", ", namespace: n", ""
		if r.IntN(2) == 0 {
			kind, namespace, tier = "ClusterAccessPolicy", "", "  tier: "+pick("Admin", "Baseline")+"\n"
		}
		fmt.Fprintf(&b, "---\napiVersion: pavise.dev/v1alpha1\nkind: %s\nmetadata: {name: p%d%s}\nspec:\n%s  selector: {matchLabels: {app: w%d}}\n",
			kind, i, namespace, tier, r.IntN(4))
		for _, d := range []string{"ingress", "egress"} {
			if r.IntN(2) == 0 {
				continue
			}
			fmt.Fprintf(&b, "  %s:\n", d)
			for j := range 1 + r.IntN(3) {
				action := pick("Allow", "Deny", "Pass")
				peer := ""
				if r.IntN(3) > 0 {
					peer = fmt.Sprintf(", %s: [{podSelector: {matchLabels: {app: w%d}}}]", map[string]string{"ingress": "from", "egress": "to"}[d], r.IntN(4))
					if kind == "ClusterAccessPolicy" {
						peer = strings.Replace(peer, "{podSelector", "{namespaceSelector: {}, podSelector", 1)
					}
				}
				http := pick("", ", http: [{methods: [GET]}]", ", http: [{paths: [{exact: /a}]}]")
				fmt.Fprintf(&b, "    - {name: r%d, action: %s%s%s}\n", j, action, peer, http)
			}
		}
	}
	set, problems := api.Parse("random.yaml", []byte(b.String()))
	if api.HasErrors(problems) {
		t.Fatalf("%v\n%s", problems, b.String())
	}
	m, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		t.Fatalf("%v\n%s", problems, b.String())
	}
	return m
}
