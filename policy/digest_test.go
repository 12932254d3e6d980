package policy

import (
	"slices"
	"testing"

	"pavise.dev/pavise/api"
)

func digestOf(t *testing.T, text string) string {
	t.Helper()
	set, problems := api.Parse("t.yaml", []byte(text))
	m, more := Compile(set)
	if all := slices.Concat(problems, more); api.HasErrors(all) {
		t.Fatal(all)
	}
	return m.Digest
}

const digestWorkload = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: w, namespace: n}
spec: {addresses: [10.0.0.1], inbound: [{port: 80, upstream: "127.0.0.1:1"}]}
---
`

// TestDigestIsOfTheMeaning: what means the same has one digest, whatever the order and
// the spelling; what means something else has another.
func TestDigestIsOfTheMeaning(t *testing.T) {
	base := digestOf(t, digestWorkload+`
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: n}
spec:
  ingress: [{name: r, action: Allow, from: [{cidrs: [10.0.0.0/9, 10.128.0.0/9]}], http: [{methods: [GET, PUT], paths: [{prefix: /a/}]}]}]
`)
	for name, c := range map[string]struct {
		same bool
		rule string
	}{
		"two halves are the whole":  {true, `{name: r, action: Allow, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [GET, PUT], paths: [{prefix: /a/}]}]}`},
		"the order of methods":      {true, `{name: r, action: Allow, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [PUT, GET], paths: [{prefix: /a}]}]}`},
		"a slash at a prefix's end": {true, `{name: r, action: Allow, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [GET, PUT], paths: [{prefix: /a}]}]}`},
		"another action":            {false, `{name: r, action: Deny, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [GET, PUT], paths: [{prefix: /a}]}]}`},
		"another name":              {false, `{name: q, action: Allow, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [GET, PUT], paths: [{prefix: /a}]}]}`},
		"exact and prefix":          {false, `{name: r, action: Allow, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [GET, PUT], paths: [{exact: /a}]}]}`},
		"two alternatives for one":  {false, `{name: r, action: Allow, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [GET, PUT]}, {paths: [{prefix: /a}]}]}`},
		"an address more":           {false, `{name: r, action: Allow, from: [{cidrs: [10.0.0.0/8, 11.0.0.1]}], http: [{methods: [GET, PUT], paths: [{prefix: /a}]}]}`},
		"a header test more":        {false, `{name: r, action: Allow, from: [{cidrs: [10.0.0.0/8]}], http: [{methods: [GET, PUT], paths: [{prefix: /a}], headers: [{name: x}]}]}`},
	} {
		got := digestOf(t, digestWorkload+"apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p, namespace: n}\nspec:\n  ingress: ["+c.rule+"]\n")
		if (got == base) != c.same {
			t.Errorf("%s: same digest %v, want %v", name, got == base, c.same)
		}
	}
}
