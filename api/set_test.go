package api

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPosition(t *testing.T) {
	const text = `# a comment
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata:
  name: web
  labels:
    example.com/a: b
spec:
  ingress:
  - name: a
    action: Allow
    http:
    - methods:
      - GET
      - POST
      paths: [{exact: /a}]
    - methods: [GET]
      paths:
      -
        regex: /b
---
apiVersion: v1
kind: List
items:
- apiVersion: pavise.dev/v1alpha1
  kind: NetworkSet
  metadata: {name: a, namespace: n}
- apiVersion: pavise.dev/v1alpha1
  kind: NetworkSet
  metadata:
    name: b
    namespace: n
  spec:
    cidrs:
    - 10.0.0.0/8
`
	for _, ends := range []string{"\n", "\r\n"} {
		data := "\ufeff" + strings.ReplaceAll(text, "\n", ends)
		s, problems := Parse("x.yaml", []byte(data))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, c := range []struct {
			kind, namespace, name, field string
			line                         int
		}{
			{KindAccessPolicy, "default", "web", "", 3},
			{KindAccessPolicy, "default", "web", "metadata.name", 6},
			{KindAccessPolicy, "default", "web", "metadata.labels[example.com/a]", 8},
			{KindAccessPolicy, "default", "web", "spec", 9},
			{KindAccessPolicy, "default", "web", "spec.ingress", 10},
			{KindAccessPolicy, "default", "web", "spec.ingress[0]", 11},
			{KindAccessPolicy, "default", "web", "spec.ingress[0].name", 11},
			{KindAccessPolicy, "default", "web", "spec.ingress[0].http[0].methods[1]", 16},
			{KindAccessPolicy, "default", "web", "spec.ingress[0].http[0].paths[0].exact", 17},
			{KindAccessPolicy, "default", "web", "spec.ingress[0].http[1].paths[0].regex", 21},
			// What is not there is where it would be.
			{KindAccessPolicy, "default", "web", "spec.ingress[0].http[1].hosts[3]", 18},
			{KindAccessPolicy, "default", "web", "spec.ingress[0].from[0].cidrs", 11},
			{KindAccessPolicy, "default", "web", "spec.ingress[7].name", 10},
			{KindAccessPolicy, "default", "web", "spec.egress", 9},
			{KindAccessPolicy, "default", "web", "]spec[[..", 3},
			{KindNetworkSet, "n", "a", "", 26},
			{KindNetworkSet, "n", "b", "", 29},
			{KindNetworkSet, "n", "b", "metadata.namespace", 33},
			{KindNetworkSet, "n", "b", "spec.cidrs[0]", 36},
		} {
			if file, line := s.Position(c.kind, c.namespace, c.name, c.field); file != "x.yaml" || line != c.line {
				t.Errorf("%s of %s %s is at %s:%d, want line %d", c.field, c.kind, c.name, file, line, c.line)
			}
		}
		if file, line := s.Position(KindNetworkSet, "n", "c", ""); file != "" || line != 0 {
			t.Errorf("an unknown object is at %s:%d", file, line)
		}
	}
}

// TestPositionOfProblems asks for the place of each problem of the bad files that
// validation found, which has to be the one reported.
func TestPositionOfProblems(t *testing.T) {
	for _, name := range inputs(t, "bad") {
		data, err := os.ReadFile(filepath.Join("testdata/bad", name))
		if err != nil {
			t.Fatal(err)
		}
		s, problems := Parse(name, data)
		for _, p := range problems {
			kind, rest, ok := strings.Cut(p.Object, " ")
			namespace, object, slash := strings.Cut(rest, "/")
			if !slash {
				namespace, object = "", rest
			}
			if !ok || p.Code < "PAV0100" || p.Code == CodeDuplicateObject || strings.HasPrefix(p.Object, `"`) {
				continue
			}
			if _, line := s.Position(kind, namespace, object, p.Field); line != p.Line {
				t.Errorf("%s: Position says line %d", p, line)
			}
		}
	}
}

func TestNewSet(t *testing.T) {
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	s, problems := NewSet(
		&Workload{ObjectMeta: meta("b", "x"), Spec: WorkloadSpec{Addresses: []string{"10.0.0.1"}}},
		&Workload{ObjectMeta: meta("a", "y"), Spec: WorkloadSpec{Addresses: []string{"10.0.0.1"}}},
		&Workload{ObjectMeta: meta("a", "x")},
		&Workload{ObjectMeta: meta("a", "x")},
		&Namespace{ObjectMeta: meta("", "a")},
		&NetworkSet{ObjectMeta: meta("a", "n")},
		&AccessPolicy{ObjectMeta: meta("a", "p"), Spec: AccessPolicySpec{Ingress: []IngressRule{{}}}},
		&ClusterAccessPolicy{ObjectMeta: meta("", "p"), Spec: ClusterAccessPolicySpec{Tier: "x", AccessPolicySpec: AccessPolicySpec{Egress: []EgressRule{}}}},
	)
	const want = `error PAV0104: Workload a/x: the object is already given; remove or rename one of them
error PAV0105: AccessPolicy a/p: spec.ingress[0].action: action is required; write one of Allow, Deny, Pass
error PAV0106: ClusterAccessPolicy p: spec.tier: "x" is not a known value; write one of Admin, Baseline
error PAV0609: Workload b/x: spec.addresses[0]: 10.0.0.1 is also an address of Workload a/y: policies could not tell the two apart
`
	if lines(problems) != want {
		t.Errorf("got\n%s", lines(problems))
	}
	var order []string
	for _, w := range s.Workloads {
		order = append(order, w.Namespace+"/"+w.Name)
	}
	if got := strings.Join(order, " "); got != "a/x a/y b/x" {
		t.Errorf("order %s", got)
	}
	if file, line := s.Position(KindWorkload, "a", "x", "spec"); file != "" || line != 0 {
		t.Errorf("an object without a file is at %s:%d", file, line)
	}
}
