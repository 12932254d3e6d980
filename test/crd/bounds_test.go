package crd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pavise.dev/pavise/api"
)

// verdicts says what check and the schema make of a text.
func verdicts(t *testing.T, kinds map[string]*resource, doc string) (check, schema error) {
	t.Helper()
	object, err := wholeNumbers([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	_, problems := api.Parse("f.yaml", []byte(doc))
	if api.HasErrors(problems) {
		check = fmt.Errorf("%v", problems[0])
	}
	u := &unstructured.Unstructured{Object: object}
	if errs := kinds[u.GetKind()].admit(u); len(errs) > 0 {
		schema = errs[0]
	}
	return check, schema
}

// TestBounds: the longest list and text that check takes the schema takes too, and both refuse one
// more.
func TestBounds(t *testing.T) {
	kinds := load(t)
	policy := func(spec string) string {
		return "apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\nspec: " + spec
	}
	feed := func(spec string) string {
		return strings.Replace(policy("{url: \"https://a.example.com\", "+spec+"}"), "AccessPolicy", "ThreatFeed", 1)
	}
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			if strings.Contains(format, "%") {
				fmt.Fprintf(&b, format+", ", i)
			} else {
				b.WriteString(format + ", ")
			}
		}
		return "[" + b.String() + "]"
	}
	address := func(n int) string { return list(n, "192.0.2.1") }
	cases := []struct {
		name string
		most int
		doc  func(n int) string
	}{
		{"rule name", 63, func(n int) string {
			return policy("{egress: [{name: " + strings.Repeat("a", n) + ", action: Deny}]}")
		}},
		{"from", 1024, func(n int) string {
			return policy("{ingress: [{action: Deny, from: " + list(n, "{podSelector: {}}") + "}]}")
		}},
		{"to", 1024, func(n int) string {
			return policy("{egress: [{action: Deny, to: " + list(n, "{podSelector: {}}") + "}]}")
		}},
		{"peer cidrs", 4096, func(n int) string { return policy("{egress: [{action: Deny, to: [{cidrs: " + address(n) + "}]}]}") }},
		{"peer except", 4096, func(n int) string {
			return policy("{egress: [{action: Deny, to: [{cidrs: [0.0.0.0/0], except: " + address(n) + "}]}]}")
		}},
		{"peer accounts", 4096, func(n int) string {
			return policy("{egress: [{action: Deny, to: [{serviceAccounts: " + list(n, "a%d") + "}]}]}")
		}},
		{"peer sets", 4096, func(n int) string {
			return policy("{egress: [{action: Deny, to: [{networkSets: " + list(n, "a%d") + "}]}]}")
		}},
		{"peer domains", 4096, func(n int) string {
			return policy("{egress: [{action: Deny, to: [{domains: " + list(n, "a%d.example.com") + "}]}]}")
		}},
		{"ports", 256, func(n int) string { return policy("{egress: [{action: Deny, ports: " + list(n, "{port: 1%d}") + "}]}") }},
		{"http", 1024, func(n int) string {
			return policy("{egress: [{action: Deny, http: " + list(n, "{methods: [GET]}") + "}]}")
		}},
		{"path", 8192, func(n int) string {
			return policy("{egress: [{action: Deny, http: [{paths: [{exact: /" + strings.Repeat("a", n-1) + "}]}]}]}")
		}},
		{"template", 8192, func(n int) string {
			return policy("{egress: [{action: Deny, http: [{paths: [{template: \"/{x}/" + strings.Repeat("a", n-5) + "\"}]}]}]}")
		}},
		{"value", 8192, func(n int) string {
			return policy("{egress: [{action: Deny, http: [{headers: [{name: a, exact: " + strings.Repeat("a", n) + "}]}]}]}")
		}},
		{"regex", 1024, func(n int) string {
			return policy("{egress: [{action: Deny, http: [{query: [{name: a, regex: " + strings.Repeat("a", n) + "}]}]}]}")
		}},
		{"udp", 256, func(n int) string {
			return policy("{egress: [{action: Deny, http: [{}], ports: " + list(n, "{port: 1%d, protocol: UDP}") + "}]}")
		}},
		{"feed headers", 16, func(n int) string { return feed("headers: " + list(n, "{name: a%d, value: b}")) }},
		{"feed except", 4096, func(n int) string { return feed("except: {cidrs: " + address(n) + "}") }},
		{"feed disabled", 64, func(n int) string { return feed("guards: {disabled: " + list(n, "shrink") + "}") }},
		{"feed protected", 1024, func(n int) string { return feed("guards: {protected: " + list(n, "a%d.example.com") + "}") }},
		{"feed growth", 1_000_000, func(n int) string { return feed(fmt.Sprintf("guards: {maxGrowth: %d}", n)) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if check, schema := verdicts(t, kinds, c.doc(c.most)); check != nil || schema != nil {
				t.Errorf("%d: check says %v, the schema %v", c.most, check, schema)
			}
			if check, schema := verdicts(t, kinds, c.doc(c.most+1)); check == nil || schema == nil {
				t.Errorf("%d: check says %v, the schema %v; both are to refuse it", c.most+1, check, schema)
			}
		})
	}
}

// TestSetBounds is TestBounds for the longest lists there are: the schema is asked for its number,
// since it takes seconds to validate them.
func TestSetBounds(t *testing.T) {
	const most = 100_000
	lists := load(t)[api.KindNetworkSet].structural.Properties["spec"].Properties
	for field, value := range map[string]string{"cidrs": "192.0.2.1", "except": "192.0.2.1", "domains": "a.example.com"} {
		if v := lists[field].ValueValidation; v == nil || v.MaxItems == nil || *v.MaxItems != most {
			t.Errorf("the schema does not bound %s to %d", field, most)
		}
		for _, n := range []int{most, most + 1} {
			texts := slices.Repeat([]string{value}, n)
			set := &api.NetworkSet{}
			set.Name = "a"
			switch field {
			case "cidrs":
				set.Spec.CIDRs = texts
			case "except":
				set.Spec.CIDRs, set.Spec.Except = []string{"192.0.2.0/24"}, texts
			default:
				set.Spec.Domains = texts
			}
			if refused := api.HasErrors(api.Validate(set)); refused != (n > most) {
				t.Errorf("%d %s: check refuses them: %v", n, field, refused)
			}
		}
	}
}

// TestGuards: the schema names the guards that may be switched off, and a new one is not forgotten.
func TestGuards(t *testing.T) {
	kinds := load(t)
	for _, g := range api.Guards() {
		doc := "apiVersion: pavise.dev/v1alpha1\nkind: ThreatFeed\nmetadata: {name: a}\nspec: {url: \"https://a.example.com\", guards: {disabled: [" + g.Name + "]}}"
		if check, schema := verdicts(t, kinds, doc); (check == nil) != (schema == nil) || (check == nil) == g.Fixed {
			t.Errorf("disabled: [%s]: check says %v, the schema %v", g.Name, check, schema)
		}
	}
}

// TestRulesOfAnObject: an API server reckons with the longest list when it estimates what a rule of
// the schema costs, and would not take a schema without this bound. Files have none.
func TestRulesOfAnObject(t *testing.T) {
	kinds := load(t)
	for _, direction := range []string{"ingress", "egress"} {
		for _, n := range []int{512, 513} {
			doc := "apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\nspec: {" + direction + ": [" +
				strings.Repeat("{action: Deny}, ", n) + "]}"
			check, schema := verdicts(t, kinds, doc)
			if check != nil || (schema == nil) != (n == 512) {
				t.Errorf("%d rules of %s: check %v, schema %v", n, direction, check, schema)
			}
		}
	}
}
