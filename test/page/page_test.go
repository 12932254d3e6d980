package page

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/policy"
)

// isNot is a page that is not there, and isWrong one that is asked for what it cannot answer.
const (
	isNot   = "/no-such-page"
	isWrong = "/flows?port=x"
)

// complaints are what the browser says of pages, such as what the policy of content stopped.
type complaints struct {
	mu  sync.Mutex
	all []string
}

func (c *complaints) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, s)
}

// browser starts one that complains of nothing.
func browser(t *testing.T) context.Context {
	t.Helper()
	ctx := quiet(t)
	said := &complaints{}
	chromedp.ListenTarget(ctx, func(e any) {
		switch e := e.(type) {
		case *log.EventEntryAdded:
			if strings.HasSuffix(e.Entry.URL, isNot) || strings.HasSuffix(e.Entry.URL, isWrong) {
				return // it says that there is no such page, as it should
			}
			said.add(e.Entry.Text)
		case *runtime.EventExceptionThrown:
			said.add(e.ExceptionDetails.Text)
		}
	})
	t.Cleanup(func() {
		said.mu.Lock()
		defer said.mu.Unlock()
		for _, s := range said.all {
			t.Errorf("the browser complains: %s", s)
		}
	})
	if err := chromedp.Run(ctx, log.Enable()); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// quiet starts one, or skips the test where there is none, unless it is wanted.
func quiet(t *testing.T) context.Context {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		if os.Getenv("PAVISE_NEEDS_CHROMIUM") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no chromium")
	}
	alloc, end := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.WindowSize(1280, 1000))...)
	t.Cleanup(end)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	ctx, over := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(over)
	return ctx
}

// TestFromDenialToReason is the way of somebody with a 403: from the overview by a click to why.
func TestFromDenialToReason(t *testing.T) {
	_, at := serve(t)
	ctx := browser(t)
	var title, answer, field string
	if err := chromedp.Run(ctx,
		chromedp.Navigate(at+"/"),
		chromedp.Click(`main table a[href^="/explain?flow="]`, chromedp.ByQuery),
		chromedp.WaitVisible(`#now`, chromedp.ByQuery),
		chromedp.Text(`section[aria-labelledby="now"] .answer`, &answer, chromedp.ByQuery),
		chromedp.Value(`#f-source`, &field, chromedp.ByQuery),
		chromedp.Title(&title),
	); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"denied", "no-admin", "shop.yaml:31"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer has no %q: %s", want, answer)
		}
	}
	if field != "203.0.113.9" || strings.Contains(title, "owned") {
		t.Errorf("source %q, title %q", field, title)
	}
}

// TestKeyboard goes to the content and into the form without a mouse.
func TestKeyboard(t *testing.T) {
	_, at := serve(t)
	ctx := browser(t)
	var first, hash, then string
	if err := chromedp.Run(ctx,
		chromedp.Navigate(at+"/flows"),
		chromedp.KeyEvent(kb.Tab),
		chromedp.Evaluate(`document.activeElement.className`, &first),
		chromedp.KeyEvent(kb.Enter),
		chromedp.Evaluate(`location.hash`, &hash),
		chromedp.KeyEvent(kb.Tab),
		chromedp.Evaluate(`document.activeElement.id`, &then),
	); err != nil {
		t.Fatal(err)
	}
	if first != "skip" || hash != "#main" || then != "f-verdict" {
		t.Errorf("the first is %q, then %q, then %q", first, hash, then)
	}
}

// TestTabs goes through each page by the keyboard alone, to the button of its form. It finds what is
// not reached, and where one cannot see where one is.
func TestTabs(t *testing.T) {
	s, at := serve(t)
	ctx := browser(t)
	for name, path := range views(t, s) {
		var button bool
		if err := chromedp.Run(ctx, chromedp.Navigate(at+path), chromedp.Evaluate(`document.querySelector("main form button") !== null`, &button)); err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			var place struct {
				What            string
				Seen, Skip, End bool
			}
			if err := chromedp.Run(ctx, chromedp.KeyEvent(kb.Tab), chromedp.Evaluate(`(() => {
				const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
				return {
					What: e.outerHTML.slice(0, 100), Skip: e.className === "skip", End: e === document.body || e.matches("main form button"),
					Seen: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 && r.bottom > 0 && r.right > 0,
				};
			})()`, &place)); err != nil {
				t.Fatal(err)
			}
			if i == 0 && !place.Skip {
				t.Errorf("%s: the first place is %s", name, place.What)
			}
			if !place.Seen && place.What != "" && !(place.End && !button) {
				t.Errorf("%s: nothing shows that one is at %s", name, place.What)
			}
			if place.End || !button && i == 20 {
				break
			}
			if i == 300 {
				t.Errorf("%s: the button of the form is not reached", name)
				break
			}
		}
	}
}

// TestManyWorkloads looks at a graph that is a list.
func TestManyWorkloads(t *testing.T) {
	at := listen(t, newSource(t, config+more(60)))
	ctx := browser(t)
	for _, colours := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			var found []string
			if err := chromedp.Run(ctx, scheme(colours), chromedp.EmulateViewport(width, 900), chromedp.Navigate(at+"/graph?namespace=more"),
				chromedp.WaitVisible(`[aria-label="Exceptions"]`, chromedp.ByQuery), chromedp.Evaluate(faults, &found)); err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Errorf("%d wide: %s", width, f)
			}
			picture(ctx, t, fmt.Sprintf("graph-many-%s-%d", colours, width))
		}
	}
}

// TestLive finds rows that do not show before the page ends, which it does not.
func TestLive(t *testing.T) {
	s, at := serve(t)
	ctx := browser(t)
	// The page never ends, so that going there is not waited for.
	if err := chromedp.Run(ctx, chromedp.Navigate(at+"/"), chromedp.Evaluate(`void(location.href="/follow?verdict=deny")`, nil),
		chromedp.WaitReady(`[role="log"] table`, chromedp.ByQuery)); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"one.example", "two.example"} {
		s.deny(host)
		if err := chromedp.Run(ctx, chromedp.Poll(`document.querySelector('[role="log"]').innerText.includes("`+host+`")`, nil)); err != nil {
			t.Fatalf("%s is not shown: %v", host, err)
		}
	}
	for _, width := range []int64{1280, 390} {
		var found []string
		if err := chromedp.Run(ctx, chromedp.EmulateViewport(width, 900), chromedp.Evaluate(faults, &found)); err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			t.Errorf("%d wide: %s", width, f)
		}
		picture(ctx, t, fmt.Sprintf("live-light-%d", width))
	}
}

// views are all pages, by the name of their picture.
func views(t *testing.T, s *source) map[string]string {
	t.Helper()
	flow := func(f flows.Filter) string {
		page, err := s.store.Query(f, flows.Cursor{}, 1)
		if err != nil || len(page.Flows) == 0 {
			t.Fatalf("there is no flow like %+v: %v", f, err)
		}
		return page.Flows[0].ID
	}
	alerts, err := s.detector.Alerts(anomaly.Filter{}, "", 1)
	if err != nil || len(alerts.Alerts) == 0 {
		t.Fatalf("there is no alert: %v", err)
	}
	return map[string]string{
		"overview": "/", "workloads": "/workloads", "workload": "/workload?name=shop/web", "graph": "/graph", "graph-workload": "/graph?workload=shop/web",
		"explain": "/explain", "explain-denied": "/explain?flow=" + flow(flows.Filter{Verdict: policy.Denied, Direction: policy.Ingress}),
		"explain-dns": "/explain?flow=" + flow(flows.Filter{Feed: "malware-domains"}), "explain-tcp": "/explain?flow=" + flow(flows.Filter{Name: "api.example"}),
		"flows": "/flows", "flows-wrong": isWrong, "anomalies": "/anomalies", "anomaly": "/anomaly?id=" + alerts.Alerts[0].ID,
		"suggest": "/suggest?workload=shop/web", "simulate": "/simulate?removed=AccessPolicy+shop/web", "feeds": "/feeds", "feed": "/feed?name=malware-domains",
		"lookup": "/lookup?what=x.bad.example", "sidecars": "/sidecars", "nothing": isNot,
	}
}

// picture takes one of the page that is shown, into the folder PAVISE_PICTURES if it is given,
// for people to look at.
func picture(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	folder := os.Getenv("PAVISE_PICTURES")
	if folder == "" {
		return
	}
	var data []byte
	if err := chromedp.Run(ctx, chromedp.FullScreenshot(&data, 100)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// scheme is what the user prefers.
func scheme(name string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}})
}

// faults is what a page has wrong, as a browser sees it: headings of the first level, what is entered
// without a label, what is wider than the window, and text or a target that is too small.
const faults = `(() => {
	const found = [];
	const heads = document.querySelectorAll("h1").length;
	if (heads !== 1) found.push(heads + " headings of the first level");
	for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
		if (!e.labels.length || !e.labels[0].textContent.trim()) found.push("no label: " + e.name);
	for (const e of document.querySelectorAll("table"))
		if (!e.caption || !e.caption.innerText.trim()) found.push("a table has no caption");
	for (const e of document.querySelectorAll("th"))
		if (!e.scope) found.push("no scope: " + e.innerText);
	if (document.querySelectorAll("nav [aria-current=page]").length > 1) found.push("two places at a time");
	if (document.documentElement.scrollWidth > innerWidth) {
		const wide = [...document.querySelectorAll("main *, header *")].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest(".scroll, pre, svg"));
		found.push("it is " + document.documentElement.scrollWidth + " wide in a window of " + innerWidth + ": " + wide.slice(0, 3).map(e => e.outerHTML.slice(0, 80)));
	}
	for (const e of document.querySelectorAll("main *, header *"))
		if (e.children.length === 0 && e.innerText && parseFloat(getComputedStyle(e).fontSize) < 12) found.push("too small: " + e.outerHTML.slice(0, 80));
	for (const e of document.querySelectorAll(".scroll, pre"))
		if (e.scrollWidth > e.clientWidth && e.tabIndex !== 0) found.push("what is cut off cannot be scrolled by keys: " + e.className);
	return found;
})()`

// TestEveryPage looks at every page, wide and narrow, in the light and the dark.
func TestEveryPage(t *testing.T) {
	s, at := serve(t)
	ctx := browser(t)
	backs := map[string]bool{}
	all := views(t, s)
	for _, colours := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			for name, path := range all {
				var back string
				var found []string
				if err := chromedp.Run(ctx, scheme(colours), chromedp.EmulateViewport(width, 900), chromedp.Navigate(at+path),
					chromedp.Evaluate(`getComputedStyle(document.documentElement).backgroundColor`, &back), chromedp.Evaluate(faults, &found)); err != nil {
					t.Fatal(err)
				}
				backs[back] = true
				for _, f := range found {
					t.Errorf("%s, %d wide: %s", name, width, f)
				}
				picture(ctx, t, fmt.Sprintf("%s-%s-%d", name, colours, width))
			}
		}
	}
	if len(backs) != 2 {
		t.Errorf("backgrounds of both schemes: %v", backs)
	}
}

// TestTryASuggestion is the way from what was seen to a policy and what it would have changed. It
// finds a form that the checks of the endpoint refuse, as they refuse those of other sites.
func TestTryASuggestion(t *testing.T) {
	_, at := serve(t)
	ctx := browser(t)
	var answer, objects string
	if err := chromedp.Run(ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(at+"/workload?name=shop/web"),
		chromedp.Click(`main a[href^="/suggest"]`, chromedp.ByQuery),
		chromedp.Click(`form[action="/simulate"] button`, chromedp.ByQuery),
		chromedp.WaitVisible(`#result`, chromedp.ByQuery),
		chromedp.Text(`section[aria-labelledby="result"]`, &answer, chromedp.ByQuery),
		chromedp.Value(`#f-objects`, &objects, chromedp.ByQuery),
	); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer, "none would be decided otherwise") || !strings.Contains(objects, "kind: AccessPolicy") {
		t.Errorf("the answer is %s\nto %s", answer, objects)
	}
	picture(ctx, t, "simulate-nothing-light-1280")
	// A proposal that takes away what is used.
	const worse = `apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: some, action: Allow, http: [{methods: [GET], paths: [{prefix: /cart}], headers: [{name: x, exact: y}]}]}
`
	var flow string
	if err := chromedp.Run(ctx, chromedp.SetValue(`#f-objects`, worse, chromedp.ByQuery), chromedp.Click(`form[action="/simulate"] button`, chromedp.ByQuery),
		chromedp.WaitVisible(`main .answer.is-deny`, chromedp.ByQuery)); err != nil {
		t.Fatal(err)
	}
	for _, colours := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			var found []string
			if err := chromedp.Run(ctx, scheme(colours), chromedp.EmulateViewport(width, 900), chromedp.Evaluate(faults, &found)); err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Errorf("%d wide: %s", width, f)
			}
			picture(ctx, t, fmt.Sprintf("simulate-denied-%s-%d", colours, width))
		}
	}
	if err := chromedp.Run(ctx, chromedp.EmulateViewport(1280, 900), chromedp.Click(`section a[href^="/explain?flow="]`, chromedp.ByQuery),
		chromedp.WaitVisible(`#was`, chromedp.ByQuery), chromedp.Location(&flow)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(flow, "/explain?flow=") {
		t.Errorf("it leads to %s", flow)
	}
}

// TestForeignForm finds a form of another site that is answered.
func TestForeignForm(t *testing.T) {
	_, at := serve(t)
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><link rel="icon" href="data:,"><form method="post" action="%s/simulate"><input name="removed" value="x"><button>Win</button></form>`, at)
	}))
	defer foreign.Close()
	ctx := quiet(t)
	var body string
	if err := chromedp.Run(ctx, chromedp.Navigate(foreign.URL), chromedp.Click(`button`, chromedp.ByQuery),
		chromedp.WaitNotPresent(`button`, chromedp.ByQuery), chromedp.Text(`body`, &body, chromedp.ByQuery)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(body, "elsewhere") {
		t.Errorf("the answer is %s", body)
	}
}
