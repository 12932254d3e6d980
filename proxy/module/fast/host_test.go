//go:build cgo

package fast

import (
	"net/netip"
	"strings"
	"testing"
)

// TestHost has the ways in which a host has been written to get by a list.
func TestHost(t *testing.T) {
	long := strings.Repeat("a.", 126) + "a" // 253 octets
	for in, want := range map[string]string{
		"www.example":               "www.example",
		"WWW.Example":               "www.example",
		"www.example:8080":          "www.example",
		"www.example:":              "www.example",
		"www.example.":              "www.example",
		"www.example.:443":          "www.example",
		"www.example..":             "www.example.",
		"user@www.example":          "www.example",
		"a@b:1@www.example:80":      "www.example",
		"xn--Bcher-KVA.example":     "xn--bcher-kva.example",
		"É.example":                 "É.example",
		"a.example,b.example":       "a.example,b.example",
		"1.example":                 "1.example",
		"10.1.2.3.example":          "10.1.2.3.example",
		"":                          "",
		".":                         "",
		":80":                       "",
		"@":                         "",
		long:                        long,
		long + ".:80":               long,
		long + "b":                  "",
		strings.Repeat("1", 70_000): "",

		"192.0.2.1":                         "192.0.2.1",
		"192.0.2.1:443":                     "192.0.2.1",
		"192.0.2.1.":                        "192.0.2.1",
		"0300.0.2.1":                        "192.0.2.1",
		"0xC0.0.2.1":                        "192.0.2.1",
		"3221225985":                        "192.0.2.1",
		"0xc0000201":                        "192.0.2.1",
		"192.513":                           "192.0.2.1",
		"192.0.513:80":                      "192.0.2.1",
		"192.0.2.256":                       "192.0.2.256",
		"192.0.2.1.5":                       "192.0.2.1.5",
		"4294967296":                        "4294967296",
		"192..2.1":                          "192..2.1",
		"0x":                                "0x",
		"08.1.1.1":                          "08.1.1.1",
		"[2001:db8::1]":                     "2001:db8::1",
		"[2001:DB8::1]:443":                 "2001:db8::1",
		"[::ffff:192.0.2.1]:80":             "192.0.2.1",
		"[fe80::1%25eth0]":                  "fe80::1",
		"[2001:db8::1":                      "",
		"[]":                                "",
		"[" + strings.Repeat("1", 60) + "]": "",
	} {
		name, addr := Host(in)
		got := name
		if addr.IsValid() {
			if got = addr.String(); name != "" {
				t.Errorf("%.80q is both %q and %s", in, name, addr)
			}
		}
		if got != want {
			t.Errorf("%.80q: %.80q, want %.80q", in, got, want)
		}
	}
}

func TestAddr(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:80": "192.0.2.1", "2001:db8::1": "2001:db8::1", "[2001:db8::1]:80": "2001:db8::1",
		"::ffff:192.0.2.1": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "fe80::1%eth0": "fe80::1", "::": "::",
		"": "invalid IP", "@/run/a.sock": "invalid IP", "/run/a.sock": "invalid IP", "envoy://internal/": "invalid IP", ":80": "invalid IP", "[": "invalid IP",
	} {
		if got := Addr(in).String(); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// FuzzHost holds what host.h promises: a name is canonical and bounded, and what net/netip
// reads as an address is one.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.example:80", "[::1]:80", "1.2.3.4", "0x1.2", "u@h.", "1.2.3.4.5:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, addr := Host(in)
		if len(name) > 253 || strings.ContainsAny(name, "@ABCDEFGHIJKLMNOPQRSTUVWXYZ") || name != "" && addr.IsValid() {
			t.Fatalf("%q: %q %s", in, name, addr)
		}
		if want, err := netip.ParseAddr(in); err == nil {
			if got := Addr(in); got != want.WithZone("").Unmap() {
				t.Fatalf("%q: %s, want %s", in, got, want)
			}
			if want.Is4() && addr != want {
				t.Fatalf("host %q: %s", in, addr)
			}
		}
	})
}
