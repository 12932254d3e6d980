package page

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"pavise.dev/pavise/admin"
)

// hostile are values that parameters may have.
var hostile = []string{
	"", script, turned, escapes, long, "\"><img src=x onerror=alert(1)>", "' onfocus='alert(1)", "javascript:alert(1)", "{{.}}", "*", "-1", "0", "1",
	"99999999999999999999", "../../etc/passwd", "%00", "shop/web", "10m", "true", "deny", "a;b=c", strings.Repeat("x", 20000),
}

// parameters are the names that any page knows, and one that none does.
var parameters = []string{
	"name", "flow", "id", "step", "from", "text", "in", "out", "usual", "listener", "policy", "notice", "problem", "workload", "method", "url", "headers",
	"source", "destination", "servername", "names", "egress", "verdict", "direction", "namespace", "peer", "port", "reason", "feed", "since", "until",
	"audit", "cursor", "limit", "kind", "severity", "added", "removed", "what", "state", "objects", "enforce", "presume", "minCount", "serviceAccounts",
	"edge", "change", "nobody-knows",
}

// paths are those of all pages, but for the one that does not end.
func paths(h http.Handler) []string {
	var out []string
	for path := range (&site{}).pages() {
		if path != "/follow" {
			out = append(out, strings.TrimSuffix(path, "{$}"))
		}
	}
	slices.Sort(out)
	return out
}

// request asks as a browser does that was given any text as a query.
func request(h http.Handler, method, path, query string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", http.NoBody)
	r.URL = &url.URL{Path: path, RawQuery: query}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// sound finds what no answer may be.
func sound(t testing.TB, what string, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 {
		t.Errorf("%s: status %d: %s", what, w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": policyOfContent, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store",
		"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %s is %q", what, name, got)
		}
	}
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		return
	}
	body := w.Body.String()
	for _, bad := range []string{"<script", "<img src=x", " onfocus='", "javascript:"} {
		if i := strings.Index(body, bad); i >= 0 && (bad != "javascript:" || strings.Contains(body, `href="`+bad)) {
			t.Errorf("%s: there is %s: …%s", what, bad, body[max(0, i-80):min(len(body), i+80)])
		}
	}
	inspect(t, what, body)
}

// inspect reads a page as a browser or a screen reader does.
func inspect(t testing.TB, what, body string) *html.Node {
	t.Helper()
	balanced(t, what, body)
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	heads, ids, labels, mains := 0, map[string]bool{}, map[string]bool{}, 0
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			for _, r := range n.Data {
				if n.Parent.DataAtom != atom.Textarea && r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)) {
					t.Errorf("%s: %q has %U in it", what, n.Data, r)
					break
				}
			}
		}
		if n.Type != html.ElementNode {
			continue
		}
		if id := attr(n, "id"); id != "" {
			if ids[id] && id != "f-id" {
				t.Errorf("%s: there are two of id %s", what, id)
			}
			ids[id] = true
		}
		switch n.DataAtom {
		case atom.H1:
			heads++
		case atom.Main:
			mains++
		case atom.Label:
			labels[attr(n, "for")] = true
		case atom.Html:
			if attr(n, "lang") != "en" {
				t.Errorf("%s: no language", what)
			}
		}
	}
	if heads != 1 || mains != 1 {
		t.Errorf("%s: %d headings of the first level and %d main parts", what, heads, mains)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, name := range []string{"aria-describedby", "aria-labelledby", "list"} {
			for id := range strings.FieldsSeq(attr(n, name)) {
				if !ids[id] {
					t.Errorf("%s: %s of %s leads to no %s", what, name, n.Data, id)
				}
			}
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("%s: %s has the attribute %s, which the policy of content forbids", what, n.Data, a.Key)
			}
		}
		switch n.DataAtom {
		case atom.Input, atom.Select, atom.Textarea:
			if attr(n, "type") != "hidden" && !labels[attr(n, "id")] {
				t.Errorf("%s: field %s has no label", what, attr(n, "name"))
			}
		case atom.Th:
			if attr(n, "scope") == "" {
				t.Errorf("%s: a heading of a table says not of what", what)
			}
		case atom.Table:
			if first := n.FirstChild; first == nil || next(first).DataAtom != atom.Caption {
				t.Errorf("%s: a table has no caption", what)
			}
		case atom.Img, atom.Svg:
			if n.DataAtom == atom.Svg && attr(n, "aria-label") == "" {
				t.Errorf("%s: a drawing says nothing", what)
			}
		case atom.Form:
			_, posts := (&site{}).posts()[attr(n, "action")]
			if want := map[bool]string{false: "get", true: "post"}[posts]; attr(n, "method") != want {
				t.Errorf("%s: a form is sent to %s by %s", what, attr(n, "action"), attr(n, "method"))
			}
		case atom.A, atom.Link:
			href := attr(n, "href")
			if to, _ := strings.CutPrefix(href, "#"); to != href && !ids[to] {
				t.Errorf("%s: a link leads to no #%s", what, to)
			} else if to == href && (!strings.HasPrefix(href, "/") || strings.HasPrefix(href, "//")) {
				t.Errorf("%s: a link leads to %q, which is elsewhere", what, href)
			}
		case atom.Script, atom.Iframe, atom.Object, atom.Base, atom.Style:
			t.Errorf("%s: there is a %s", what, n.Data)
		}
	}
	return doc
}

// next is the first element from n on.
func next(n *html.Node) *html.Node {
	for n.Type != html.ElementNode && n.NextSibling != nil {
		n = n.NextSibling
	}
	return n
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// void elements have no end.
var void = []string{"meta", "link", "img", "input", "br"}

// balanced finds elements that are not closed, or closed in another order.
func balanced(t testing.TB, what, body string) {
	t.Helper()
	var open []string
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("%s: not closed: %v", what, open)
			}
			return
		case html.StartTagToken:
			name, _ := z.TagName()
			if !slices.Contains(void, string(name)) {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Errorf("%s: </%s> closes %v", what, name, open)
				return
			}
			open = open[:len(open)-1]
		}
	}
}

// TestHostileParameters gives every page every parameter with every hostile value. It finds an
// unescaped value, a page that is broken by one, and a parameter without a bound.
func TestHostileParameters(t *testing.T) {
	l := newLab(t)
	for i, h := range []http.Handler{l.handler(), Handler(bare{})} {
		hostile := hostile
		if i == 1 {
			hostile = hostile[:6] // nothing is looked up in what is not there
		}
		for _, path := range paths(h) {
			sound(t, path, request(h, http.MethodGet, path, ""))
			for _, name := range parameters {
				values := hostile
				if strings.Contains(request(h, http.MethodGet, path, name+"=").Body.String(), "there is no such parameter") {
					values = hostile[:2] // they are all the same to it
				}
				for _, value := range values {
					query := url.Values{name: {value}}.Encode()
					w := request(h, http.MethodGet, path, query)
					sound(t, fmt.Sprintf("%s?%.80s", path, query), w)
					if w.Body.Len() > 256<<10 {
						t.Errorf("%s?%.80s: %d octets", path, query, w.Body.Len())
					}
					if t.Failed() {
						return
					}
				}
				sound(t, path+" twice", request(h, http.MethodGet, path, name+"=1&"+name+"=2"))
			}
			for _, query := range []string{"%zz", "a;b", "=&=&=", strings.Repeat("a&", 10000), strings.Repeat("x", mostQuery+1)} {
				sound(t, path+" malformed", request(h, http.MethodGet, path, query))
			}
		}
	}
}

// TestErrorsAreBesideTheirFields finds a field of which nobody says what is wrong with it.
func TestErrorsAreBesideTheirFields(t *testing.T) {
	h := newLab(t).handler()
	for target, field := range map[string]string{
		"/flows?verdict=denied": "verdict", "/flows?port=x": "port", "/flows?since=yesterday": "since", "/flows?text=" + strings.Repeat("x", 65): "text",
		"/follow?direction=up":                          "direction",
		"/anomalies?kind=odd":                           "kind",
		"/anomalies?since=x":                            "since",
		"/lookup?what=%3C":                              "what",
		"/sidecars?state=odd":                           "state",
		"/explain?workload=nobody&url=x":                "workload",
		"/explain?workload=shop/web&url=http://x/":      "listener",
		"/explain?workload=shop/till&url=x&source=me":   "source",
		"/explain?workload=shop/till&url=x&headers=odd": "headers",
		"/explain?egress=perhaps":                       "egress",
		"/explain?id=nobody":                            "id",
		"/suggest?since=x":                              "since",
		"/suggest?minCount=x":                           "minCount",
		"/graph?workload=shop/nobody":                   "workload",
		"/simulate?enforce=perhaps":                     "enforce",
	} {
		w := get(h, target)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", target, w.Code)
		}
		sound(t, target, w)
		if body := w.Body.String(); !strings.Contains(body, `id="e-`+field+`"`) || !strings.Contains(body, `href="#f-`+field+`"`) {
			t.Errorf("%s: nothing is said beside %s", target, field)
		}
	}
}

// TestOnlyReads finds a route that takes anything but GET and HEAD.
func TestOnlyReads(t *testing.T) {
	h := newLab(t).handler()
	for _, path := range append(paths(h), "/follow", "/style.css", "/none") {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "ODD"} {
			w := request(h, method, path, "")
			if _, ok := (&site{}).posts()[path]; ok && method == http.MethodPost {
				continue // TestPost has it
			}
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
				t.Errorf("%s %s: status %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
			sound(t, method+" "+path, w)
		}
		if w := request(h, http.MethodHead, path, ""); w.Code >= 500 {
			t.Errorf("HEAD %s: status %d", path, w.Code)
		}
	}
}

// TestLinksResolve follows every link from the overview, to the last page of every list. It
// finds links to nowhere, and parameters that are lost or doubled on the way.
func TestLinksResolve(t *testing.T) {
	l := newLab(t)
	for i := range 130 {
		l.carriers = append(l.carriers, admin.Sidecar{Node: fmt.Sprintf("shop/pod-%03d", i), State: "away"})
		l.changes[1].AddedEntries = append(l.changes[1].AddedEntries, fmt.Sprintf("n%d.example", i))
	}
	h := l.handler()
	queue, seen, pages := []string{"/"}, map[string]bool{"/": true}, 0
	for len(queue) > 0 && pages < 2000 {
		target := queue[0]
		queue = queue[1:]
		pages++
		u, err := url.Parse(target)
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		if u.Path == "/follow" {
			continue // it does not end
		}
		w := request(h, http.MethodGet, u.Path, u.RawQuery)
		// A baseline may be known of what has no other page, but nothing links to what is not there.
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d", target, w.Code)
		}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			continue
		}
		sound(t, target, w)
		doc, err := html.Parse(bytes.NewReader(w.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			for _, name := range []string{"href", "src", "action"} {
				if to := attr(n, name); strings.HasPrefix(to, "/") && !seen[to] {
					seen[to] = true
					queue = append(queue, to)
				}
			}
		}
	}
	t.Logf("%d pages", pages)
	for _, want := range []string{"/sidecars?from=100", "/feed?added=100&name=bad", "/anomalies", "/style.css", "/icon.svg"} {
		if !seen[want] {
			t.Errorf("nothing leads to %s", want)
		}
	}
}

// send sends a form as a browser does, with one header more if it is given.
func send(h http.Handler, path string, v url.Values, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestPost goes through everything that is sent by POST. It finds one that another site can have
// a browser send, and one that takes what it has no bound for.
func TestPost(t *testing.T) {
	h := newLab(t).handler()
	for path := range (&site{}).posts() {
		for name, c := range map[string]struct {
			header []string
			status int
		}{
			"this site":          {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"}, http.StatusBadRequest},
			"old browser":        {[]string{"Origin", "http://example.com"}, http.StatusBadRequest},
			"another site":       {[]string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
			"same site":          {[]string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
			"another origin":     {[]string{"Origin", "http://evil.example"}, http.StatusForbidden},
			"origin of a frame":  {[]string{"Origin", "null"}, http.StatusForbidden},
			"text as of a form":  {[]string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType},
			"no type":            {[]string{"Content-Type", ""}, http.StatusUnsupportedMediaType},
			"in several parts":   {[]string{"Content-Type", "multipart/form-data; boundary=x"}, http.StatusUnsupportedMediaType},
			"nothing was filled": {nil, http.StatusBadRequest},
		} {
			w := send(h, path, url.Values{}, c.header...)
			if w.Code != c.status {
				t.Errorf("%s: %s: status %d, not %d", path, name, w.Code, c.status)
			}
			sound(t, path+" "+name, w)
		}
		if w := send(h, path, url.Values{"objects": {strings.Repeat("#", mostBody)}}); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: too much: status %d", path, w.Code)
		}
		if w := send(h, path+"?enforce=true", url.Values{"removed": {"x"}}); w.Code != http.StatusBadRequest {
			t.Errorf("%s: with a query: status %d", path, w.Code)
		}
		for _, name := range parameters {
			for _, value := range hostile {
				w := send(h, path, url.Values{name: {value}, "workload": {"shop/web"}})
				sound(t, fmt.Sprintf("%s %s=%.80s", path, name, value), w)
				if t.Failed() {
					return
				}
			}
		}
	}
}

// FuzzSimulate finds a proposal that breaks the page.
func FuzzSimulate(f *testing.F) {
	h := newLab(f).handler()
	for _, value := range hostile {
		f.Add(value, value)
	}
	f.Add(proposed, "AccessPolicy shop/web-next")
	f.Fuzz(func(t *testing.T, objects, removed string) {
		sound(t, "simulate", send(h, "/simulate", url.Values{"objects": {objects}, "removed": {removed}}))
	})
}

// FuzzPages finds a query that breaks a page or comes back unescaped.
func FuzzPages(f *testing.F) {
	l := newLab(f)
	h := l.handler()
	all := paths(h)
	for i, value := range hostile {
		f.Add(uint8(i), url.Values{parameters[i%len(parameters)]: {value}}.Encode())
	}
	for _, target := range views(f, l) {
		if strings.HasPrefix(target, "POST ") {
			continue // of FuzzSimulate
		}
		u, err := url.Parse(target)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(max(0, slices.Index(all, u.Path))), u.RawQuery)
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		sound(t, all[int(which)%len(all)]+"?"+query, request(h, http.MethodGet, all[int(which)%len(all)], query))
	})
}
