package policy

import (
	"net"
	"net/netip"
	"testing"

	"github.com/yl2chen/cidranger"
	"pgregory.net/rapid"
)

func TestCanonicalHost(t *testing.T) {
	for _, c := range []struct {
		in, host string
		port     int
		ok       bool
	}{
		{"Secret.COM:8080", "secret.com", 8080, true},
		{"secret.com.", "secret.com", NoPort, true},
		{"secret.com.:80", "secret.com", 80, true},
		{"under_score.test", "under_score.test", NoPort, true},
		{"127.0.0.1:80", "127.0.0.1", 80, true},
		{"[::1]:443", "[::1]", 443, true},
		{"[::1]", "[::1]", NoPort, true},
		{"1.example", "1.example", NoPort, true},
		{"0x.example", "0x.example", NoPort, true},
		{"3com", "3com", NoPort, true},
		{"secret.com:", "", 0, false},
		{"secret.com:0", "secret.com", 0, true},
		{"[::ffff:127.0.0.1]", "", 0, false},
		{"[::ffff:7f00:1]:80", "", 0, false},
		{"[0:0:0:0:0:ffff:7f00:1]", "", 0, false},
		{"[::1:ffff:0:1]", "[::1:ffff:0:1]", NoPort, true},
		{"secret.com:99999", "", 0, false},
		{"user@secret.com", "", 0, false},
		{"a.com,secret.com", "", 0, false},
		{"a..com", "", 0, false},
		{"", "", 0, false},
		{"127.1", "", 0, false},
		{"0x7f.1", "", 0, false},
		{"0x7f000001", "", 0, false},
		{"0177.0.0.1", "", 0, false},
		{"2130706433", "", 0, false},
		{"a.0x1", "", 0, false},
		{"a.1", "", 0, false},
		{"b\u00fccher.test", "", 0, false},
		{"-", "", 0, false},
	} {
		host, port, ok := CanonicalHost(c.in)
		if ok != c.ok || ok && (host != c.host || port != c.port) {
			t.Errorf("%q: %q %d %v, want %q %d %v", c.in, host, port, ok, c.host, c.port, c.ok)
		}
	}
}

func TestDomains(t *testing.T) {
	idn, err := ParseDomain("B\u00fccher.Test")
	if err != nil || idn.Name != "xn--bcher-kva.test" {
		t.Errorf("an IDN became %q, %v", idn, err)
	}
	wild, err := ParseDomain("*.Example.com")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"a.example.com": true, "b.a.example.com": true, "example.com": false, "xexample.com": false, ".example.com": false} {
		if wild.Match(host) != want {
			t.Errorf("%s matches %q: %v", wild, host, !want)
		}
	}
}

// TestAddrSetAgreesWithOracle compares membership with cidranger over random sets with
// exceptions, asked at the edges of their ranges.
func TestAddrSetAgreesWithOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, except := drawPrefixes(t, "in"), drawPrefixes(t, "except")
		set := newAddrSet(in, except)
		yes, no := oracle(t, in), oracle(t, except)
		for _, p := range append(in, except...) {
			for _, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), lastOf(p), lastOf(p).Next()} {
				if !a.IsValid() {
					continue
				}
				want := has(t, yes, a) && !has(t, no, a)
				if set.Contains(a) != want {
					t.Fatalf("%s in %v except %v: %v, the oracle says %v", a, in, except, !want, want)
				}
			}
		}
	})
}

func drawPrefixes(t *rapid.T, label string) []netip.Prefix {
	n := rapid.IntRange(0, 6).Draw(t, label)
	out := make([]netip.Prefix, n)
	for i := range out {
		if rapid.Bool().Draw(t, "v4") {
			b := rapid.SliceOfN(rapid.ByteRange(0, 3), 4, 4).Draw(t, "addr")
			out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte(b)), rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
		} else {
			b := rapid.SliceOfN(rapid.ByteRange(0, 3), 16, 16).Draw(t, "addr")
			out[i] = netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), rapid.IntRange(0, 128).Draw(t, "bits")).Masked()
		}
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func oracle(t *rapid.T, ps []netip.Prefix) cidranger.Ranger {
	r := cidranger.NewPCTrieRanger()
	for _, p := range ps {
		_, n, err := net.ParseCIDR(p.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Insert(cidranger.NewBasicRangerEntry(*n)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func has(t *rapid.T, r cidranger.Ranger, a netip.Addr) bool {
	ok, err := r.Contains(a.AsSlice())
	if err != nil {
		t.Fatal(err)
	}
	return ok
}
