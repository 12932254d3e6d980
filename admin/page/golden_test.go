package page

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/policy"
)

// ids differ from process to process.
var ids = regexp.MustCompile(`((?:flow|id|cursor)=)[0-9a-f]{8,}`)

// views are pages by the name of their golden file.
func views(t testing.TB, l *lab) map[string]string {
	return map[string]string{
		"overview":           "/",
		"workloads":          "/workloads",
		"workload":           "/workload?name=shop%2Fweb",
		"explain":            "/explain",
		"explain-allowed":    "/explain?workload=shop/till&url=http://till.example/",
		"explain-denied":     "/explain?workload=shop/web&listener=http&url=http://shop.example:8080/admin/%3Cscript%3E&source=192.0.2.1&headers=x-role:+staff",
		"explain-default":    "/explain?workload=shop/web&listener=http&url=http://shop.example:8080/cart&source=203.0.113.9",
		"explain-feed":       "/explain?workload=shop/web&egress=true&listener=outbound&url=http://bad.example/&destination=203.0.113.80:80",
		"explain-wrong":      "/explain?workload=shop/nobody&url=http://x/&source=%3Cscript%3E",
		"explain-flow":       "/explain?flow=" + l.flowID(t, flows.Filter{Verdict: policy.Denied, Text: "{enc}"}),
		"explain-request":    "/explain?id=request-0",
		"explain-dns":        "/explain?flow=" + l.flowID(t, flows.Filter{Feed: "bad"}),
		"explain-tcp":        "/explain?flow=" + l.flowID(t, flows.Filter{Direction: policy.Egress, Peer: "203.0.113.80"}),
		"explain-link":       "/explain?workload=shop/till&source=shop/web",
		"graph":              "/graph",
		"graph-workload":     "/graph?workload=shop/web",
		"suggest":            "/suggest",
		"suggest-web":        "/suggest?workload=shop/web",
		"simulate":           "/simulate",
		"simulate-link":      "/simulate?removed=AccessPolicy+shop/web&workload=shop/web",
		"flows":              "/flows",
		"flows-page":         "/flows?limit=2",
		"flows-wrong":        "/flows?verdict=denied&port=%3Cscript%3E",
		"anomalies":          "/anomalies",
		"anomaly":            "/anomaly?id=" + l.alertID(t),
		"feeds":              "/feeds",
		"feed":               "/feed?name=bad",
		"feed-odd":           "/feed?name=odd%3Cscript%3Ealert(%22x%22)%3C/script%3E",
		"lookup":             "/lookup",
		"lookup-hit":         "/lookup?what=x.bad.example",
		"lookup-none":        "/lookup?what=192.0.2.1",
		"lookup-wrong":       "/lookup?what=%3Cscript%3E",
		"sidecars":           "/sidecars",
		"nothing":            "/" + "no-such-page",
		"workload-not-there": "/workload?name=shop/nobody",
		// What is sent by POST has its form after the path.
		"simulate-change":  "POST /simulate?" + url.Values{"objects": {proposed}, "enforce": {"true"}, "presume": {"true"}}.Encode(),
		"simulate-nothing": "POST /simulate?" + url.Values{"removed": {"AccessPolicy shop/web-next"}}.Encode(),
		"simulate-refused": "POST /simulate?" + url.Values{"objects": {"kind: <script>"}}.Encode(),
		"simulate-wrong":   "POST /simulate?" + url.Values{"removed": {"AccessPolicy shop/<script>"}, "since": {"x"}}.Encode(),
		"simulate-gone":    "POST /simulate?" + url.Values{"removed": {"AccessPolicy shop/nobody"}}.Encode(),
	}
}

// proposed denies what was allowed, and allows what was denied.
const proposed = `apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: admin, action: Allow, http: [{paths: [{prefix: /admin}]}]}
  egress:
    - {name: none, action: Deny, to: [{cidrs: [0.0.0.0/0]}]}
`

// ask asks for a view.
func ask(h http.Handler, target string) *httptest.ResponseRecorder {
	rest, ok := strings.CutPrefix(target, "POST ")
	if !ok {
		return get(h, target)
	}
	path, form, _ := strings.Cut(rest, "?")
	v, err := url.ParseQuery(form)
	if err != nil {
		panic(err) // the table is wrong
	}
	return send(h, path, v)
}

// TestGolden finds any change of a page, by people who read the difference.
func TestGolden(t *testing.T) {
	seen := map[string]bool{}
	for name := range views(t, newLab(t)) {
		seen[name+".html"] = true
		t.Run(name, func(t *testing.T) {
			l := newLab(t) // what is asked counts hits of feeds
			target := views(t, l)[name]
			got := ids.ReplaceAllString(ask(l.handler(), target).Body.String(), "${1}ID")
			path := filepath.Join("testdata", name+".html")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is not %s any more; -update writes it\n%s", target, path, difference(string(want), got))
			}
		})
	}
	files, err := filepath.Glob("testdata/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if seen[filepath.Base(f)] {
			continue
		}
		if !*update {
			t.Errorf("%s is of no page any more; -update removes it", f)
		} else if err := os.Remove(f); err != nil {
			t.Error(err)
		}
	}
}

// difference is the first line that differs.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			before := ""
			if i < len(w) {
				before = w[i]
			}
			return "- " + before + "\n+ " + g[i]
		}
	}
	return "it is shorter"
}
