package dns_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	proxydns "pavise.dev/pavise/proxy/dns"
)

func start(t *testing.T, names map[string][]string) func(name string, kind uint16) *dns.Msg {
	t.Helper()
	s := &proxydns.Server{Lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range names[host] {
			addr := netip.MustParseAddr(a)
			if (network == "ip4") == addr.Unmap().Is4() {
				out = append(out, addr)
			}
		}
		if host == "broken.test" {
			return nil, errors.New("no server answered")
		}
		if names[host] == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return out, nil
	}}
	at, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	})
	return func(name string, kind uint16) *dns.Msg {
		q := new(dns.Msg)
		q.SetQuestion(name, kind)
		c := dns.Client{Timeout: 10 * time.Second}
		m, _, err := c.Exchange(q, at.String())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

func TestOneAddressForAName(t *testing.T) {
	ask := start(t, map[string][]string{
		"many.test":   {"127.0.0.1", "169.254.169.254", "::1"},
		"mapped.test": {"::ffff:127.0.0.1"},
		"v4.test":     {"127.0.0.1"},
	})
	for _, c := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string
	}{
		{"many.test.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"many.test.", dns.TypeAAAA, dns.RcodeSuccess, "::1"},
		{"mapped.test.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"mapped.test.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"v4.test.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"v4.test.", dns.TypeTXT, dns.RcodeSuccess, ""},
		{"none.test.", dns.TypeA, dns.RcodeNameError, ""},
		{"broken.test.", dns.TypeA, dns.RcodeServerFailure, ""},
	} {
		m := ask(c.name, c.kind)
		if m.Rcode != c.rcode {
			t.Errorf("%s %s: %s", c.name, dns.TypeToString[c.kind], dns.RcodeToString[m.Rcode])
		}
		got := ""
		for _, rr := range m.Answer {
			switch r := rr.(type) {
			case *dns.A:
				got += r.A.String()
			case *dns.AAAA:
				got += r.AAAA.String()
			}
		}
		if got != c.want {
			t.Errorf("%s %s: answered %q, want %q", c.name, dns.TypeToString[c.kind], got, c.want)
		}
	}
}
