package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/admin/flows"
)

// shop is a namespace with a server, a client, somebody else, and a job. None of its pods knows
// of Pavise.
const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {pavise.dev/inject: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: app
        image: pavise.dev/test/app:1
        args: [serve, -name, web, -http, "8080", -tcp, "9000", -grpc, "9001"]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        livenessProbe: {grpc: {port: 9001}, periodSeconds: 1, failureThreshold: 2}
        startupProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: pavise.dev/test/app:1, args: [sleep, 1h]}]
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: shop, labels: {app: stranger}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: pavise.dev/test/app:1, args: [sleep, 1h]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: shop}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {app: client}}
    spec:
      restartPolicy: Never
      initContainers: [{name: first, image: pavise.dev/test/app:1, args: [job, -retry, 60s, "http://web/products/first"]}]
      containers: [{name: app, image: pavise.dev/test/app:1, args: [job, -retry, 60s, "http://web/products/1"]}]
`

const policies = `
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
  - name: browse
    action: Allow
    from: [{podSelector: {matchLabels: {app: client}}}]
    http: [{methods: [GET], paths: [{prefix: /products}]}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: client, namespace: shop}
spec:
  selector: {matchLabels: {app: client}}
  egress:
  - name: web
    action: Allow
    to: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 80}]
  - name: partner
    action: Allow
    to: [{domains: [api.example]}]
    http: [{methods: [GET], paths: [{prefix: /v1}]}]
`

func threatFeed(url string) string {
	return fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: botnets}
spec: {url: %q, action: Deny, refresh: {interval: 10s}}
`, url)
}

// decided is what becomes of requests under all that.
var decided = []row{
	{"what the policy allows", "shop/client", "http://web/products/1", "200"},
	{"another path", "shop/client", "http://web/admin", "403 default-deny:shop/web"},
	{"a path around it", "shop/client", "http://web/products/..%2fadmin", "403 ambiguous-path"},
	{"somebody else", "shop/stranger", "http://web/products/1", "403 default-deny:shop/web"},
	{"somebody else, straight to the port", "shop/stranger", "tcp://web:9000", "broken off"},
	{"a port that no rule names", "shop/client", "tcp://web:9000", "broken off"},
	{"a domain that is allowed", "shop/client", "http://api.example/v1/x", "200"},
	{"another path there", "shop/client", "http://api.example/v2/x", "403 default-deny:shop/client"},
	{"another name at the same address", "shop/client", "http://other.example/v1/x", "403 default-deny:shop/client"},
	{"a name that the feed lists", "shop/stranger", "http://www.evil.example/", "no such name"},
	{"an address that the feed lists", "shop/stranger", "http://" + listed + "/", "403 feed:botnets"},
	{"an address that nobody lists", "shop/stranger", "http://" + outside + "/", "200"},
}

// TestStory is a shop from its first pod to the last trace of Pavise.
func TestStory(t *testing.T) {
	l := newLab(t)
	l.feed.set("evil.example\n" + listed + "\n")
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"install", l.install},
		{"a namespace is labelled", l.labelled},
		{"policies and a feed", l.policies},
		{"status says so", l.statuses},
		{"flows say why", l.flows},
		{"what is wrong is refused", l.wrong},
		{"nobody sheds the shield", l.shedding},
		{"upgrade by revision", l.upgrade},
		{"uninstall leaves nothing", l.uninstall},
	} {
		if !t.Run(part.name, part.run) {
			return
		}
	}
}

func (l *lab) install(t *testing.T) {
	l.must(t, "install", "--set", "controlPlane.replicas=2")
	out := l.must(t, "status", "--kubernetes")
	if !strings.HasPrefix(out, "SIDECAR") {
		t.Errorf("status without a sidecar: %s", out)
	}
	l.must(t, "install", "--set", "controlPlane.replicas=2") // again, which changes nothing
}

func (l *lab) labelled(t *testing.T) {
	l.apply(t, shop)
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Ready", "pod/client", "pod/stranger", "--timeout=90s")
	l.kubectl(t, "-n", "shop", "rollout", "status", "deployment/web", "--timeout=90s")
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Complete", "job/once", "--timeout=90s")
	l.check(t, []row{{"without a policy", "shop/stranger", "http://web/anything", "200"}})
}

func (l *lab) policies(t *testing.T) {
	l.apply(t, policies+"---"+threatFeed(l.feed.url))
	l.check(t, decided)
	l.feed.set("evil.example\n" + listed + "\n" + outside + "\n")
	l.check(t, []row{{"an address that the feed lists now", "shop/stranger", "http://" + outside + "/", "403 feed:botnets"}})
	l.feed.set("evil.example\n" + listed + "\n")
	l.check(t, decided)
	// Probes are answered for the kubelet, whatever the policy says of strangers.
	restarts := l.kubectl(t, "-n", "shop", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
	if strings.Trim(restarts, " 0") != "" {
		t.Errorf("containers were restarted: %s", restarts)
	}
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=30s")
}

// condition is one of a status, as STATUS REASON.
func (l *lab) condition(t *testing.T, kind, name, which string) string {
	t.Helper()
	return l.kubectl(t, "-n", "shop", "get", kind, name, "-o",
		fmt.Sprintf(`jsonpath={range .status.conditions[?(@.type==%q)]}{.status} {.reason}{end}`, which))
}

func (l *lab) statuses(t *testing.T) {
	for _, x := range []struct{ kind, name, which, want string }{
		{"accesspolicy", "web", "Accepted", "True Accepted"},
		{"accesspolicy", "web", "Programmed", "True Programmed"},
		{"threatfeed", "botnets", "Fetched", "True Fetched"},
		{"threatfeed", "botnets", "InForce", "True InForce"},
	} {
		l.await(t, x.kind+" "+x.name, func() (string, bool) {
			got := l.condition(t, x.kind, x.name, x.which)
			return got, got == x.want
		})
	}
	l.await(t, "one sidecar of one is programmed", func() (string, bool) {
		got := l.kubectl(t, "-n", "shop", "get", "accesspolicy", "web", "-o", "jsonpath={.status.sidecars}")
		return got, got == `{"programmed":1,"refused":0,"selected":1}`
	})
	l.await(t, "status shows every sidecar", func() (string, bool) {
		out, code := l.run(t, "status", "--kubernetes", "-o", "json")
		var s struct {
			Sidecars []struct{ Node, State, Snapshot string }
		}
		if code != 0 || json.Unmarshal([]byte(out), &s) != nil {
			return out, false
		}
		synced := 0
		for _, x := range s.Sidecars {
			if x.State == "Synced" && x.Snapshot != "" {
				synced++
			}
		}
		return out, synced == 3 && len(s.Sidecars) == 3
	})
}

// flows are those of all pods of the shop, by who asked and who was asked.
func (l *lab) flows(t *testing.T) {
	l.await(t, "what was denied is there, with its reason", func() (string, bool) {
		out := l.must(t, "flows", "--kubernetes", "--denied", "-n", "shop")
		for _, want := range []string{"default-deny:shop/web", "default-deny:shop/client", "feed:botnets", "ambiguous-path"} {
			if !strings.Contains(out, want) {
				return out, false
			}
		}
		return "", true
	})
	var list []flows.Flow
	out := l.must(t, "flows", "--kubernetes", "-n", "shop", "--workload", "shop/web", "--peer", "shop/stranger", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) == 0 {
		t.Fatalf("flows from shop/stranger to shop/web: %v\n%s", err, out)
	}
	for _, f := range list {
		own, peer := f.WorkloadContext, f.PeerContext
		if own == nil || own.Owner != "Deployment/web" || own.Labels["app"] != "web" || !strings.HasPrefix(own.Pod, "shop/web-") ||
			peer == nil || peer.Owner != "Pod/stranger" || peer.Pod != "shop/stranger" || peer.Address == "" {
			t.Errorf("a flow is of %+v, and by %+v", own, peer)
		}
	}
	l.explained(t)
}

// explained: who got a 403 asks with the id that came with it, and is told the rule by the
// control plane from what the sidecar has recorded.
func (l *lab) explained(t *testing.T) {
	a := l.ask(t, "shop/stranger", "http://web/admin")
	id := a.Headers["x-request-id"]
	if a.Status != http.StatusForbidden || id == "" {
		t.Fatalf("%+v", a)
	}
	l.await(t, "the request is explained", func() (string, bool) {
		out, code := l.run(t, "explain", "--kubernetes", "-n", "shop", "--id", id)
		return out, code == 0 && strings.Contains(out, "verdict  deny\nreason   default-deny:shop/web\n") && strings.Contains(out, "remedy   ")
	})
	out := l.must(t, "explain", "--kubernetes", "--workload", "shop/web", "--listener", "inbound", "--source", "203.0.113.9", "GET", "http://web/admin")
	if !strings.HasPrefix(out, "verdict  deny\n") {
		t.Errorf("asked of the control plane: %s", out)
	}
	if out, code := l.run(t, "explain", "--kubernetes", "-n", "shop", "--id", "nobody-s"); code != 3 || !strings.Contains(out, "none of ") {
		t.Errorf("an id that nobody knows: %d %s", code, out)
	}
}

func (l *lab) wrong(t *testing.T) {
	l.refused(t, `
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: bad, namespace: shop}
spec: {selector: {}, ingress: [{action: Allow, http: [{paths: [{regex: "("}]}]}]}
`, "PAV")
	l.refused(t, `
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: bad, namespace: shop}
spec: {selector: {}, ingress: [{action: Allow, ports: [{port: 90, endPort: 80}]}]}
`, "endPort")
	l.check(t, decided)
}

// pod is one of the shop that wants something special.
func pod(name, labels, spec, container string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {%s}}
spec: {%s containers: [{name: app, image: "pavise.dev/test/app:1", args: [sleep, 1h]%s}]}
`, name, labels, spec, container)
}

func (l *lab) shedding(t *testing.T) {
	l.refused(t, pod("shed", "pavise.dev/inject: disabled", "", ""), "pavise", "opt-out")
	l.refused(t, pod("shed", "app: shed", "", `, securityContext: {capabilities: {add: [NET_ADMIN]}}`), "pavise", "NET_ADMIN")
	l.refused(t, pod("shed", "app: shed", "", `, securityContext: {runAsUser: 1337}`), "pavise", "1337")
	l.refused(t, pod("shed", "app: shed", "", `, securityContext: {privileged: true}`), "pavise", "privileged")
	// Where the namespace allows it, they may.
	l.kubectl(t, "label", "namespace", "shop", "pavise.dev/opt-out=allowed")
	l.apply(t, pod("shed", "pavise.dev/inject: disabled", "terminationGracePeriodSeconds: 1,", ""))
	l.kubectl(t, "-n", "shop", "delete", "pod", "shed", "--wait=true")
	l.kubectl(t, "label", "namespace", "shop", "pavise.dev/opt-out-")
	if _, err := l.c.Kubectl(t.Context(), "-n", "shop", "set", "image", "pod/client", "pavise-sidecar=pavise.dev/test/app:1"); err == nil {
		t.Error("the sidecar of a pod that runs was replaced")
	}
}

func (l *lab) upgrade(t *testing.T) {
	l.must(t, "install", "--revision", "canary", "--set", "crds.install=false", "--set", "controlPlane.replicas=1")
	l.kubectl(t, "label", "namespace", "shop", "pavise.dev/revision=canary")
	l.kubectl(t, "-n", "shop", "rollout", "restart", "deployment/web")
	l.kubectl(t, "-n", "shop", "rollout", "status", "deployment/web", "--timeout=90s")
	l.await(t, "the new pod has the new revision's sidecar", func() (string, bool) {
		got := l.kubectl(t, "-n", "shop", "get", "pods", "-l", "app=web", "-o", `jsonpath={range .items[*]}{.metadata.labels.pavise\.dev/revision} {end}`)
		return got, strings.TrimSpace(got) == "canary"
	})
	l.check(t, decided) // one side by the old revision, the other by the new
	l.await(t, "both revisions count", func() (string, bool) {
		got := l.kubectl(t, "-n", "shop", "get", "accesspolicy", "web", "-o", "jsonpath={.status.sidecars}")
		return got, got == `{"programmed":1,"refused":0,"selected":1}`
	})
	out, code := l.run(t, "uninstall", "--revision", "canary")
	if code == 0 || !strings.Contains(out, "shop") {
		t.Errorf("a revision that a namespace chooses was removed, with %d: %s", code, out)
	}
}

func (l *lab) uninstall(t *testing.T) {
	l.must(t, "uninstall") // the first revision, which nobody chooses any more
	l.check(t, decided)    // its sidecars go on, with what they have
	l.kubectl(t, "label", "namespace", "shop", "pavise.dev/inject-", "pavise.dev/revision-")
	l.kubectl(t, "-n", "shop", "delete", "pod", "client", "stranger", "--wait=true")
	l.kubectl(t, "-n", "shop", "rollout", "restart", "deployment/web")
	l.kubectl(t, "-n", "shop", "rollout", "status", "deployment/web", "--timeout=90s")
	l.must(t, "uninstall", "--revision", "canary", "--crds")
	l.await(t, "nothing is left", func() (string, bool) {
		var left []string
		for _, kinds := range []string{
			"namespaces,clusterroles,clusterrolebindings,customresourcedefinitions,mutatingwebhookconfigurations,validatingwebhookconfigurations",
			"pods,services,deployments,replicasets,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,poddisruptionbudgets,networkpolicies",
		} {
			for line := range strings.Lines(l.kubectl(t, "get", kinds, "-A", "-o", "name")) {
				if strings.Contains(line, "pavise") {
					left = append(left, strings.TrimSpace(line))
				}
			}
		}
		slices.Sort(left)
		return strings.Join(left, ", "), len(left) == 0
	})
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=60s")
}
