package cluster

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// control starts a control plane that lasts until the test ends.
func control(t *testing.T, o Options) *Cluster {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	begin := time.Now()
	c, err := Control(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up in %s", time.Since(begin))
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", c.dir, err)
		}
	})
	return c
}

func kubectl(t *testing.T, c *Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// Would catch service-account keys that don't belong together, RBAC that is off, and an
// audience that is not looked at.
func TestTokens(t *testing.T) {
	c := control(t, Options{})
	kubectl(t, c, "create", "serviceaccount", "shop")
	token := kubectl(t, c, "create", "token", "shop", "--audience", "pavise")
	review := func(audience string) string {
		t.Helper()
		out, err := c.run(t.Context(), strings.NewReader(`{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
			"spec": {"token": "`+token+`", "audiences": ["`+audience+`"]}}`),
			"create", "-f", "-", "-o", "jsonpath={.status.authenticated} {.status.user.username}")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got, want := review("pavise"), "true system:serviceaccount:default:shop"; got != want {
		t.Errorf("its own audience: %q, want %q", got, want)
	}
	if got := review("other"); strings.Contains(got, "true") {
		t.Errorf("another audience: %q", got)
	}
	if got, err := c.Kubectl(t.Context(), "--token", kubectl(t, c, "create", "token", "shop"), "get", "secrets"); err == nil {
		t.Errorf("a service account without a role reads secrets: %s", got)
	}
}

// Would catch a restart on other data or another port.
func TestObjectsOutliveKills(t *testing.T) {
	c := control(t, Options{})
	kubectl(t, c, "create", "configmap", "kept", "--from-literal=a=b")
	for _, p := range []*Process{c.APIServer, c.Etcd} {
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if p == c.APIServer {
			if _, err := c.Kubectl(t.Context(), "get", "configmaps", "--request-timeout=2s"); err == nil {
				t.Error("a killed API server answers")
			}
		}
		if err := startAll(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for c.apiReady(t.Context()) != nil { // it finds etcd again by itself; the test's deadline bounds this
		time.Sleep(poll)
	}
	if got := kubectl(t, c, "get", "configmap", "kept", "-o", "jsonpath={.data.a}"); got != "b" {
		t.Errorf("data: %q", got)
	}
}

// Would catch a pause that kills, and a Continue that does nothing.
func TestPause(t *testing.T) {
	c := control(t, Options{})
	if err := c.APIServer.Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl(t.Context(), "get", "namespaces", "--request-timeout=1s"); err == nil {
		t.Error("a paused API server answers")
	}
	if err := c.APIServer.Continue(); err != nil {
		t.Fatal(err)
	}
	kubectl(t, c, "get", "namespaces")
}

// Would catch an error that does not say why the API server ended.
func TestBadArgument(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	_, err := Control(t.Context(), Options{APIServerArgs: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("error: %v", err)
	}
}

// Would catch controllers that are named and don't run.
func TestControllers(t *testing.T) {
	if _, err := binary("kube-controller-manager"); err != nil {
		t.Skip(err)
	}
	c := control(t, Options{Controllers: []string{"serviceaccount-controller", "namespace-controller"}})
	kubectl(t, c, "create", "namespace", "shop")
	kubectl(t, c, "wait", "--for=create", "serviceaccount/default", "-n", "shop", "--timeout=30s")
	kubectl(t, c, "delete", "namespace", "shop", "--timeout=30s")
}

// Would catch a module that was raised without the constant, so that nothing is found in the cache.
func TestVersion(t *testing.T) {
	text, err := os.ReadFile("testdata/modules/kubernetes/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "k8s.io/kubernetes v" + Version; !strings.Contains(string(text), want) {
		t.Errorf("testdata/modules/kubernetes/go.mod does not require %s", want)
	}
}
