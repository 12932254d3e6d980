package page

import (
	"context"
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
	adminpage "pavise.dev/pavise/admin/page"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

const config = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  addresses: [192.0.2.10]
  inbound: [{name: http, port: 8080, upstream: "127.0.0.1:80"}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: no-admin, action: Deny, http: [{paths: [{prefix: /admin}]}]}
    - {name: rest, action: Allow, http: [{paths: [{prefix: /}]}]}
`

type source struct {
	model *policy.Model
	set   *api.Set
	store *flows.Store
}

func (s *source) Current() (*policy.Model, *api.Set) { return s.model, s.set }
func (s *source) Feeds() *filter.Engine              { return nil }
func (s *source) Status() any                        { return map[string]any{"pid": 1} }
func (s *source) Flows() *flows.Store                { return s.store }
func (s *source) Anomalies() *anomaly.Detector       { return nil }

// deny records a denial of a path at a host.
func (s *source) deny(host string) {
	s.store.Add(&decisions.Record{
		Time: time.Now(), From: decisions.Envoy, Workload: "shop/web", Listener: "shop/web/http", Direction: policy.Ingress, Verdict: policy.Denied,
		Reason: "namespace:shop/web#no-admin", Policy: "shop/web", Rule: "no-admin", Source: "203.0.113.9:4000", Destination: "192.0.2.10:8080",
		Method: "GET", Host: host, Path: "/admin/<script>document.title='owned'</script>", Status: 403,
	})
}

func serve(t *testing.T) (*source, string) {
	t.Helper()
	set, problems := api.Parse("shop.yaml", []byte(config))
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	model, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	store, err := flows.New(flows.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := &source{model, set, store}
	s.deny("shop.example")
	srv := httptest.NewServer(adminpage.Handler(s))
	t.Cleanup(srv.CloseClientConnections)
	return s, srv.URL
}

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

// browser starts one, or skips the test where there is none, unless it is wanted.
func browser(t *testing.T) context.Context {
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
	ctx, over := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(over)
	said := &complaints{}
	chromedp.ListenTarget(ctx, func(e any) {
		switch e := e.(type) {
		case *log.EventEntryAdded:
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
	for _, want := range []string{"denied", "no-admin", "shop.yaml:15"} {
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
}

// TestSchemes takes pictures for people to look at into the folder PAVISE_PICTURES, and finds
// a page that is wider than a narrow window, or the same in the dark.
func TestSchemes(t *testing.T) {
	_, at := serve(t)
	ctx := browser(t)
	backs := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		for name, path := range map[string]string{"overview": "/", "workload": "/workload?name=shop/web", "explain": "/explain", "flows": "/flows"} {
			var picture []byte
			var back string
			var wide, window int
			if err := chromedp.Run(ctx,
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.EmulateViewport(400, 800),
				chromedp.Navigate(at+path),
				chromedp.Evaluate(`getComputedStyle(document.documentElement).backgroundColor`, &back),
				chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide),
				chromedp.Evaluate(`window.innerWidth`, &window),
				chromedp.EmulateViewport(1280, 1000),
				chromedp.FullScreenshot(&picture, 100),
			); err != nil {
				t.Fatal(err)
			}
			backs[back] = true
			if wide > window {
				t.Errorf("%s is %d wide in a window of %d", name, wide, window)
			}
			if folder := os.Getenv("PAVISE_PICTURES"); folder != "" {
				if err := os.WriteFile(filepath.Join(folder, name+"-"+scheme+".png"), picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if len(backs) != 2 {
		t.Errorf("backgrounds of both schemes: %v", backs)
	}
}
