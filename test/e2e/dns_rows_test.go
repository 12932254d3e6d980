package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// dnsRows are questions: what is answered, and what the log says, if it says anything. What
// is not answered with an address has to be without one.
var dnsRows = []struct{ name, ask, answer, log string }{
	{"a name", "udp api.example", "NOERROR 203.0.113.10", ""},
	{"over TCP", "tcp tcp.example", "NOERROR 203.0.113.16", ""},
	{"more than fits a packet", "udp many.example", "NOERROR truncated", ""},
	{"and then over TCP", "tcp many.example", "NOERROR 100 addresses", ""},
	{"a name that is not there", "udp nobody.example", "NXDOMAIN", ""},
	{"a name that is listed", "udp bad.example", `NXDOMAIN EDE 15 "feed deny line 4"`, "deny feed:deny [deny 4 name]"},
	{"the same in mixed case", "udp bAd.eXample", `NXDOMAIN EDE 15 "feed deny line 4"`, "deny feed:deny [deny 4 name]"},
	{"a name below it, over TCP", "tcp a.b.bad.example", `NXDOMAIN EDE 15 "feed deny line 4"`, "deny feed:deny [deny 4 name]"},
	{"an alias of a name that is listed", "udp www.cname.example", `NXDOMAIN EDE 15 "feed deny line 4"`, "deny feed:deny [deny 4 name]"},
	{"an address that is listed", "udp poisoned.example", `NXDOMAIN EDE 15 "feed deny line {2|3}"`, "deny feed:deny [deny {2|3} answer]"},
	{"a name that is watched", "udp watched.example", "NOERROR 203.0.113.69", "allow default-allow (alert 3 name)"},
	{"a public name with an address inside", "udp rebind.example", `NXDOMAIN EDE 15 "a private address for a public name"`, "deny private-answer"},
	{"a public name with the address of a cloud's metadata", "udp metadata.example", `NXDOMAIN EDE 15 "a private address for a public name"`, "deny private-answer"},
	{"a browser looks for another resolver", "udp use-application-dns.net", `NXDOMAIN EDE 15 "this network has its own resolver"`, "deny resolver-bypass"},
}

// questions asks what the rows say.
func (s *sidecar) questions(t *testing.T) {
	s.eachFamily(t, func(t *testing.T, f family) {
		for _, r := range dnsRows {
			t.Run(r.name, func(t *testing.T) {
				logged := s.agent.mark()
				network, name, _ := strings.Cut(r.ask, " ")
				m, err := s.ask(network, name, f)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := said(m), strings.NewReplacer("[", "", "]", "").Replace(f.in(r.answer)); got != want {
					t.Errorf("%s: answered %s, want %s", r.ask, got, want)
				}
				if r.log == "" {
					return
				}
				d, err := s.agent.find(logged, func(d *decisions.Record) bool {
					return d.From == decisions.DNS && strings.EqualFold(d.Question.Name, name)
				})
				if err != nil {
					t.Fatal(err)
				}
				if got, want := words(&d), f.in(r.log); got != want || d.Workload != node || d.Direction != policy.Egress || d.Answer != dns.RcodeToString[m.Rcode] {
					t.Errorf("%s: the log says %+v, want %s", r.ask, d, want)
				}
			})
		}
	})
	// What is not asked of the upstream cannot be told to it: a name is a way out by itself.
	s.dns.mu.Lock()
	defer s.dns.mu.Unlock()
	for _, name := range []string{"bad.example.", "a.b.bad.example."} {
		if slices.ContainsFunc(s.dns.asked, func(q string) bool { return strings.Contains(q, " "+name+" ") }) {
			t.Errorf("the upstream was asked for %s: %q", name, s.dns.asked)
		}
	}
	if !slices.ContainsFunc(s.dns.asked, func(q string) bool { return strings.HasPrefix(q, "tcp many.example. ") }) {
		t.Errorf("the upstream was not asked over TCP for what did not fit: %q", s.dns.asked)
	}
}
