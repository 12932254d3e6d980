package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// TestNothingMovesTheCursor: CVE-2024-45808 and the like. What a stranger sent, as a server name
// say, is shown as text, whichever command shows it.
func TestNothingMovesTheCursor(t *testing.T) {
	const hostile = "a\x1b[2J\x1b]0;owned\x07\r\n\u202e\u009b\xff"
	r := decisions.Record{
		Workload: "shop/web", Listener: "shop/web/tls", Verdict: policy.Denied, Reason: "malformed-host", ServerName: hostile, Host: hostile, Path: hostile,
		Method: "GET" + hostile, Source: hostile, Destination: hostile, RequestID: hostile,
	}
	f := flows.Flow{Key: flows.Key{Workload: "shop/web", Name: hostile, Path: hostile, Method: hostile, Peer: hostile, Reason: hostile}, Example: r}
	e := &admin.Explanation{Words: hostile, Decision: policy.Decision{Trace: []policy.Step{{Why: hostile}}}, Feed: &admin.FeedHit{Entry: hostile}}
	for what, show := range map[string]func(*bytes.Buffer) error{
		"flows":          func(b *bytes.Buffer) error { return printFlows(b, []flows.Flow{f}, false, "15:04") },
		"flows as JSON":  func(b *bytes.Buffer) error { return writeJSON(b, []flows.Flow{f}) },
		"follow":         func(b *bytes.Buffer) error { return printEvent(b, flows.Event{Flow: f}, "text") },
		"follow as JSON": func(b *bytes.Buffer) error { return printEvent(b, flows.Event{Flow: f}, "json") },
		"anomalies": func(b *bytes.Buffer) error {
			return printAnomalies(b, &anomaly.Page{Alerts: []anomaly.Alert{{Workload: hostile, Why: hostile, Command: hostile, Evidence: []anomaly.Evidence{{What: hostile}}}}})
		},
		"explain": func(b *bytes.Buffer) error { return printExplanation(b, "text", e, true) },
		"explain --id": func(b *bytes.Buffer) error {
			return (&recalled{Flow: &f, Unexplained: hostile}).print(b, "other", "text", true)
		},
	} {
		var b bytes.Buffer
		if err := show(&b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if !strings.Contains(b.String(), "owned") {
			t.Errorf("%s shows nothing of it: %s", what, b.String())
		}
		for _, c := range b.String() {
			if !unicode.IsPrint(c) && c != '\n' {
				t.Errorf("%s has %U in %q", what, c, b.String())
				break
			}
		}
	}
}
