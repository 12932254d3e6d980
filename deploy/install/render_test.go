package install

import (
	"bytes"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var update = flag.Bool("update", false, "rewrite what is expected, and deploy/manifests")

// cases are the values that are kept as golden files; the first is deploy/manifests/pavise.yaml.
var cases = map[string]Options{
	"../../manifests/pavise": {Values: map[string]any{"createNamespace": true}},
	"canary":                 {Revision: "canary", Values: map[string]any{"crds": map[string]any{"install": false}}},
	"cert-manager":           {Values: map[string]any{"certManager": map[string]any{"enabled": true}, "crds": map[string]any{"install": false}}},
	"everything": {Values: map[string]any{
		"crds": map[string]any{"install": false}, "webhook": map[string]any{"failurePolicy": "Ignore"}, "networkPolicies": true,
		"clusterNetworkPolicies": true, "autoscaling": map[string]any{"enabled": true}, "injector": map[string]any{"logLevel": "debug"},
		"monitoring": map[string]any{"serviceMonitor": true, "prometheusRule": true, "dashboard": true, "labels": map[string]any{"release": "prometheus"}},
		"image":      map[string]any{"pullSecrets": []any{map[string]any{"name": "pull"}}},
		"controlPlane": map[string]any{
			"nodeSelector": map[string]any{"kubernetes.io/os": "linux"}, "tolerations": []any{map[string]any{"operator": "Exists"}}, "priorityClassName": "system-cluster-critical",
		},
	}},
}

func render(t *testing.T, o Options) []*unstructured.Unstructured {
	t.Helper()
	objects, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// TestGolden: a change of the chart that nobody meant, and manifests that were not rendered anew.
func TestGolden(t *testing.T) {
	for name, o := range cases {
		got, err := YAML(render(t, o))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the chart gives; after a look at the difference: go test ./deploy/install -update", file)
		}
	}
}

// TestValuesAreChecked: a slip in a value that is passed over in silence.
func TestValuesAreChecked(t *testing.T) {
	for set, want := range map[string]string{
		"webhook.failurePolicy=Open":   "Fail, Ignore",
		"webhook.failurPolicy=Fail":    "there is no such value",
		"webhook.timeoutSeconds=31":    "from 1 to 30",
		"webhook.timeoutSeconds=x":     "integer",
		"controlPlane=2":               "object",
		"revision=Canary":              "does not match",
		"networkPolicy.enabled=yes":    "boolean",
		"image.digest=sha256:1":        "does not match",
		"controlPlane.replicas=0":      "from 1",
		"image.pullSecrets={}":         "array",
		"controlPlane.nodeSelector=[]": "object",
	} {
		values, err := ParseSet([]string{set})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Render(Options{Values: values}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", set, err, want)
		}
	}
	for _, bad := range []string{"x", "=x", "a..b=1", "a={"} {
		if _, err := ParseSet([]string{bad}); err == nil {
			t.Errorf("--set %q was taken", bad)
		}
	}
}

func maps1(v any) (out []map[string]any) {
	list, _ := v.([]any)
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func at(o map[string]any, path ...string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(o, path...)
	return v
}

// TestPodsAreRestricted: a container that Pod Security "restricted" refuses, or without bounds.
func TestPodsAreRestricted(t *testing.T) {
	seen := 0
	for name, o := range cases {
		for _, obj := range render(t, o) {
			spec, _ := at(obj.Object, "spec", "template", "spec").(map[string]any)
			for _, c := range append(maps1(spec["containers"]), maps1(spec["initContainers"])...) {
				seen++
				for _, ok := range []bool{
					at(c, "securityContext", "runAsNonRoot") == true, at(c, "securityContext", "readOnlyRootFilesystem") == true,
					at(c, "securityContext", "allowPrivilegeEscalation") == false, at(c, "securityContext", "seccompProfile", "type") == "RuntimeDefault",
					at(c, "resources", "limits", "memory") != nil, at(c, "resources", "requests", "cpu") != nil,
					at(c, "livenessProbe") != nil, at(c, "readinessProbe") != nil,
				} {
					if !ok {
						t.Errorf("%s: %s %s: container %v is not bounded as it must be: %v", name, obj.GetKind(), obj.GetName(), c["name"], c["securityContext"])
					}
				}
				if drop, _ := at(c, "securityContext", "capabilities", "drop").([]any); !slices.Contains(drop, any("ALL")) {
					t.Errorf("%s: container %v keeps capabilities", name, c["name"])
				}
			}
		}
	}
	if seen < len(cases) {
		t.Errorf("%d containers were looked at", seen)
	}
}

// TestLeastPrivilege: rights by wildcard, over every Secret, or to change policies.
func TestLeastPrivilege(t *testing.T) {
	has := func(rule map[string]any, field string, any1 ...string) bool {
		list, _ := rule[field].([]any)
		return slices.ContainsFunc(list, func(v any) bool { s, _ := v.(string); return slices.Contains(any1, s) })
	}
	for name, o := range cases {
		for _, obj := range render(t, o) {
			for _, rule := range maps1(obj.Object["rules"]) {
				where := name + ": " + obj.GetKind()
				if has(rule, "verbs", "*", "escalate", "bind", "impersonate") || has(rule, "resources", "*") || has(rule, "apiGroups", "*") {
					t.Errorf("%s has %v", where, rule)
				}
				if obj.GetKind() == "ClusterRole" && has(rule, "resources", "secrets") {
					t.Errorf("%s reads Secrets everywhere", where)
				}
				writes := has(rule, "verbs", "update", "patch", "delete", "deletecollection")
				if obj.GetKind() == "ClusterRole" && writes && rule["resourceNames"] == nil && !has(rule, "resources", "accesspolicies/status") {
					t.Errorf("%s changes objects of any name: %v", where, rule)
				}
				if has(rule, "resources", "secrets") && has(rule, "verbs", "list", "watch", "update", "patch") && rule["resourceNames"] == nil {
					t.Errorf("%s: %v", where, rule)
				}
			}
		}
	}
}

// TestWebhooksSpareTheCluster: the hostile case of a webhook that matches kube-system or its own
// namespace, that waits for ever, or that a pod's labels turn off.
func TestWebhooksSpareTheCluster(t *testing.T) {
	hooks := 0
	for name, o := range cases {
		for _, obj := range render(t, o) {
			if !strings.HasSuffix(obj.GetKind(), "WebhookConfiguration") {
				continue
			}
			for _, h := range maps1(obj.Object["webhooks"]) {
				hooks++
				if n, ok := h["timeoutSeconds"].(int64); !ok || n > 10 {
					t.Errorf("%s: %v waits %v s", name, h["name"], h["timeoutSeconds"])
				}
				if h["sideEffects"] != "None" || h["objectSelector"] != nil || h["matchPolicy"] != "Equivalent" {
					t.Errorf("%s: %v: %v", name, h["name"], h)
				}
				spared := false
				for _, e := range maps1(at(h, "namespaceSelector", "matchExpressions")) {
					list, _ := e["values"].([]any)
					spared = spared || e["key"] == "kubernetes.io/metadata.name" && e["operator"] == "NotIn" &&
						slices.Contains(list, any("kube-system")) && slices.Contains(list, any("kube-node-lease")) && slices.Contains(list, any(DefaultNamespace))
				}
				if !spared {
					t.Errorf("%s: %v does not spare kube-system and its own namespace", name, h["name"])
				}
			}
		}
	}
	if hooks < 2*len(cases) {
		t.Errorf("%d webhooks", hooks)
	}
}

// TestRevisionsShareNoName: a canary that takes over the objects of the revision in use.
func TestRevisionsShareNoName(t *testing.T) {
	names := map[string]bool{}
	for _, o := range render(t, Options{Values: map[string]any{"crds": map[string]any{"install": false}}}) {
		names[o.GetKind()+"/"+o.GetName()] = true
	}
	for _, o := range render(t, cases["canary"]) {
		if names[o.GetKind()+"/"+o.GetName()] {
			t.Errorf("%s %s is of both revisions", o.GetKind(), o.GetName())
		}
		if o.GetLabels()[revisionLabel] != "canary" {
			t.Errorf("%s %s does not carry the revision, and would not be uninstalled", o.GetKind(), o.GetName())
		}
	}
}

// TestUninstallKnowsEveryKind: a kind that the chart makes and uninstall leaves.
func TestUninstallKnowsEveryKind(t *testing.T) {
	known := map[string]bool{"namespace": true, "customresourcedefinition": true}
	for _, r := range removed {
		singular := strings.TrimSuffix(r.Resource, "s")
		if strings.HasSuffix(r.Resource, "ies") {
			singular = strings.TrimSuffix(r.Resource, "ies") + "y"
		}
		known[singular] = true
	}
	for name, o := range cases {
		for _, obj := range render(t, o) {
			if !known[strings.ToLower(obj.GetKind())] {
				t.Errorf("%s: uninstall does not know %s", name, obj.GetKind())
			}
		}
	}
}

// TestMetricsExist: an alert or a panel on a metric that nobody exports, which never fires.
func TestMetricsExist(t *testing.T) {
	var code strings.Builder
	for _, dir := range []string{"cmd", "proxy", "xds", "internal"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(name string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				var b []byte
				b, err = os.ReadFile(name)
				code.Write(b)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("../grafana/pavise.json")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("../chart/templates/monitoring.yaml")
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]bool{}
	for _, m := range regexp.MustCompile(`\bpavise_([a-z0-9_]+)\b`).FindAllStringSubmatch(string(text)+string(rules), -1) {
		metrics[m[1]] = true
	}
	for _, m := range slices.Sorted(maps.Keys(metrics)) {
		if !strings.Contains(code.String(), `metric("`+m+`"`) && !strings.Contains(code.String(), `"pavise_`+m+`"`) {
			t.Errorf("no code exports pavise_%s", m)
		}
	}
	if len(metrics) < 5 {
		t.Errorf("found %d metrics", len(metrics))
	}
}
