package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// ruleSet is a policy and requests for it.
type ruleSet struct {
	name string
	// rules of one policy; paths to ask for, as METHOD, HOST and PATH, chosen at random.
	rules    []api.IngressRule
	requests []request
}

type request struct{ method, host, path string }

// perSet is how many different requests a set is asked with.
const perSet = 20_000

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// urls are disjoint prefixes, a tenth of the requests matching none.
func urls(n int) ruleSet {
	return urlSet("urls", n, "/item", func(path string) api.PathMatch { return api.PathMatch{Prefix: path} })
}

// exactURLs are whole paths, likewise.
func exactURLs(n int) ruleSet {
	return urlSet("exact", n, "", func(path string) api.PathMatch { return api.PathMatch{Exact: path} })
}

func urlSet(name string, n int, below string, match func(path string) api.PathMatch) ruleSet {
	r := random()
	s := ruleSet{name: fmt.Sprintf("%s-%d", name, n)}
	for i := range n {
		s.rules = append(s.rules, rule(i, api.HTTPMatch{Methods: []string{"GET"}, Paths: []api.PathMatch{match(urlPath(i))}}))
	}
	for range perSet {
		i := r.IntN(n)
		if r.IntN(10) == 0 {
			i = n + r.IntN(n)
		}
		s.requests = append(s.requests, request{"GET", "shop.example", urlPath(i) + below + "?id=7"})
	}
	return s
}

func urlPath(i int) string { return fmt.Sprintf("/team-%d/service-%d/v1/resource-%d", i%97, i%1009, i) }

// overlapping prefixes: three levels, each longer one decided by another rule than the
// shorter, with the shorter ones first in a third of the cases.
func overlapping(n int) ruleSet {
	r := random()
	s := ruleSet{name: fmt.Sprintf("overlapping-%d", n)}
	for i := 0; len(s.rules) < n; i++ {
		base := fmt.Sprintf("/tenant-%d", i)
		three := []api.HTTPMatch{
			{Paths: []api.PathMatch{{Prefix: base + "/api/admin"}}, Methods: []string{"POST"}},
			{Paths: []api.PathMatch{{Prefix: base + "/api"}}},
			{Paths: []api.PathMatch{{Prefix: base}}, Methods: []string{"GET"}},
		}
		if i%3 == 0 {
			three[0], three[2] = three[2], three[0]
		}
		for _, m := range three {
			s.rules = append(s.rules, rule(len(s.rules), m))
		}
	}
	tails := []string{"", "/api/x", "/api/admin/users", "/x/y"}
	for range perSet {
		s.requests = append(s.requests, request{[]string{"GET", "POST"}[r.IntN(2)], "shop.example", fmt.Sprintf("/tenant-%d%s", r.IntN(n/3), tails[r.IntN(len(tails))])})
	}
	return s
}

// pathless rules ask for a host and a method; every tenth for a header too.
func pathless(n int) ruleSet {
	r := random()
	s := ruleSet{name: fmt.Sprintf("pathless-%d", n)}
	for i := range n {
		m := api.HTTPMatch{Hosts: []string{fmt.Sprintf("h%d.shop.example", i)}, Methods: []string{"GET", "HEAD"}}
		if i%10 == 0 {
			m.Headers = []api.ValueMatch{{Name: "x-role", Exact: "buyer"}}
		}
		s.rules = append(s.rules, rule(i, m))
	}
	for range perSet {
		s.requests = append(s.requests, request{"GET", fmt.Sprintf("h%d.shop.example", r.IntN(n*11/10)), "/x"})
	}
	return s
}

// sources gives each rule a set of ten networks of its own and a path shared by many.
func sources(n int) ruleSet {
	r := random()
	s := ruleSet{name: fmt.Sprintf("sources-%d", n)}
	for i := range n {
		ru := rule(i, api.HTTPMatch{Paths: []api.PathMatch{{Prefix: fmt.Sprintf("/api-%d", i%50)}}})
		var cidrs []string
		for j := range 10 {
			k := i*10 + j
			cidrs = append(cidrs, netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}).String())
		}
		if i%20 == 0 {
			cidrs = append(cidrs, "127.0.0.0/8")
		}
		ru.From = []api.Peer{{CIDRs: cidrs}}
		s.rules = append(s.rules, ru)
	}
	for range perSet {
		s.requests = append(s.requests, request{"GET", "shop.example", fmt.Sprintf("/api-%d/x", r.IntN(60))})
	}
	return s
}

// expressions are templates and regexes below common prefixes, mixed with exact paths.
func expressions(n int) ruleSet {
	r := random()
	s := ruleSet{name: fmt.Sprintf("expressions-%d", n)}
	for i := range n {
		var p api.PathMatch
		switch i % 4 {
		case 0:
			p.Template = fmt.Sprintf("/users/{id}/documents-%d", i)
		case 1:
			p.Regex = fmt.Sprintf(`/reports/[0-9]{4}/kind-%d(/.*)?`, i)
		case 2:
			p.Template = fmt.Sprintf("/team-%d/{x}/items/{y}", i)
		default:
			p.Exact = fmt.Sprintf("/static/file-%d", i)
		}
		s.rules = append(s.rules, rule(i, api.HTTPMatch{Paths: []api.PathMatch{p}}))
	}
	for range perSet {
		i := r.IntN(n)
		path := []string{
			fmt.Sprintf("/users/ann/documents-%d", i), fmt.Sprintf("/reports/2026/kind-%d/x", i),
			fmt.Sprintf("/team-%d/x/items/y", i), fmt.Sprintf("/static/file-%d", i),
		}[i%4]
		s.requests = append(s.requests, request{"GET", "shop.example", path})
	}
	return s
}

// mixed interleaves rules of several kinds, so that no one field tells them apart.
func mixed(n int) ruleSet {
	s := ruleSet{name: fmt.Sprintf("mixed-%d", n)}
	parts := []ruleSet{urls(n / 4), pathless(n / 4), sources(n / 4), overlapping(n / 4)}
	for i := range n / 4 {
		for _, p := range parts {
			ru := p.rules[i]
			ru.Name = fmt.Sprintf("r%d", len(s.rules))
			s.rules = append(s.rules, ru)
		}
	}
	for i := range perSet {
		s.requests = append(s.requests, parts[i%4].requests[i])
	}
	return s
}

func rule(i int, m api.HTTPMatch) api.IngressRule {
	return api.IngressRule{Name: fmt.Sprintf("r%d", i), Action: api.ActionAllow, RuleMatch: api.RuleMatch{HTTP: []api.HTTPMatch{m}}}
}

// objects puts a set into one policy of a workload with a listener at a port.
func (s *ruleSet) objects(port int32) []api.Object {
	return []api.Object{
		&api.Workload{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "bench"}, Spec: api.WorkloadSpec{
			Inbound: []api.Inbound{{Name: "http", Port: port, Upstream: "127.0.0.1:1"}},
		}},
		&api.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "bench"}, Spec: api.AccessPolicySpec{Ingress: s.rules}},
	}
}

// script is a wrk script that sends the requests at random.
func (s *ruleSet) script() string {
	var b strings.Builder
	b.WriteString("local requests = {\n")
	for _, r := range s.requests {
		fmt.Fprintf(&b, "%q,\n", fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", r.method, r.path, r.host))
	}
	b.WriteString("}\nlocal random, n = math.random, #requests\nfunction request() return requests[random(n)] end\n")
	return b.String()
}
