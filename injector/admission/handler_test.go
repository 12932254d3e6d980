package admission

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/injector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func configuration() injector.Config {
	c := injector.Default("pavise-system", "default")
	c.Image = "pavise/sidecar:1.0"
	return c
}

// namespaces of the tests: shop is enabled, lost cannot be read, new is not known yet.
func namespaces(_ context.Context, name string) (*corev1.Namespace, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{injector.InjectLabel: "enabled"}}}
	switch name {
	case "lost":
		return nil, errors.New("the cache is not filled")
	case "new":
		return nil, nil
	case "trusted":
		ns.Labels[injector.OptOutLabel] = "allowed"
	}
	return ns, nil
}

type judge struct{}

func (judge) Review(_ context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	if r.Name == "nobody" {
		return nil
	}
	return &admissionv1.AdmissionResponse{Allowed: r.Name == "good"}
}

func handler(t testing.TB, change func(*Config)) http.Handler {
	t.Helper()
	c := Config{Injector: configuration, Namespace: namespaces, Native: func() bool { return true }, Validator: judge{}, Stats: &Stats{}}
	if change != nil {
		change(&c)
	}
	h, err := Handler(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const podResource = `"kind":{"version":"v1","kind":"Pod"},"resource":{"version":"v1","resource":"pods"}`

// create is a review of a pod that is made, whose spec has these containers.
func create(namespace, containers string) string {
	return `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u1",` + podResource + `,"namespace":"` + namespace +
		`","operation":"CREATE","object":{"metadata":{"generateName":"web-","namespace":"` + namespace + `"},"spec":{"containers":[` + containers + `]}}}}`
}

func post(h http.Handler, path, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func answer(t testing.TB, w *httptest.ResponseRecorder) *admissionv1.AdmissionResponse {
	t.Helper()
	var out admissionv1.AdmissionReview
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Response == nil || out.APIVersion != "admission.k8s.io/v1" || out.Kind != "AdmissionReview" || out.Response.UID != "u1" {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return out.Response
}

// TestInject catches answers that the API server would not take, and outcomes that are not counted.
func TestInject(t *testing.T) {
	var stats Stats
	var log bytes.Buffer
	h := handler(t, func(c *Config) { c.Stats, c.Logger = &stats, slog.New(slog.NewTextHandler(&log, nil)) })
	r := answer(t, post(h, "/inject", "application/json; charset=utf-8", create("shop", `{"name":"a"}`)))
	if !r.Allowed || *r.PatchType != admissionv1.PatchTypeJSONPatch || len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0], "pavise: pod shop/web-*: ") {
		t.Errorf("%+v", r)
	}
	r = answer(t, post(h, "/inject", "application/json", create("shop", `{"name":"a","securityContext":{"privileged":true}},{"name":"b\u001b[2J\n","ports":[{"containerPort":15001}]}`)))
	if r.Allowed || r.Result.Code != 403 || !strings.HasPrefix(r.Result.Message, `pavise: pod shop/web-*: container "a": privileged: `) || strings.ContainsAny(r.Result.Message+fmt.Sprint(r.Warnings), "\x1b\n") {
		t.Errorf("%+v, %q", r, r.Result.Message)
	}
	r = answer(t, post(h, "/inject", "application/json", create("shop", strings.Repeat(`{"name":"a","ports":[{"containerPort":15001}]},`, 99)+`{"name":"b"}`)))
	if r.Allowed || !strings.HasSuffix(r.Result.Message, "; and 79 more") {
		t.Errorf("%+v", r)
	}
	for _, namespace := range []string{"kube-system", "pavise-system"} {
		if r = answer(t, post(h, "/inject", "application/json", create(namespace, `{"name":"a"}`))); !r.Allowed || r.Patch != nil {
			t.Errorf("%s: %+v", namespace, r)
		}
	}
	var got []string
	for _, c := range stats.Counts() {
		got = append(got, fmt.Sprintf("%s %s %s %d", c.Path, c.Outcome, c.Reason, c.N))
	}
	want := []string{
		"inject injected  1", "inject refused port-taken 100", "inject refused privileged 1",
		"inject skipped own-namespace 1", "inject skipped system-namespace 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if n := strings.Count(log.String(), "\n"); n != 4 {
		t.Errorf("%d lines of log: %s", n, &log)
	}
}

// TestUpdate catches changes of a running pod that are let through, or judged as if it were new.
func TestUpdate(t *testing.T) {
	h := handler(t, nil)
	shielded := `{"metadata":{"name":"web","annotations":{"pavise.dev/status":"{}"}},"spec":{"initContainers":[{"name":"pavise-sidecar","image":"right"}],"containers":[{"name":"a"}]%s}}`
	update := func(sub, before, after string) *admissionv1.AdmissionResponse {
		return answer(t, post(h, "/inject", "application/json", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u1",`+podResource+
			`,"subResource":"`+sub+`","namespace":"shop","name":"web","operation":"UPDATE","object":`+after+`,"oldObject":`+before+`}}`))
	}
	same := fmt.Sprintf(shielded, "")
	if r := update("", same, same); !r.Allowed || r.Patch != nil {
		t.Errorf("no change: %+v", r)
	}
	if r := update("", same, strings.Replace(same, "right", "evil", 1)); r.Allowed || !strings.Contains(r.Result.Message, "pod shop/web: container \"pavise-sidecar\": image") {
		t.Errorf("image: %+v", r)
	}
	eph := fmt.Sprintf(shielded, `,"ephemeralContainers":[{"name":"d","targetContainerName":"pavise-sidecar"}]`)
	if r := update("ephemeralcontainers", same, eph); r.Allowed || !strings.Contains(r.Result.Message, "ephemeral-in-agent") {
		t.Errorf("ephemeral: %+v", r)
	}
}

// TestNoAnswer catches a mistake that is answered as a verdict: failurePolicy could not decide.
func TestNoAnswer(t *testing.T) {
	h := handler(t, nil)
	good := create("shop", `{"name":"a"}`)
	for name, row := range map[string]struct {
		path, kind, body string
		want             int
		text             string
	}{
		"content type":      {"/inject", "text/plain", good, 415, "text/plain"},
		"huge":              {"/inject", "application/json", good + strings.Repeat(" ", maxBody), 413, "8388608 octets"},
		"no JSON":           {"/inject", "application/json", "{", 400, "not an AdmissionReview"},
		"deep":              {"/inject", "application/json", strings.Repeat(`{"a":`, 1<<20), 400, "not an AdmissionReview"},
		"v1beta1":           {"/inject", "application/json", strings.Replace(good, "k8s.io/v1", "k8s.io/v1beta1", 1), 400, "v1beta1"},
		"no request":        {"/inject", "application/json", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, 400, "a request that has a uid"},
		"no uid":            {"/inject", "application/json", strings.Replace(good, "u1", "", 1), 400, "a uid"},
		"not a pod":         {"/inject", "application/json", strings.Replace(good, `"pods"`, `"nodes"`, 1), 400, "nodes"},
		"no object":         {"/inject", "application/json", strings.Replace(good, `"object"`, `"obj"`, 1), 400, "pod shop/"},
		"wrong object":      {"/inject", "application/json", create("shop", "7"), 400, "pod shop/"},
		"deleted":           {"/inject", "application/json", strings.Replace(good, "CREATE", "DELETE", 1), 400, "DELETE"},
		"unknown namespace": {"/inject", "application/json", create("new", `{"name":"a"}`), 500, `namespace "new" is not known here yet`},
		"unreadable":        {"/inject", "application/json", create("lost", `{"name":"a"}`), 500, "the cache is not filled"},
		"nobody judges":     {"/validate", "application/json", strings.Replace(good, `"operation"`, `"name":"nobody","operation"`, 1), 500, "nobody judged it"},
		"no such path":      {"/other", "application/json", good, 404, ""},
	} {
		if w := post(h, row.path, row.kind, row.body); w.Code != row.want || !strings.Contains(w.Body.String(), row.text) {
			t.Errorf("%s: %d, want %d: %.300s", name, w.Code, row.want, w.Body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/inject", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	if _, err := Handler(Config{}); err == nil {
		t.Error("a handler of nothing is made")
	}
}

// TestValidate catches an answer that is not the validator's.
func TestValidate(t *testing.T) {
	h := handler(t, nil)
	for name, want := range map[string]bool{"good": true, "bad": false} {
		if r := answer(t, post(h, "/validate", "application/json", strings.Replace(create("shop", ""), `"operation"`, `"name":"`+name+`","operation"`, 1))); r.Allowed != want {
			t.Errorf("%s: %+v", name, r)
		}
	}
	none := handler(t, func(c *Config) { c.Validator = nil })
	if w := post(none, "/validate", "application/json", create("shop", "")); w.Code != http.StatusNotFound {
		t.Errorf("without one: %d", w.Code)
	}
}

// TestBounded catches more work at once than was allowed, and a caller who left that is waited for.
func TestBounded(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	h := handler(t, func(c *Config) {
		c.Concurrent = 1
		c.Namespace = func(ctx context.Context, name string) (*corev1.Namespace, error) {
			inside <- struct{}{}
			<-leave
			return namespaces(ctx, name)
		}
	})
	first := make(chan int)
	go func() { first <- post(h, "/inject", "application/json", create("shop", `{"name":"a"}`)).Code }()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest(http.MethodPost, "/inject", strings.NewReader("")).WithContext(ctx)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusTooManyRequests {
		t.Errorf("the second: %d", w.Code)
	}
	close(leave)
	if code := <-first; code != http.StatusOK {
		t.Errorf("the first: %d", code)
	}
}

// TestSlowBody catches a caller who keeps the place of others by sending nothing.
func TestSlowBody(t *testing.T) {
	srv := httptest.NewServer(handler(t, nil))
	defer srv.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /inject HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * patience))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "400") {
		t.Errorf("%q, %v", line, err)
	}
}

// FuzzInject catches a panic, an answer that the API server would not take, and a pod that is
// let through without a shield though nothing has a name for it.
func FuzzInject(f *testing.F) {
	f.Add([]byte(create("shop", `{"name":"a","livenessProbe":{"grpc":{"port":1}}}`)))
	f.Add([]byte(create("shop", `{"name":"a","livenessProbe":{"httpGet":{"port":"p","httpHeaders":[{"name":"$(A)","value":"\u0000"}]}},"ports":[{"name":"p","containerPort":70000}]}`)))
	f.Add([]byte(strings.Replace(create("shop", `{"name":"a"},{"name":"a"}`), `"generateName"`, `"annotations":{"pavise.dev/status":"{\"mode\":\"native\"}","pavise.dev/cpu-limit":"1e9999"},"generateName"`, 1)))
	f.Add([]byte(strings.Replace(create("trusted", `{"name":"pavise-sidecar"}`), `"generateName"`, `"labels":{"pavise.dev/inject":"disabled"},"generateName"`, 1)))
	f.Add([]byte(strings.Replace(create("shop", `null`), `"containers"`, `"ephemeralContainers":[null],"initContainers":[{"name":"pavise-redirect"}],"containers"`, 1)))
	f.Add([]byte(strings.Replace(create("shop", `{"name":"a"}`), `"CREATE"`, `"UPDATE","oldObject":{"spec":{}},"subResource":"ephemeralcontainers"`, 1)))
	h := handler(f, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/inject", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			return
		}
		var in, out admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Response == nil || out.Response.UID == "" {
			t.Fatalf("%v: %s", err, w.Body)
		}
		if !out.Response.Allowed && out.Response.Result.Message == "" {
			t.Error("refused, and nobody knows why")
		}
		if err := json.Unmarshal(body, &in); err != nil || in.Request == nil || in.Request.Operation != admissionv1.Create || !out.Response.Allowed {
			return
		}
		if out.Response.AuditAnnotations["skipped"] != "" {
			return
		}
		object := in.Request.Object.Raw
		if out.Response.Patch != nil {
			p, err := jsonpatch.DecodePatch(out.Response.Patch)
			if err != nil {
				t.Fatal(err)
			}
			o := jsonpatch.NewApplyOptions()
			o.EnsurePathExistsOnAdd = true // a real one has metadata and spec
			if object, err = p.ApplyWithOptions(object, o); err != nil {
				t.Fatalf("%v: %s on %s", err, out.Response.Patch, in.Request.Object.Raw)
			}
		}
		var pod corev1.Pod
		if err := json.Unmarshal(object, &pod); err != nil {
			t.Fatal(err)
		}
		if i := pod.Spec.InitContainers; len(i) < 2 || i[0].Name != injector.RedirectContainer || i[1].Name != injector.SidecarContainer || i[1].Image != "pavise/sidecar:1.0" {
			t.Errorf("let through without a shield: %s", object)
		}
	})
}
