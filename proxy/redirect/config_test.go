package redirect

import (
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write what is expected anew")

// TestText catches a change of the rules that nobody meant: testdata has them in full.
func TestText(t *testing.T) {
	for name, set := range map[string]func(*Config){"default": nil, "everything": everything} {
		path := filepath.Join("testdata", name+".nft")
		got := plan(t, set).String()
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is now:\n%s", path, got)
		}
	}
}

// TestRuleNames catches two rules of one name in a chain: Check would take one for the
// other.
func TestRuleNames(t *testing.T) {
	for _, c := range plan(t, everything).Chains {
		seen := map[string]bool{}
		for _, r := range c.Rules {
			if seen[r.Name] || r.Why == "" {
				t.Errorf("chain %s: rule %s is there twice, or without a reason", c.Name, r.Name)
			}
			seen[r.Name] = true
		}
	}
}

// TestConfigIsRefused catches what would open a hole or contradict itself.
func TestConfigIsRefused(t *testing.T) {
	for _, row := range []struct {
		set  func(*Config)
		want string
	}{
		{func(c *Config) { *c = Config{UID: 1} }, "outboundPort: 0 is no port"},
		{func(c *Config) { c.DNSPort = 0 }, "dnsPort: 0 is no port"},
		{func(c *Config) { c.AgentPorts = []uint16{0} }, "agentPorts: 0 is no port"},
		{func(c *Config) { c.InboundPort = 15001 }, "inboundPort: 15001 is taken by outboundPort"},
		{func(c *Config) { c.AgentPorts = []uint16{15053} }, "agentPorts: 15053 is taken by dnsPort"},
		{func(c *Config) { c.AgentPorts = []uint16{15020, 15020} }, "agentPorts: 15020 is taken by agentPorts"},
		{func(c *Config) { c.DNSPort = 53 }, "dnsPort: 53 is the port that is redirected"},
		{func(c *Config) { c.UID = 0 }, "uid: the agent must not be root"},
		{func(c *Config) { c.UID = math.MaxUint32 }, "uid: 4294967295 is no user"},
		{func(c *Config) { c.GID = math.MaxUint32 }, "gid: 4294967295 is no group"},
		{func(c *Config) { c.ExcludeOutboundPorts = []PortRange{{9, 8}} }, "excludeOutboundPorts: 9-8 is no range"},
		{func(c *Config) { c.IncludeInboundPorts = []PortRange{{0, 8}} }, "includeInboundPorts: 0-8 is no range"},
		{func(c *Config) { c.ExcludeOutboundPorts = ports(t, "1-100") }, "excludeOutboundPorts: 53 is DNS"},
		{func(c *Config) {
			c.IncludeOutboundPorts, c.ExcludeOutboundPorts = ports(t, "80,443"), ports(t, "400-500")
		}, "excludeOutboundPorts: 400-500 overlaps with 443 of includeOutboundPorts"},
		{func(c *Config) { c.IncludeInboundPorts, c.ExcludeInboundPorts = ports(t, "80"), ports(t, "80") }, "excludeInboundPorts: 80 overlaps with 80"},
		{func(c *Config) { c.ExcludeInboundPorts = ports(t, "15000-15010") }, "excludeInboundPorts: 15006 is a port of the redirect itself"},
		{func(c *Config) { c.ExcludeUDPPorts = ports(t, "15053") }, "excludeUDPPorts: 15053 is dnsPort"},
		{func(c *Config) { c.UDP, c.ExcludeUDPPorts = Allow, ports(t, "123") }, "excludeUDPPorts: with udp Allow all ports pass"},
		{func(c *Config) { c.UDP = 7 }, "udp: UDPMode(7) is unknown"},
		{func(c *Config) { c.ExcludeOutboundCIDRs = []netip.Prefix{{}} }, "excludeOutboundCIDRs: there is one that is no range"},
		{func(c *Config) { c.ExcludeOutboundCIDRs = cidrs(t, "10.1.2.3/8") }, "10.1.2.3/8 has bits beyond its length; write 10.0.0.0/8"},
		{func(c *Config) { c.ExcludeOutboundCIDRs = cidrs(t, "::ffff:1.2.3.4") }, "is IPv4 written as IPv6"},
		{func(c *Config) { c.ExcludeOutboundCIDRs = cidrs(t, "0.0.0.0/0") }, "that is all of IPv4"},
		{func(c *Config) { c.ExcludeOutboundCIDRs = cidrs(t, "::/1, 8000::/1") }, "that is all of IPv6"},
		{func(c *Config) { c.ExcludeOutboundCIDRs = manyCIDRs(maxCIDRs + 1) }, "there are 10001; 10000 are the most"},
		{func(c *Config) { c.ExcludeUDPPorts = make([]PortRange, maxPortRanges+1) }, "there are 1001 ports and ranges"},
		{func(c *Config) { c.AgentPorts = make([]uint16, maxPortRanges+1) }, "agentPorts: there are 1001"},
	} {
		c := Default()
		row.set(&c)
		if _, err := NewPlan(c); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("error %v, want %q", err, row.want)
		}
	}
	// Everything is said at once.
	if _, err := NewPlan(Config{}); strings.Count(fmt.Sprint(err), "is no port") != 3 || !strings.Contains(err.Error(), "uid") {
		t.Errorf("an empty one: %v", err)
	}
}

// TestParse catches lists that are read as something else than they say.
func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"": "[]", " ": "[]", "22": "[22]", "22, 8000-8999": "[22 8000-8999]", "65535": "[65535]", "7-7": "[7]",
		"0": "error", "65536": "error", "8-7": "error", "22,": "error", "-5": "error", "+22": "error", "22-": "error",
		"1-2-3": "error", "0x16": "error", "ssh": "error", "22;23": "error", strings.Repeat("1,", 2000) + "1": "error",
	} {
		list, err := ParsePorts(in)
		if got := outcome(list, err); got != want {
			t.Errorf("ports %.40q: %s, %v; want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"": "[]", "10.0.0.0/8": "[10.0.0.0/8]", "192.0.2.1, 2001:db8::/32,::1": "[192.0.2.1/32 2001:db8::/32 ::1/128]",
		"10/8": "error", "010.0.0.0/8": "error", "fe80::1%eth0": "error", "1.2.3.4/33": "error", ",": "error", "example.com": "error",
	} {
		list, err := ParseCIDRs(in)
		if got := outcome(list, err); got != want {
			t.Errorf("CIDRs %.40q: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, m := range []UDPMode{Drop, Allow} {
		if got, err := ParseUDPMode(m.String()); err != nil || got != m {
			t.Errorf("%s is read as %s, %v", m, got, err)
		}
	}
	if _, err := ParseUDPMode("drop"); err == nil {
		t.Error("drop is read")
	}
}

func outcome[T any](list []T, err error) string {
	if err != nil {
		return "error"
	}
	return fmt.Sprint(list)
}

// FuzzLists catches a panic, and a list that comes out of its own text as another.
func FuzzLists(f *testing.F) {
	for _, s := range []string{"22,8000-8999", "1-65535", "10.0.0.0/8,::/1", "255.255.255.255", "ffff::/16,0.0.0.0/1", "0-0", "::ffff:0:0/96"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := Default()
		if list, err := ParsePorts(s); err == nil && len(list) > 0 {
			again, err := ParsePorts(strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]"))
			if err != nil || !slices.Equal(list, again) {
				t.Errorf("%v comes back as %v, %v", list, again, err)
			}
			c.ExcludeInboundPorts, c.ExcludeUDPPorts = list, list
		}
		if list, err := ParseCIDRs(s); err == nil {
			c.ExcludeOutboundCIDRs = list
		}
		if p, err := NewPlan(c); err == nil {
			_ = p.String()
		}
	})
}

// FuzzComment catches a panic on what a stranger wrote into a rule.
func FuzzComment(f *testing.F) {
	f.Add([]byte("\x00\x04tcp\x00"))
	f.Add([]byte("\x01\x01a\x00\xff"))
	f.Add([]byte{0})
	f.Fuzz(func(_ *testing.T, b []byte) { comment(b) })
}

// TestIntervals catches intervals that the kernel would give back as others: at both ends
// of the keys, side by side, in any order.
func TestIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []PortRange
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			a := rapid.OneOf(rapid.Uint16(), rapid.Uint16Range(0, 4), rapid.Uint16Range(65530, 65535)).Draw(t, "first")
			b := rapid.OneOf(rapid.Just(a), rapid.Uint16Range(a, math.MaxUint16)).Draw(t, "last")
			list = append(list, PortRange{a, b})
		}
		b := builder{plan: &Plan{}, sets: map[string]bool{}}
		b.ports(unix.IPPROTO_TCP, "set", list)
		spans := b.plan.Sets[0].spans
		held := rapid.Permutation(elements(spans)).Draw(t, "order")
		if got := spansOf(held); !slices.Equal(got, spans) {
			t.Errorf("%v comes back as %q, not %q", list, got, spans)
		}
		// As nft writes it: with an end at zero, and a span in two pieces.
		if first := spans[0].first; first != "\x00\x00" {
			held = append(held, nftables.SetElement{Key: []byte{0, 0}, IntervalEnd: true})
		}
		if s := spans[0]; s.first < s.last {
			held = append(held, nftables.SetElement{Key: []byte(s.last), IntervalEnd: true}, nftables.SetElement{Key: []byte(s.last)})
		}
		if got := spansOf(held); !slices.Equal(got, spans) {
			t.Errorf("%v in nft's way comes back as %q, not %q", list, got, spans)
		}
		for port := range uint16(10) {
			in := slices.ContainsFunc(spans, func(s span) bool { k := string([]byte{0, byte(port)}); return s.first <= k && k <= s.last })
			if in != covers(list, port) {
				t.Errorf("%v: port %d is in the set: %v", list, port, in)
			}
		}
	})
}
