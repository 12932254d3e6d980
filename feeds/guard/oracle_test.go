package guard

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/parse"
)

// ranges are written out here a second time, the way the documentation has them.
var ranges = map[string]string{
	api.GuardLoopback:  "127.0.0.0/8 ::1/128",
	api.GuardLinkLocal: "169.254.0.0/16 fe80::/10",
	api.GuardMulticast: "224.0.0.0/4 ff00::/8",
	api.GuardReserved:  "0.0.0.0/8 240.0.0.0/4 ::/8",
	api.GuardPrivate:   "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7 fec0::/10",
}

func ipSet(t *rapid.T, list []string) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, s := range list {
		b.AddPrefix(netip.MustParsePrefix(s))
	}
	set, err := b.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// oracle says what Entry should, slowly: with sets of ranges, and with every pair of
// names compared.
func oracle(t *rapid.T, c Config, own, protected []string, e *parse.Entry) string {
	on := func(name string) bool {
		fixed := name == api.GuardLoopback || name == api.GuardLinkLocal || name == api.GuardProtected
		return fixed || !slices.Contains(c.Off, name)
	}
	if e.Prefix.IsValid() {
		p := e.Prefix
		least := c.MinPrefixV6
		if p.Addr().Is4() {
			least = c.MinPrefixV4
		}
		if on(api.GuardShortPrefix) && p.Bits() < least {
			return api.GuardShortPrefix
		}
		if nat := netip.MustParsePrefix("64:ff9b::/96"); p.Bits() >= 96 && nat.Contains(p.Addr()) {
			a := p.Addr().As16()
			return oracle(t, c, own, protected, &parse.Entry{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte(a[12:])), p.Bits()-96)})
		}
		for _, name := range []string{api.GuardLoopback, api.GuardLinkLocal, api.GuardMulticast, api.GuardReserved, api.GuardProtected, api.GuardPrivate} {
			list := strings.Fields(ranges[name])
			if name == api.GuardProtected {
				list = prefixesOf(append(slices.Clone(own), protected...))
			}
			if on(name) && ipSet(t, list).OverlapsPrefix(p) {
				return name
			}
		}
		return ""
	}
	d := string(e.Domain)
	self, below := e.Match&parse.Self != 0, e.Match&parse.Below != 0
	isBelow := func(name, of string) bool { return strings.HasSuffix(name, "."+of) }
	if d == "localhost" || isBelow(d, "localhost") || d == "localhost.localdomain" {
		return api.GuardLoopback
	}
	for _, name := range own {
		if self && d == name || below && isBelow(name, d) {
			return api.GuardProtected
		}
	}
	for _, name := range protected {
		if d == name || isBelow(d, name) || below && isBelow(name, d) {
			return api.GuardProtected
		}
	}
	if on(api.GuardSingleLabel) && !strings.Contains(d, ".") {
		return api.GuardSingleLabel
	}
	if on(api.GuardPublicSuffix) && below && (!strings.Contains(d, ".") || d == "co.uk" || d == "github.io") {
		return api.GuardPublicSuffix
	}
	return ""
}

func prefixesOf(list []string) (out []string) {
	for _, s := range list {
		if strings.Contains(s, "/") {
			out = append(out, s)
		}
	}
	return out
}

// drawPrefix draws ranges near what is special, where mistakes would be.
func drawPrefix(t *rapid.T) netip.Prefix {
	var near []string
	for _, list := range ranges {
		near = append(near, strings.Fields(list)...)
	}
	slices.Sort(near)
	near = append(near, "64:ff9b::/96", "64:ff9b::a00:0/104", "198.51.100.0/24", "8.0.0.0/8", "2001:db8::/32", "::/0", "0.0.0.0/0")
	base := netip.MustParsePrefix(rapid.SampledFrom(near).Draw(t, "near"))
	addr := base.Addr()
	bytes := addr.AsSlice()
	switch rapid.IntRange(0, 3).Draw(t, "change") {
	case 0: // as it is
	case 1: // anywhere behind it
		for i := (base.Bits() + 7) / 8; i < len(bytes); i++ {
			bytes[i] = rapid.Byte().Draw(t, "octet")
		}
	case 2: // one bit
		bit := rapid.IntRange(0, addr.BitLen()-1).Draw(t, "bit")
		bytes[bit/8] ^= 1 << (7 - bit%8)
	case 3: // the address before it
		for i := len(bytes) - 1; i >= 0; i-- {
			bytes[i]--
			if bytes[i] != 255 {
				break
			}
		}
	}
	addr, _ = netip.AddrFromSlice(bytes)
	bits := rapid.SampledFrom([]int{0, 1, 7, 8, 9, 12, 16, 24, 31, 32, 64, 96, 97, 104, 112, 127, 128, base.Bits(), base.Bits() + 1}).Draw(t, "bits")
	p := netip.PrefixFrom(addr, min(bits, addr.BitLen())).Masked()
	if p.Addr().Is4In6() {
		return netip.MustParsePrefix("8.8.8.8/32") // no parser gives one
	}
	return p
}

func drawName(t *rapid.T) string {
	labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "aa", "example", "com", "co", "uk", "github", "io", "localhost", "localdomain"}), 1, 4).Draw(t, "labels")
	return strings.Join(labels, ".")
}

// known are the suffixes that the oracle knows, of those that can be drawn.
func known(name string) bool {
	for _, s := range []string{"co.uk", "github.io"} {
		if name == s {
			return true
		}
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	return !strings.Contains(name, ".") || last == "example" || last == "a" || last == "b" || last == "aa" || last == "localhost" || last == "localdomain"
}

func TestEntryAgreesWithOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{FeedLimits: api.FeedLimits{
			MinPrefixV4: rapid.SampledFrom([]int{0, 1, 8, 9, 16}).Draw(t, "v4"),
			MinPrefixV6: rapid.SampledFrom([]int{0, 1, 8, 16, 97}).Draw(t, "v6"),
		}}
		for _, g := range api.Guards() {
			if rapid.IntRange(0, 3).Draw(t, g.Name) == 0 {
				c.Off = append(c.Off, g.Name)
			}
		}
		draw := func(what string) (list []string) {
			for range rapid.IntRange(0, 3).Draw(t, what) {
				if rapid.Bool().Draw(t, "range") {
					list = append(list, drawPrefix(t).String())
				} else {
					list = append(list, drawName(t))
				}
			}
			return list
		}
		own, protected := draw("own"), draw("protected")
		var places []Place
		for _, s := range own {
			if p, err := netip.ParsePrefix(s); err == nil {
				places = append(places, Place{Prefix: p})
			} else {
				places = append(places, Place{Domain: s})
			}
		}
		c.Own = NewPlaces(places...)
		for _, s := range protected {
			if p, err := netip.ParsePrefix(s); err == nil {
				c.Protected = append(c.Protected, api.Protected{Prefix: p})
			} else {
				c.Protected = append(c.Protected, api.Protected{Domain: s})
			}
		}
		g := New(c)
		for range 20 {
			e := &parse.Entry{}
			shown := ""
			if rapid.Bool().Draw(t, "address") {
				e.Prefix = drawPrefix(t)
				shown = e.Prefix.String()
			} else {
				shown = drawName(t)
				if !known(shown) {
					continue
				}
				e.Domain, e.Match = []byte(shown), rapid.SampledFrom([]parse.Match{parse.Self, parse.Below, parse.Self | parse.Below}).Draw(t, "match")
			}
			got, reason := g.Entry(e)
			if want := oracle(t, c, own, protected, e); got != want || (got == "") != (reason == "") {
				t.Fatalf("%s (%d) with own %v, protected %v, off %v: %q (%s), want %q", shown, e.Match, own, protected, c.Off, got, reason, want)
			}
		}
	})
}
