package crd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/test/cluster"
)

// TestOnAnAPIServer applies the resources to a real API server, and the files that users write to
// those.
func TestOnAnAPIServer(t *testing.T) {
	if err := cluster.Available(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	c, err := cluster.Control(ctx, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	run := func(args ...string) string {
		t.Helper()
		out, err := c.Kubectl(ctx, args...)
		if err != nil {
			t.Errorf("%v", err)
		}
		return out
	}
	run("apply", "--server-side", "-f", folder)
	run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	conditions := run("get", "crd", "-o", `jsonpath={range .items[*]}{.metadata.name}{range .status.conditions[*]} {.type}={.status}{end}{"\n"}{end}`)
	if strings.Count(conditions, "Established=True") != 4 || strings.Contains(conditions, "NonStructural") || strings.Contains(conditions, "=False") {
		t.Errorf("the resources are not in order:\n%s", conditions)
	}

	t.Run("files", func(t *testing.T) { applyFiles(ctx, t, c) })
	t.Run("defaults", func(t *testing.T) {
		apply(ctx, t, c, policy("plain", "{ingress: [{action: Allow, ports: [{port: 80}]}]}"), "")
		got := run("get", "accesspolicy", "plain", "-o", "jsonpath={.spec.order} {.spec.mode} {.spec.ingress[0].ports[0].protocol}")
		if got != "1000 Enforce TCP" {
			t.Errorf("the defaults are %q", got)
		}
		apply(ctx, t, c, "apiVersion: pavise.dev/v1alpha1\nkind: ThreatFeed\nmetadata: {name: plain}\nspec: {url: \"https://a.example.com\"}", "")
		if got := run("get", "tf", "plain", "-o", "jsonpath={.spec.action} {.spec.content} {.spec.direction} {.spec.format} {.spec.subdomains} {.spec.urls}"); got != "Deny Mixed Both Auto Auto Refuse" {
			t.Errorf("the defaults are %q", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, r := range []struct{ spec, want string }{
			{"{ingress: [{action: Allow, ports: [{port: 80, endPort: 79}]}]}", "endPort is below port"},
			{"{ingress: [{action: Allow, from: [{cidrs: [10.0.0.0/8], podSelector: {}}]}]}", "exactly one of"},
			{"{ingress: [{action: Allow, from: [{except: [10.0.0.0/8], podSelector: {}}]}]}", "except takes ranges out of cidrs"},
			{"{ingress: [{action: Allow, http: [{paths: [{exact: /a, prefix: /b}]}]}]}", "at most 1"},
			{"{ingress: [{action: Allow, http: [{methds: [GET]}]}]}", "unknown field"},
			{"{egress: [{action: Block}]}", "Unsupported value"},
		} {
			apply(ctx, t, c, policy("refused", r.spec), r.want)
		}
	})
	t.Run("tier", func(t *testing.T) {
		cluster := "apiVersion: pavise.dev/v1alpha1\nkind: ClusterAccessPolicy\nmetadata: {name: tier}\nspec: {tier: %s, ingress: []}"
		apply(ctx, t, c, fmt.Sprintf(cluster, "Admin"), "")
		apply(ctx, t, c, fmt.Sprintf(cluster, "Baseline"), "the tier of a policy does not change")
	})
	t.Run("kubectl", func(t *testing.T) {
		for path, want := range map[string]string{
			"accesspolicy.spec.ingress":                    "Ingress rules apply to what comes in",
			"clusteraccesspolicy.spec.tier":                "Tier is Admin or Baseline",
			"networkset.spec.cidrs":                        "address ranges or single addresses",
			"threatfeed.spec.guards.maxShrink":             "percentage of entries",
			"accesspolicy.spec.ingress.http.headers.exact": "the whole value",
			"threatfeed.status.conditions":                 "Accepted, Fetched and InForce",
		} {
			if got := run("explain", path); !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
				t.Errorf("kubectl explain %s says\n%s", path, got)
			}
		}
		for args, want := range map[string]string{
			"get ap plain": "MODE", "get cap": "TIER", "get nset -A": "ACCEPTED", "get tf": "DATA AGE", "get pavise -A": "threatfeed.pavise.dev/plain",
		} {
			if got := run(strings.Fields(args)...); !strings.Contains(got, want) {
				t.Errorf("kubectl %s has no %s:\n%s", args, want, got)
			}
		}
		run("patch", "ap", "plain", "--subresource=status", "--type=merge", "-p",
			`{"status":{"observedGeneration":1,"sidecars":{"selected":3,"programmed":2,"refused":1},"conditions":[{"type":"Accepted","status":"True","reason":"Valid","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
		if got := strings.Fields(run("get", "ap", "plain", "-o", "wide", "--no-headers")); len(got) < 7 || got[3] != "3" || got[4] != "2" || got[5] != "1" || got[6] != "True" {
			t.Errorf("the columns are %q", got)
		}
		if got := run("get", "ap", "plain", "-o", "jsonpath={.metadata.generation}"); got != "1" {
			t.Errorf("a status made generation %s: it is of no subresource", got)
		}
	})
}

func policy(name, spec string) string {
	return "apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: " + name + "}\nspec: " + spec
}

// apply creates or changes what a text has, and expects an error with want in it, or none.
func apply(ctx context.Context, t *testing.T, c *cluster.Cluster, text, want string) {
	t.Helper()
	err := c.Apply(ctx, text)
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("kubectl apply says %v, want %q of\n%s", err, want, text)
	}
}

// applyFiles gives the API server every example and every good file, but for the kinds that only
// files have.
func applyFiles(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	kinds := load(t)
	for _, pattern := range []string{"../../examples/*/*/*.yaml", "../../api/testdata/good/*.y*ml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no files %s (%v)", pattern, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, doc := range separator.Split(string(data), -1) {
				object, err := wholeNumbers([]byte(doc))
				if err != nil || kinds[fmt.Sprint(object["kind"])] == nil {
					continue
				}
				if meta, ok := object["metadata"].(map[string]any); ok && meta["namespace"] != nil {
					ns := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %v}", meta["namespace"])
					apply(ctx, t, c, ns, "")
				}
				t.Run(fmt.Sprintf("%s#%d", filepath.Base(path), i), func(t *testing.T) { apply(ctx, t, c, doc, "") })
			}
		}
	}
}
