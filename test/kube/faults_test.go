package kube

import (
	"strings"
	"testing"
	"time"
)

// TestFaults takes away one thing after another. During each fault what was allowed is allowed
// and what was denied is denied, and afterwards all is as before by itself. Faults are on one
// cluster, each from a lab in order; where one fails the rest says nothing.
func TestFaults(t *testing.T) {
	l := newLab(t)
	l.feed.set("evil.example\n" + listed + "\n")
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a steady shop", l.steady},
		{"control plane away while pods start", l.planeAway},
		{"webhook down, closed", l.webhookFail},
		{"webhook down, open", l.webhookIgnore},
		{"API server paused", l.apiPaused},
		{"API server killed", l.apiKilled},
		{"etcd killed", l.etcdKilled},
		{"a sidecar that refuses", l.refusing},
		{"a valid token gets another's config", l.othersToken},
		{"crafted token, token for another audience, expired", l.badTokens},
		{"certificate expires", l.expired},
		{"namespace deleted mid-injection", l.deleted},
		{"a name that is used again", l.reused},
		{"a label is removed", l.unlabelled},
	} {
		if !t.Run(part.name, part.run) {
			return
		}
	}
}

// steady installs Pavise, and has the shop under policies and a feed.
func (l *lab) steady(t *testing.T) {
	l.must(t, "install", "--set", "controlPlane.replicas=2")
	l.apply(t, shop)
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Ready", "pod/client", "pod/stranger", "--timeout=90s")
	l.kubectl(t, "-n", "shop", "rollout", "status", "deployment/web", "--timeout=90s")
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Complete", "job/once", "--timeout=90s")
	l.apply(t, policies+"---"+threatFeed(l.feed.url))
	l.check(t, decided)
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
	// The node has no IPv6, and the redirect is not kept from working by that.
	if ips := l.kubectl(t, "-n", "shop", "get", "pod", "client", "-o", "jsonpath={.status.podIPs[*].ip}"); strings.ContainsAny(ips, ": ") {
		t.Errorf("the pod has the addresses %s, and should have one of IPv4", ips)
	}
}

// changed has a change of policy arrive, there and back.
func (l *lab) changed(t *testing.T) {
	t.Helper()
	l.apply(t, strings.Replace(policies, "prefix: /products", "prefix: /admin", 1))
	l.check(t, []row{
		{"what is allowed now", "shop/client", "http://web/admin", "200"},
		{"what is no more", "shop/client", "http://web/products/1", "403 default-deny:shop/web"},
	})
	l.apply(t, policies)
	l.check(t, decided)
}

// late is a Deployment whose pods are admitted and not started yet.
const late = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: late, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: late}}
  template:
    metadata: {labels: {app: late}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: app, image: pavise.dev/test/app:1, args: [serve, -name, late, -http, "8080"]}
`

func (l *lab) planeAway(t *testing.T) {
	l.kubectl(t, "cordon", "node")
	l.apply(t, late)
	injected := func() []string {
		return strings.Fields(l.kubectl(t, "-n", "shop", "get", "pods", "-l", "app=late,pavise.dev/revision", "-o", "jsonpath={range .items[*]}{.metadata.name} {end}"))
	}
	l.await(t, "three pods are admitted", func() (string, bool) {
		pods := injected()
		return strings.Join(pods, " "), len(pods) == 3
	})
	stop := l.watch(t, decided, undisturbed)
	l.away(t)
	l.kubectl(t, "uncordon", "node")
	if _, text, code := l.status(t); code == 0 || !strings.Contains(text, "no control plane") {
		t.Errorf("status without a control plane ends with %d: %s", code, text)
	}
	states := func() string {
		return l.kubectl(t, "-n", "shop", "get", "pods", "-l", "app=late", "-o",
			`jsonpath={range .items[*]}{.status.initContainerStatuses[?(@.name=="pavise-sidecar")].state.running.startedAt}`+
				`/{.status.initContainerStatuses[?(@.name=="pavise-sidecar")].started}/{.status.containerStatuses[0].started} {end}`)
	}
	l.await(t, "their sidecars run", func() (string, bool) {
		got := states()
		return got, strings.Count(got, "Z/") == 3
	})
	// As long as an impatient sidecar might take to give up.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if got := states(); strings.Count(got, "Z/false/false") != 3 {
			t.Fatalf("a pod went on without its policies: %s", got)
		}
	}
	if log, err := l.c.Logs(t.Context(), "shop", injected()[0], "pavise-sidecar"); err != nil || !strings.Contains(log, "control plane") {
		t.Errorf("the sidecar does not say what it waits for: %v: %s", err, log)
	}
	stop()
	// A sidecar that is restarted meanwhile has what it enforced on disk.
	web := l.uid(t, l.web(t))
	stop = l.watch(t, decided, restarting)
	kill(t, web, "pavise")
	l.check(t, decided)
	stop()
	stop = l.watch(t, decided, undisturbed)
	l.back(t)
	l.kubectl(t, "-n", "shop", "rollout", "status", "deployment/late", "--timeout=90s")
	l.inOrder(t, append(prefixed("shop/", injected()), "shop/client", "shop/stranger", l.web(t))...)
	stop()
	l.kubectl(t, "-n", "shop", "delete", "deployment", "late", "--wait=true")
	l.kubectl(t, "-n", "shop", "wait", "--for=delete", "pod", "-l", "app=late", "--timeout=60s")
	l.changed(t)
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// plain is a namespace that has nothing to do with Pavise.
const plain = "apiVersion: v1\nkind: Namespace\nmetadata: {name: plain}\n"

func (l *lab) webhookFail(t *testing.T) {
	l.apply(t, plain)
	stop := l.watch(t, decided, undisturbed)
	l.away(t)
	l.refused(t, pod("new", "app: new", "", ""), "pavise")
	l.refused(t, strings.Replace(policies, "prefix: /products", "prefix: /admin", 1), "pavise")
	l.kubectl(t, "-n", "shop", "scale", "deployment/web", "--replicas=2")
	l.await(t, "the controller is told why there is no pod", func() (string, bool) {
		got := l.kubectl(t, "-n", "shop", "get", "events", "--field-selector=reason=FailedCreate", "-o", "jsonpath={.items[*].message}")
		return got, strings.Contains(got, "pavise")
	})
	for _, namespace := range []string{"plain", "kube-system"} {
		l.apply(t, strings.Replace(pod("new", "app: new", "terminationGracePeriodSeconds: 1,", ""), "namespace: shop", "namespace: "+namespace, 1))
		l.kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/new", "--timeout=60s")
		l.kubectl(t, "-n", namespace, "delete", "pod", "new", "--wait=true")
	}
	// Finalizers, labels and the end of pods that run do not wait for it.
	l.kubectl(t, "-n", "shop", "label", "pod", "stranger", "seen=1")
	l.kubectl(t, "-n", "shop", "label", "pod", "stranger", "seen-")
	l.back(t)
	l.kubectl(t, "-n", "shop", "rollout", "status", "deployment/web", "--timeout=120s")
	l.kubectl(t, "-n", "shop", "scale", "deployment/web", "--replicas=1")
	l.await(t, "one pod is left", func() (string, bool) {
		got := l.kubectl(t, "-n", "shop", "get", "pods", "-l", "app=web", "-o", "name")
		return got, strings.Count(got, "pod/") == 1
	})
	// Killed, and not scaled down, it comes back by itself: it does not wait for its own webhook.
	before := l.plane(t, ".metadata.uid")
	l.kubectl(t, "-n", "pavise-system", "delete", "pods", "-l", "app.kubernetes.io/component=control-plane", "--force", "--grace-period=0")
	l.await(t, "two others are there", func() (string, bool) {
		now := l.plane(t, ".metadata.uid")
		fresh := 0
		for _, uid := range now {
			if !strings.Contains(strings.Join(before, " "), uid) {
				fresh++
			}
		}
		return strings.Join(now, " "), fresh == 2
	})
	l.kubectl(t, "-n", "pavise-system", "rollout", "status", "deployment/pavise-control-plane", "--timeout=90s")
	stop()
	l.check(t, decided)
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
}

func (l *lab) webhookIgnore(t *testing.T) {
	l.must(t, "install", "--set", "controlPlane.replicas=2", "--set", "webhook.failurePolicy=Ignore")
	stop := l.watch(t, decided, undisturbed)
	l.away(t)
	l.apply(t, pod("bare", "app: bare", "terminationGracePeriodSeconds: 1,", ""))
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Ready", "pod/bare", "--timeout=60s")
	// It has no shield of its own; those of others hold against it.
	if got := l.ask(t, "shop/bare", "http://web/products/1").verdict(); got != "403 default-deny:shop/web" {
		t.Errorf("a pod without a shield got %s from web", got)
	}
	l.back(t)
	stop()
	l.await(t, "status names it", func() (string, bool) {
		s, text, code := l.status(t)
		return text, code == 1 && len(s.Unshielded) == 1 && s.Unshielded[0] == "shop/bare"
	})
	if out, code := l.run(t, "status", "--kubernetes"); code != 1 || !strings.Contains(out, "shop/bare has no sidecar") {
		t.Errorf("status ends with %d: %s", code, out)
	}
	l.kubectl(t, "-n", "shop", "delete", "pod", "bare", "--wait=true")
	l.must(t, "install", "--set", "controlPlane.replicas=2")
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
	l.check(t, decided)
}

// restarts is how often containers of the control plane were restarted.
func (l *lab) restarts(t *testing.T) string {
	t.Helper()
	return strings.Join(l.plane(t, ".metadata.name}={.status.containerStatuses[0].restartCount"), " ")
}

func (l *lab) apiPaused(t *testing.T) {
	before := l.restarts(t)
	web, stranger := l.uid(t, l.web(t)), l.uid(t, "shop/stranger")
	in := l.enter(t, decided)
	stop := l.watch(t, decided, undisturbed)
	begin := time.Now()
	if err := l.c.APIServer.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.c.APIServer.Continue() }()
	time.Sleep(5 * time.Second) // the fault lasts; what holds at once need not hold then
	stop()
	stop = in.watch(t, decided, restarting)
	kill(t, web, "envoy")
	kill(t, stranger, "pavise")
	in.check(t, l, decided)
	stop()
	stop = in.watch(t, decided, undisturbed)
	if left := 25*time.Second - time.Since(begin); left > 0 {
		time.Sleep(left)
	}
	if err := l.c.APIServer.Continue(); err != nil {
		t.Fatal(err)
	}
	l.afterwards(t)
	stop()
	if after := l.restarts(t); after != before {
		t.Errorf("the control plane did not bear it: restarts were %s and are %s", before, after)
	}
	l.changed(t)
}

// afterwards waits until all works again.
func (l *lab) afterwards(t *testing.T) {
	t.Helper()
	l.await(t, "the API server answers", func() (string, bool) {
		out, err := l.c.Kubectl(t.Context(), "get", "--raw", "/readyz")
		if err != nil {
			out = err.Error()
		}
		return out, err == nil
	})
	l.await(t, "status is in order", func() (string, bool) {
		_, text, code := l.status(t)
		return text, code == 0
	})
}

func (l *lab) apiKilled(t *testing.T) {
	before := l.restarts(t)
	stop := l.watch(t, decided, undisturbed)
	if err := l.c.APIServer.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second) // as above
	if _, text, code := l.status(t); code == 0 {
		t.Errorf("status without an API server ends with 0: %s", text)
	}
	if err := l.c.APIServer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.afterwards(t)
	stop()
	if after := l.restarts(t); after != before {
		t.Errorf("the control plane did not bear it: restarts were %s and are %s", before, after)
	}
	l.changed(t)
}

func (l *lab) etcdKilled(t *testing.T) {
	before := l.restarts(t)
	stop := l.watch(t, decided, undisturbed)
	if err := l.c.Etcd.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second) // as above
	if err := l.c.Etcd.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.afterwards(t)
	stop()
	if after := l.restarts(t); after != before {
		t.Errorf("the control plane did not bear it: restarts were %s and are %s", before, after)
	}
	l.changed(t)
}
