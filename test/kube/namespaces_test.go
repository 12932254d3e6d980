package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// errors counts what the control plane logged as such.
func (l *lab) errors(t *testing.T) (n int, text string) {
	t.Helper()
	for _, name := range l.plane(t, ".metadata.name") {
		log, err := l.c.Logs(t.Context(), "pavise-system", name, "control-plane")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, "level=ERROR") {
				n++
				text += line
			}
		}
	}
	return n, text
}

// deleted: pods are made and injected while their namespace goes.
func (l *lab) deleted(t *testing.T) {
	stop := l.watch(t, decided, undisturbed)
	before, _ := l.errors(t)
	for range 3 {
		l.apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: brief, labels: {pavise.dev/inject: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: many, namespace: brief}
spec:
  replicas: 10
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: pavise.dev/test/app:1, args: [sleep, 1h]}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: many, namespace: brief}
spec: {selector: {matchLabels: {app: many}}, ingress: [{name: all, action: Allow}]}
`)
		l.kubectl(t, "delete", "namespace", "brief", "--wait=true", "--timeout=120s")
	}
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
	if got := l.kubectl(t, "get", "pods,configmaps,accesspolicies", "-A", "-o", "name"); strings.Contains(got, "many") {
		t.Errorf("something is left: %s", got)
	}
	if s, text, _ := l.status(t); strings.Contains(text, "brief/") {
		t.Errorf("status knows of pods that are gone: %+v", s.states())
	}
	then, _ := l.errors(t)
	time.Sleep(8 * time.Second) // four times what the control plane takes to try again
	after, text := l.errors(t)
	if after > then {
		t.Errorf("%d errors were logged before, %d when the namespaces were gone, and %d later:\n%s", before, then, after, text)
	}
	if then > before {
		t.Logf("%d errors while namespaces went:\n%s", then-before, text)
	}
	stop()
}

const state = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: state, namespace: shop}
spec:
  serviceName: state
  selector: {matchLabels: {app: state}}
  template:
    metadata: {labels: {app: state}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: app, image: pavise.dev/test/app:1, args: [serve, -name, state, -http, "8080"], readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: state, namespace: shop}
spec: {selector: {app: state}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: state, namespace: shop}
spec:
  selector: {matchLabels: {app: state}}
  ingress: [{name: stranger, action: Allow, from: [{podSelector: {matchLabels: {app: stranger}}}]}]
`

// reused: a StatefulSet's pod has the name of the one before, and another address and token.
func (l *lab) reused(t *testing.T) {
	l.apply(t, state)
	l.kubectl(t, "-n", "shop", "rollout", "status", "statefulset/state", "--timeout=90s")
	rows := []row{
		{"who is allowed", "shop/stranger", "http://state/x", "200"},
		{"who is not", "shop/client", "http://state/x", "403"},
	}
	l.check(t, rows)
	stop := l.watch(t, rows, restarting)
	for _, how := range [][]string{{"--wait=true"}, {"--force", "--grace-period=0"}, {"--force", "--grace-period=0"}} {
		was := l.uid(t, "shop/state-0")
		l.kubectl(t, append([]string{"-n", "shop", "delete", "pod", "state-0"}, how...)...)
		l.await(t, "another pod of that name is ready", func() (string, bool) {
			got, err := l.c.Kubectl(t.Context(), "-n", "shop", "get", "pod", "state-0", "-o",
				`jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`)
			return fmt.Sprint(got, err), err == nil && !strings.Contains(got, was) && strings.HasSuffix(got, " True")
		})
		l.check(t, rows)
		l.inOrder(t, "shop/state-0", "shop/client", "shop/stranger", l.web(t))
	}
	stop()
	l.kubectl(t, "-n", "shop", "delete", "statefulset,service,accesspolicy", "state", "--wait=true")
	l.kubectl(t, "-n", "shop", "wait", "--for=delete", "pod/state-0", "--timeout=60s")
}

// unlabelled: who takes the label from a namespace takes the shield from pods to come, and from
// none that runs.
func (l *lab) unlabelled(t *testing.T) {
	stop := l.watch(t, decided, undisturbed)
	l.kubectl(t, "label", "namespace", "shop", "pavise.dev/inject-")
	stop()
	l.changed(t) // those that run are still given what is new
	l.apply(t, pod("bare", "app: client", "terminationGracePeriodSeconds: 1,", ""))
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Ready", "pod/bare", "--timeout=60s")
	l.check(t, []row{
		{"no policy binds it", "shop/bare", "http://other.example/v1/x", "200"},
		{"it is a client for who has a shield", "shop/bare", "http://web/products/1", "200"},
		{"and no more", "shop/bare", "http://web/admin", "403 default-deny:shop/web"},
	})
	l.kubectl(t, "label", "namespace", "shop", "pavise.dev/inject=enabled")
	l.await(t, "status names it", func() (string, bool) {
		s, text, code := l.status(t)
		return text, code == 1 && len(s.Unshielded) == 1 && s.Unshielded[0] == "shop/bare"
	})
	l.kubectl(t, "-n", "shop", "delete", "pod", "bare", "--wait=true")
	// A namespace that never had the label is not concerned.
	l.apply(t, plain)
	l.apply(t, strings.Replace(pod("new", "app: client", "terminationGracePeriodSeconds: 1,", ""), "namespace: shop", "namespace: plain", 1))
	l.kubectl(t, "-n", "plain", "wait", "--for=condition=Ready", "pod/new", "--timeout=60s")
	if got := l.kubectl(t, "-n", "plain", "get", "pod", "new", "-o", `jsonpath={.spec.initContainers}{.metadata.labels}{.metadata.annotations.pavise\.dev/status}{.spec.volumes[*].name}`); strings.Contains(got, "pavise") {
		t.Errorf("a pod of a namespace without the label: %s", got)
	}
	l.check(t, []row{
		{"outside", "plain/new", "http://" + outside + "/", "200"},
		{"a client of the same label in another namespace", "plain/new", "http://web.shop/products/1", "403 default-deny:shop/web"},
	})
	if got := l.kubectl(t, "-n", "plain", "get", "configmaps", "-o", "name"); strings.Contains(got, "pavise") {
		t.Errorf("a namespace without the label has %s", got)
	}
	l.kubectl(t, "delete", "namespace", "plain", "--wait=true", "--timeout=60s")
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
}
