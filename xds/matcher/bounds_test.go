package matcher

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"pavise.dev/pavise/policy"
)

// program makes a program of one namespace policy.
func program(rules ...*policy.Rule) *policy.Program {
	p := &policy.Program{Direction: policy.Ingress, Rules: rules, Isolating: []policy.PolicyRef{{Namespace: "n", Name: "p"}}}
	for i, r := range rules {
		r.Tier, r.Policy = policy.Namespace, policy.PolicyRef{Namespace: "n", Name: "p"}
		r.Name = "r" + strconv.Itoa(i)
		if r.Action == "" {
			r.Action = policy.Allow
		}
	}
	return p
}

func prefixRule(path string) *policy.Rule {
	return &policy.Rule{Terms: []*policy.Term{{HTTP: &policy.HTTPTerm{Paths: []policy.PathPattern{{Kind: policy.PrefixPath, Text: path}}}}}}
}

func hostRule(host string) *policy.Rule {
	return &policy.Rule{Terms: []*policy.Term{{HTTP: &policy.HTTPTerm{Hosts: []policy.Domain{{Name: host}}}}}}
}

// TestTreesStayWithinBounds builds sets that are hard to split and looks at what came
// out: its size per rule, the longest list a request can meet, and how deep it nests.
func TestTreesStayWithinBounds(t *testing.T) {
	const n = 2000
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name string
		// longest list and bytes per rule that are accepted
		longest, perRule int
		rule             func(i int) *policy.Rule
	}{
		{"disjoint prefixes", 8, 600, func(i int) *policy.Rule { return prefixRule(fmt.Sprintf("/a%d/b", i)) }},
		{"nested prefixes", 64, 4000, func(i int) *policy.Rule { return prefixRule(strings.Repeat("/a", i%50) + fmt.Sprintf("/b%d", i/50)) }},
		{"hosts", 8, 600, func(i int) *policy.Rule { return hostRule(fmt.Sprintf("h%d.test", i)) }},
		{"paths and hosts in turn", 64, 12_000, func(i int) *policy.Rule {
			if i%2 == 0 {
				return prefixRule(fmt.Sprintf("/a%d", i))
			}
			return hostRule(fmt.Sprintf("h%d.test", i))
		}},
		{"paths and hosts at random", 64, 12_000, func(i int) *policy.Rule {
			if r.IntN(2) == 0 {
				return prefixRule(fmt.Sprintf("/a%d", r.IntN(n)))
			}
			return hostRule(fmt.Sprintf("h%d.test", r.IntN(n)))
		}},
		{"one path for all, apart by header only", n, 2000, func(i int) *policy.Rule { return prefixRule("/same") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := make([]*policy.Rule, n)
			for i := range rules {
				rules[i] = c.rule(i)
			}
			m, stats, err := HTTP(program(rules...), policy.Enforced, 80, policy.PathOptions{})
			if err != nil {
				t.Fatal(err)
			}
			size, depth := proto.Size(m)/n, nesting(m.ProtoReflect())
			t.Logf("%d bytes a rule, %d levels, %+v", size, depth, stats)
			if stats.Longest > c.longest {
				t.Errorf("a list of %d entries; at most %d were expected", stats.Longest, c.longest)
			}
			if size > c.perRule {
				t.Errorf("%d bytes a rule; at most %d were expected", size, c.perRule)
			}
			if depth > 90 {
				t.Errorf("%d levels; Envoy's parser refuses more than 100", depth)
			}
		})
	}
}

// nesting is the depth of a message; what is in an Any is parsed by itself.
func nesting(m protoreflect.Message) int {
	deepest := 0
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		each := func(x protoreflect.Value) { deepest = max(deepest, nesting(x.Message())) }
		switch {
		case fd.IsMap() && fd.MapValue().Kind() == protoreflect.MessageKind:
			v.Map().Range(func(_ protoreflect.MapKey, x protoreflect.Value) bool {
				deepest = max(deepest, 1+nesting(x.Message())) // the entry is a message too
				return true
			})
		case fd.IsList() && fd.Kind() == protoreflect.MessageKind:
			for i := range v.List().Len() {
				each(v.List().Get(i))
			}
		case !fd.IsMap() && !fd.IsList() && fd.Kind() == protoreflect.MessageKind:
			each(v)
		}
		return true
	})
	return deepest + 1
}

// TestPassGroupsAreBounded: each run of Pass rules nests the rest of the tier, so their
// number is bounded, with an error that names the rule.
func TestPassGroupsAreBounded(t *testing.T) {
	alternating := func(groups int) *policy.Program {
		var rules []*policy.Rule
		for i := range groups {
			pass := prefixRule(fmt.Sprintf("/pass%d", i))
			pass.Action = policy.Pass
			rules = append(rules, prefixRule(fmt.Sprintf("/allow%d", i)), pass)
		}
		return program(append(rules, prefixRule("/last"))...)
	}
	m, _, err := HTTP(alternating(maxPassGroups), policy.Enforced, 80, policy.PathOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d := nesting(m.ProtoReflect()); d > 90 {
		t.Errorf("%d levels", d)
	}
	_, _, err = HTTP(alternating(maxPassGroups+1), policy.Enforced, 80, policy.PathOptions{})
	if err == nil || !strings.Contains(err.Error(), `rule "r17" of policy "n/p"`) {
		t.Errorf("error %v", err)
	}
}

// TestPortsPattern compares the expression for a set of ranges with the ranges, over
// every port.
func TestPortsPattern(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rs []policy.PortRange
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			a, b := rapid.Uint16Min(1).Draw(t, "a"), rapid.Uint16Min(1).Draw(t, "b")
			rs = append(rs, policy.PortRange{First: min(a, b), Last: max(a, b)})
		}
		re := regexp.MustCompile("^(?:" + portsPattern(rs) + ")$")
		for p := 1; p <= 65535; p += 1 + rapid.IntRange(0, 40).Draw(t, "step") {
			want := false
			for _, r := range rs {
				want = want || r.Contains(uint16(p))
			}
			if re.MatchString(strconv.Itoa(p)) != want {
				t.Fatalf("port %d in %v: %v; expression %s", p, rs, !want, re)
			}
		}
		for _, r := range rs {
			for _, p := range []int{int(r.First), int(r.Last), int(r.First) - 1, int(r.Last) + 1} {
				want := false
				for _, q := range rs {
					want = want || int(q.First) <= p && p <= int(q.Last)
				}
				if re.MatchString(strconv.Itoa(p)) != want {
					t.Fatalf("edge %d of %v: %v; expression %s", p, rs, !want, re)
				}
			}
		}
	})
}

// TestSourcesShareBranches: five hundred pods that may ask for two hundred paths are one
// branch of two hundred, not five hundred of them.
func TestSourcesShareBranches(t *testing.T) {
	set := policy.NewAddrSet(func(yield func(netip.Prefix) bool) {
		for i := range 500 {
			if !yield(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 7), byte(i << 1)}), 32)) {
				return
			}
		}
	})
	var rules []*policy.Rule
	for i := range 200 {
		r := prefixRule(fmt.Sprintf("/p%d", i))
		r.Terms[0].Sources = set
		rules = append(rules, r)
	}
	m, stats, err := HTTP(program(rules...), policy.Enforced, 80, policy.PathOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if size := proto.Size(m); size > 150_000 {
		t.Errorf("%d bytes for 200 rules with one set of 500 addresses: %+v", size, stats)
	}
}
