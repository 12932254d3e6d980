package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// TestCodesAreDocumented: a code in the sources has a heading in docs/problems.md, and a
// code with a heading is reported somewhere, under its number or its name.
func TestCodesAreDocumented(t *testing.T) {
	documented := anchors(t, filepath.Join("docs", "problems.md"))
	names := map[string]string{} // of codes, by number
	literals := map[string]bool{}
	var reporting strings.Builder
	sources(t, func(name, text string) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, m := range regexp.MustCompile(`(\w+)\s*=\s*"(PAV\d{4})"`).FindAllStringSubmatch(text, -1) {
			names[m[2]] = m[1]
		}
		for _, m := range regexp.MustCompile(`"(PAV\d{4})"`).FindAllStringSubmatch(text, -1) {
			literals[m[1]] = true
		}
		base := filepath.Base(name)
		if !strings.HasPrefix(base, "codes") && !strings.HasPrefix(name, "internal/docsgen/") {
			reporting.WriteString(text)
		}
	})
	if len(literals) < 50 {
		t.Fatalf("%d codes were found; there were more", len(literals))
	}
	for code := range literals {
		if !documented[strings.ToLower(code)] {
			t.Errorf("%s is reported and not documented", code)
		}
	}
	for a := range documented {
		code := strings.ToUpper(a)
		if !strings.HasPrefix(code, "PAV") {
			continue
		}
		named := names[code] != "" && regexp.MustCompile(`\b`+names[code]+`\b`).MatchString(reporting.String())
		if !named && !strings.Contains(reporting.String(), `"`+code+`"`) {
			t.Errorf("%s is documented and reported nowhere", code)
		}
	}
}

// TestPolicyCodes has a folder for each code that is about what policies come to.
func TestPolicyCodes(t *testing.T) {
	const workload = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, labels: {app: a}}
spec:
  inbound: [{name: http, port: 8080, upstream: "127.0.0.1:1"}, {name: tcp, protocol: TCP, port: 8081, upstream: "127.0.0.1:1"}]
  outbound: [{port: 8082}]
---
`
	policyOf := func(spec string) string {
		return workload + "apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p}\nspec: " + spec + "\n"
	}
	passes := make([]string, 20)
	for i := range passes {
		passes[i] = fmt.Sprintf("{action: %s, http: [{paths: [{exact: /%d}]}]}", []string{"Allow", "Pass"}[i%2], i)
	}
	covered := map[string]bool{}
	for _, x := range []struct{ code, text string }{
		{"PAV0701", policyOf("{selector: {matchLabels: {app: b}}, ingress: []}")},
		{"PAV0703", policyOf("{ingress: [{action: Deny, ports: [{port: 53, protocol: UDP}]}]}")},
		{"PAV0704", policyOf("{egress: [{action: Deny, tls: {serverNames: [a.example]}}]}")},
		{"PAV0705", policyOf("{ingress: [{action: Deny, from: [{podSelector: {}}]}]}")},
		{"PAV0705", policyOf("{ingress: [{action: Deny, from: [{cidrs: [10.0.0.0/8], except: [10.0.0.0/8]}]}]}")},
		{"PAV0705", policyOf("{ingress: [{action: Deny, from: [{networkSets: [n]}]}]}") +
			"---\napiVersion: pavise.dev/v1alpha1\nkind: NetworkSet\nmetadata: {name: n}\nspec: {domains: [a.example]}\n"},
		{"PAV0706", policyOf("{ingress: [{action: Deny, from: [{podSelector: {matchLabels: {app: b}}}]}]}")},
		{"PAV0706", policyOf("{ingress: [{action: Deny, from: [{serviceAccounts: [nobody]}]}]}")},
		{"PAV0707", policyOf("{ingress: [{action: Deny, from: [{networkSets: [nowhere]}]}]}")},
		{"PAV0708", policyOf("{ingress: [{action: Allow}, {action: Deny, http: [{paths: [{exact: /a}]}]}]}")},
		{"PAV0709", policyOf("{ingress: [{action: Deny, http: [{paths: [{exact: /a}]}]}]}")},
		{"PAV0801", policyOf("{ingress: [" + strings.Join(passes, ", ") + "]}")},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		covered[x.code] = true
		out, exit := pavise(t, "check", dir)
		i := slices.IndexFunc(policy.Codes(), func(c api.CodeInfo) bool { return c.Code == x.code })
		severity := api.Error
		if i >= 0 {
			severity = policy.Codes()[i].Severity
		}
		if !strings.Contains(out, string(severity)+" "+x.code) || (exit == 1) != (severity == api.Error) {
			t.Errorf("want %s %s, got exit code %d and\n%s", severity, x.code, exit, out)
		}
	}
	for _, c := range policy.Codes() {
		if !covered[c.Code] && c.Code != policy.CodeBadSelector { // which the reader refuses first
			t.Errorf("%s has no example", c.Code)
		}
	}
}
