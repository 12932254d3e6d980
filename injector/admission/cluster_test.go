package admission

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"pavise.dev/pavise/injector"
	"pavise.dev/pavise/test/cluster"
)

// other is the webhook of somebody else, who comes later and adds a container with a probe.
func other(w http.ResponseWriter, r *http.Request) {
	var in admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Request == nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	kind := admissionv1.PatchTypeJSONPatch
	out := &admissionv1.AdmissionResponse{UID: in.Request.UID, Allowed: true}
	if !strings.Contains(string(in.Request.Object.Raw), `"late"`) {
		out.PatchType = &kind
		out.Patch = []byte(`[{"op":"add","path":"/spec/containers/0","value":{"name":"late","image":"late:1","readinessProbe":{"tcpSocket":{"port":7}}}}]`)
	}
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: in.TypeMeta, Response: out})
}

// webhooks registers ours, as the chart does, and the other's.
func webhooks(url string, ca []byte) string {
	client := func(path string) string {
		return fmt.Sprintf("clientConfig: {url: %q, caBundle: %s}", url+path, base64.StdEncoding.EncodeToString(ca))
	}
	const selector = "namespaceSelector: {matchLabels: {pavise.dev/inject: enabled}}"
	return `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: pavise-injector}
webhooks:
  - name: injector.pavise.dev
    admissionReviewVersions: [v1]
    sideEffects: None
    reinvocationPolicy: IfNeeded
    ` + client("/inject") + `
    ` + selector + `
    rules:
      - { apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods], scope: Namespaced }
      - { apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [pods, pods/ephemeralcontainers], scope: Namespaced }
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: zz-other}
webhooks:
  - name: other.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    ` + client("/other") + `
    ` + selector + `
    rules: [{ apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods], scope: Namespaced }]
`
}

// TestRealAPIServer catches what no fake knows: fields that the API server's defaults change, so
// that a second run differs; the token that its own plugin mounts into our containers between
// two runs; a container that another webhook adds after us; a patch or a pod that it does not
// take; and how a refusal reads.
func TestRealAPIServer(t *testing.T) {
	if err := cluster.Available(); err != nil {
		t.Skip(err)
	}
	c, err := cluster.Control(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/", handler(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)) }))
	mux.HandleFunc("POST /other", other)
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelInfo)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	apply := func(text string) error { return c.Apply(t.Context(), text) }
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := c.Kubectl(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, text := range []string{
		"{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pavise.dev/inject: enabled}}}",
		"{apiVersion: v1, kind: Namespace, metadata: {name: trusted, labels: {pavise.dev/inject: enabled, pavise.dev/opt-out: allowed}}}",
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: shop}}",
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: trusted}}",
		"{apiVersion: v1, kind: LimitRange, metadata: {name: l, namespace: shop}, spec: {limits: [{type: Container, default: {cpu: 3, ephemeral-storage: 1Gi}}]}}",
		webhooks(srv.URL, ca),
	} {
		if err := apply(text); err != nil {
			t.Fatal(err)
		}
	}
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s%s}
spec: {%s}
`
	const web = "containers: [{name: web, image: 'web:1', livenessProbe: {grpc: {port: 9}}, readinessProbe: {httpGet: {port: 80}}}], initContainers: [{name: i, image: 'i:1'}]"
	// A webhook that was registered a moment ago may not be called yet.
	for n := 0; ; n++ {
		out := kubectl("create", "--dry-run=server", "-o", "json", "-f", writeFile(t, fmt.Sprintf(pod, "dry", "shop", "", web)))
		if strings.Contains(out, injector.SidecarContainer) && strings.Contains(out, `"late"`) {
			break
		}
		if n == 100 {
			t.Fatal("the webhooks are not called")
		}
	}
	if err := apply(fmt.Sprintf(pod, "web", "shop", "", web)); err != nil {
		t.Fatal(err)
	}
	var got corev1.Pod
	if err := json.Unmarshal([]byte(kubectl("get", "pod", "-n", "shop", "web", "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	if i := got.Spec.InitContainers; len(i) != 3 || i[0].Name != injector.RedirectContainer || i[1].Name != injector.SidecarContainer || i[2].Name != "i" {
		t.Errorf("init containers: %+v", i)
	}
	for _, x := range got.Spec.Containers {
		if p := x.ReadinessProbe; p.HTTPGet == nil || p.HTTPGet.Port.IntValue() != 15020 || p.HTTPGet.Path != "/app-health/"+x.Name+"/readyz" {
			t.Errorf("%s: %+v", x.Name, p)
		}
	}
	for _, x := range got.Spec.InitContainers[:2] {
		for _, m := range x.VolumeMounts {
			if strings.Contains(m.MountPath, "serviceaccount") {
				t.Errorf("%s has the API server's token", x.Name)
			}
		}
	}
	ns, _ := namespaces(t.Context(), "shop")
	res, err := injector.Inject(configuration(), injector.Input{Pod: &got, Namespace: ns, Native: true})
	if err != nil || res.Pod == nil {
		t.Fatalf("%+v, %v", res, err)
	}
	if ops, err := injector.Patch(&got, res.Pod); err != nil || ops != nil {
		t.Errorf("the API server's defaults differ: %s, %v", ops, err)
	}
	for name, row := range map[string][]string{
		"pod opts out":         {", labels: {pavise.dev/inject: disabled}", web, "pavise: pod shop/x: pavise.dev/inject: the pod asks for no shield"},
		"pod with NET_ADMIN":   {"", "containers: [{name: a, image: a, securityContext: {capabilities: {add: [NET_ADMIN]}}}]", `pod shop/x: container "a": capability "NET_ADMIN"`},
		"as the proxy's user":  {"", "securityContext: {runAsUser: 1337}, containers: [{name: a, image: a}]", "(sidecar-user)"},
		"forged status":        {", annotations: {pavise.dev/status: x}", web, "(tampered)"},
		"a sidecar of its own": {"", "containers: [{name: pavise-sidecar, image: a}]", "(name-taken)"},
	} {
		if err := apply(fmt.Sprintf(pod, "x", "shop", row[0], row[1])); err == nil || !strings.Contains(err.Error(), row[2]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := apply(fmt.Sprintf(pod, "out", "trusted", ", labels: {pavise.dev/inject: disabled}", web)); err != nil {
		t.Error(err)
	}
	if out := kubectl("get", "pod", "-n", "trusted", "out", "-o", "json"); strings.Contains(out, "pavise-") {
		t.Errorf("it opted out, and has %s", out)
	}
	for name, args := range map[string][]string{
		"the sidecar's image": {"set", "image", "-n", "shop", "pod/web", "pavise-sidecar=evil"},
		"its label":           {"label", "-n", "shop", "pod/web", "pavise.dev/revision-"},
		"debug":               {"debug", "-n", "shop", "web", "--image=d", "--profile=netadmin"},
	} {
		if out, err := c.Kubectl(t.Context(), args...); err == nil || !strings.Contains(err.Error(), "pavise: pod shop/web: ") {
			t.Errorf("%s: %s, %v", name, out, err)
		}
	}
	kubectl("label", "-n", "shop", "pod/web", "mine=yes")
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
