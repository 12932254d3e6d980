package xds

import (
	"maps"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
)

// TestRecordedInTheName: what is recorded in a log is read from its name as it was written there.
func TestRecordedInTheName(t *testing.T) {
	some := false
	for seed := range uint64(60) {
		m, _ := policy.Compile(policygen.New(seed).TransparentSet(int(seed) + 1))
		r, err := Translate(m, m.Workloads, Options{Resolver: DefaultResolver, Module: true})
		if err != nil {
			continue // too many groups of Pass rules
		}
		for name, l := range r.deciders {
			want := recordedBy(l.Program)
			of := logNamed(name + want.mark())
			if got := of.recorded; of.listener != name || !maps.Equal(got.headers, want.headers) || !maps.Equal(got.query, want.query) {
				t.Fatalf("seed %d, %s: %+v, want %+v", seed, name, of, want)
			}
			some = some || len(want.headers) > 0 && len(want.query) > 0
		}
	}
	if !some {
		t.Error("no rule asked for anything")
	}
}

// TestRecorded: of headers and parameters what rules ask for, the values only of those that
// are compared and whose names do not speak of secrets.
func TestRecorded(t *testing.T) {
	yes := true
	match := api.RuleMatch{HTTP: []api.HTTPMatch{{
		Headers: []api.ValueMatch{{Name: "X-Role", Exact: "admin"}, {Name: "x-there", Present: &yes}, {Name: "Authorization", Exact: "Bearer canary"}, {Name: "x-api-key", Present: &yes}},
		Query:   []api.ValueMatch{{Name: "v", Exact: "1"}, {Name: "a b", Prefix: "x"}, {Name: "there", Present: &yes}, {Name: "access_token", Regex: "canary"}},
	}}}
	p := &api.AccessPolicy{Spec: api.AccessPolicySpec{Ingress: []api.IngressRule{{Action: api.ActionAllow, RuleMatch: match}}}}
	p.Name, p.Namespace = "p", "n"
	w := &api.Workload{Spec: api.WorkloadSpec{Inbound: []api.Inbound{{Name: "http", Port: 80, Upstream: "127.0.0.1:1"}}}}
	w.Name, w.Namespace = "w", "n"
	set, problems := api.NewSet(w, p)
	m, more := policy.Compile(set)
	if api.HasErrors(append(problems, more...)) {
		t.Fatal(problems, more)
	}
	r := recordedBy(m.Workload("n", "w").Listeners[0].Program)
	got := r.lines(map[string]string{
		":method": "GET", "x-role": "admin,ok", "x-there": "canary", "authorization": "Bearer canary", "x-api-key": "canary", "cookie": "canary", "x-other": "canary",
	})
	if want := "authorization: [redacted]\nx-api-key: [redacted]\nx-role: admin,ok\nx-there: [redacted]"; string(got) != want {
		t.Errorf("headers:\n%s\nwant\n%s", got, want)
	}
	for _, c := range []struct{ query, want string }{
		{"", ""},
		{"x=canary&y", ""},
		{"x=canary&v=1&y=canary", "v=1"},
		{"v=1&v=2", "v=1&v=2"},
		{"%76=1", "%76=1"},
		{"a+b=x&a%20b=xy", "a+b=x&a%20b=xy"},
		{"there=canary&there", "there=[redacted]&there"},
		{"access_token=canary&v", "access_token=[redacted]&v"},
		{"x=canary;v=1;there=canary", "x=[redacted];v=1;there=[redacted]"},
		{"v=1;x", "v=1;x"},
		{"%zz=canary&v=%zz", "v=%zz"},
	} {
		if got := r.parameters(c.query); got != c.want || strings.Contains(got, "canary") {
			t.Errorf("%q: %q, want %q", c.query, got, c.want)
		}
	}
}
