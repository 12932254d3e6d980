package redirect

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"pavise.dev/pavise/test/netlab"
)

// setFSUID sets the user that files and sockets of this thread belong to, and leaves its
// capabilities to the calls that are allowed by user.
func setFSUID(uid uint32) { _, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0) }

// manyCIDRs returns single addresses that do not touch, half of them IPv6.
func manyCIDRs(n int) []netip.Prefix {
	var list []netip.Prefix
	for i := range n {
		hi, lo := byte(i>>7), byte(i<<1)
		a := netip.AddrFrom4([4]byte{100, 64, hi, lo})
		if i%2 == 1 {
			a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 1, 0, hi, lo, 15: 1})
		}
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

func everything(c *Config) {
	c.Mark = 7
	c.ExcludeOutboundPorts = []PortRange{{22, 22}, {8000, 8999}, {65000, 65535}}
	c.IncludeOutboundPorts = []PortRange{{1, 21}, {443, 443}}
	c.ExcludeInboundPorts = []PortRange{{9000, 9100}}
	c.IncludeInboundPorts = []PortRange{{8080, 8080}}
	c.ExcludeUDPPorts = []PortRange{{123, 123}}
	c.ExcludeOutboundCIDRs = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("11.0.0.0/8"), netip.MustParsePrefix("13.0.0.0/8"),
		netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("192.0.2.1/32"),
		netip.MustParsePrefix("12.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("8000::/1"),
	}
}

func (w *world) differences(p *Plan) []string {
	w.t.Helper()
	d, err := w.kernel.Check(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, x := range d {
		list = append(list, x.String())
	}
	return list
}

// TestApplyTwice catches rules that are set again although nothing changed (their counters
// begin anew), or that are not although something did.
func TestApplyTwice(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	for name, set := range map[string]func(*Config){
		"default":    nil,
		"everything": everything,
		"udp allow":  func(c *Config) { c.UDP = Allow },
	} {
		p := plan(t, set)
		for i, want := range []bool{true, false, false} {
			if changed, err := w.kernel.Apply(t.Context(), p); err != nil || changed != want {
				t.Errorf("%s, time %d: changed %v, %v; want %v", name, i+1, changed, err, want)
			}
			if d := w.differences(p); len(d) > 0 {
				t.Errorf("%s, time %d: %q", name, i+1, d)
			}
		}
	}
}

// TestTextIsTheRules catches text for people that says something else than what the kernel
// is given: nft loads the text, and there is no difference.
func TestTextIsTheRules(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("there is no nft to read the text")
	}
	w := newWorld(t, netlab.Options{})
	for name, set := range map[string]func(*Config){"default": nil, "everything": everything} {
		p := plan(t, set)
		cmd := exec.Command(nft, "-f", "-")
		var out strings.Builder
		cmd.Stdin, cmd.Stderr = strings.NewReader(p.String()), &out
		if err := w.Pod.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s: %v\n%s\n%s", name, err, out.String(), p)
		}
		if d := w.differences(p); len(d) > 0 {
			t.Errorf("%s: %q\n%s", name, d, p)
		}
	}
}

// TestOthersAreLeftAlone catches a table of a stranger that is changed, and one that keeps
// ours from being replaced or cleared.
func TestOthersAreLeftAlone(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	p := plan(t, nil)
	w.nft(func(c *nftables.Conn) {
		for _, t := range []*nftables.Table{
			{Name: "pavise", Family: nftables.TableFamilyIPv4}, // the same name, another family
			{Name: "stranger", Family: nftables.TableFamilyINet},
		} {
			c.AddTable(t)
			c.AddChain(&nftables.Chain{Name: "outbound", Table: t})
		}
	})
	// An older table of ours, with things that the library cannot read back.
	older := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	w.nft(func(c *nftables.Conn) {
		c.AddTable(older)
		chain := c.AddChain(&nftables.Chain{Name: "older", Table: older})
		c.AddRule(&nftables.Rule{Table: older, Chain: chain, Exprs: []expr.Any{&expr.Notrack{}}})
		odd := &nftables.Set{Table: older, Name: "odd", KeyType: nftables.SetDatatype{Name: "odd", Bytes: 4}}
		odd.KeyType.SetNFTMagic(63)
		if err := c.AddSet(odd, []nftables.SetElement{{Key: []byte{1, 2, 3, 4}}}); err != nil {
			t.Fatal(err)
		}
	})
	if got := strings.Join(w.differences(p), "\n"); !strings.Contains(got, `chain "older" is not ours`) ||
		!strings.Contains(got, `set "odd" is not ours`) || !strings.Contains(got, "chain outbound: chain is missing") {
		t.Errorf("an older table:\n%s", got)
	}
	w.apply(nil)
	if d := w.differences(p); len(d) > 0 {
		t.Errorf("after replacing an older table: %q", d)
	}
	for i, want := range []bool{true, false} {
		if changed, err := w.kernel.Clear(t.Context()); err != nil || changed != want {
			t.Errorf("clear, time %d: changed %v, %v; want %v", i+1, changed, err, want)
		}
	}
	if d := w.differences(p); len(d) != 1 || d[0] != "table is missing" {
		t.Errorf("after clear: %q", d)
	}
	w.expect("app tcp 198.51.100.7:80 = outside 198.51.100.7:80", "app udp 198.51.100.7:443 = outside")
	w.nft(func(c *nftables.Conn) {
		chains, err := c.ListChains()
		if err != nil || len(chains) != 2 {
			t.Errorf("strangers have %d chains left, %v; want 2", len(chains), err)
		}
	})
}

// nft changes tables as somebody else would.
func (w *world) nft(fn func(*nftables.Conn)) {
	w.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(w.Pod.FD()))
	if err != nil {
		w.t.Fatal(err)
	}
	fn(c)
	if err := c.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

// TestAnotherNAT catches rules that come too late: where somebody else redirects DNS, as in
// a container of Docker, ours win, whoever was first there.
func TestAnotherNAT(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.agent()
	other := func(c *nftables.Conn) {
		table := c.AddTable(&nftables.Table{Name: "docker", Family: nftables.TableFamilyIPv4})
		chain := c.AddChain(&nftables.Chain{
			Name: "output", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(port(unix.IPPROTO_UDP, dnsPort).exprs, redirectTo(9).exprs)})
	}
	w.nft(other)
	w.apply(nil)
	w.expect("app udp 127.0.0.11:53 = dns")
	w.nft(func(c *nftables.Conn) { c.DelTable(&nftables.Table{Name: "docker", Family: nftables.TableFamilyIPv4}) })
	w.nft(other)
	w.expect("app udp 127.0.0.11:53 = dns", "agent udp 127.0.0.11:53 = refused")
}

// TestPodFlushesTheRules catches a change by a third party that Check does not see, or
// that Apply does not mend.
func TestPodFlushesTheRules(t *testing.T) {
	table := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	outbound := &nftables.Chain{Name: "outbound", Table: table}
	for _, row := range []struct {
		name   string
		change func(*nftables.Conn)
		want   string
	}{
		{"everything is flushed", func(c *nftables.Conn) { c.FlushRuleset() }, "table is missing"},
		{"the table is deleted", func(c *nftables.Conn) { c.DelTable(table) }, "table is missing"},
		{"a chain is flushed", func(c *nftables.Conn) { c.FlushChain(outbound) }, "chain outbound: rule tcp is missing"},
		{"a chain is deleted", func(c *nftables.Conn) {
			guard := &nftables.Chain{Name: "guard_out", Table: table}
			c.FlushChain(guard)
			c.DelChain(guard)
		}, "chain guard_out: chain is missing"},
		{"a rule goes ahead", func(c *nftables.Conn) {
			c.InsertRule(&nftables.Rule{Table: table, Chain: outbound, Exprs: accept().exprs})
		}, `chain outbound: rule "" at 1 is not ours`},
		{"a rule is there twice", func(c *nftables.Conn) {
			c.AddRule(&nftables.Rule{Table: table, Chain: outbound, Exprs: accept().exprs, UserData: []byte("\x00\x04tcp\x00")})
		}, `chain outbound: rule "tcp" at 8 is not ours`},
		{"a rule is deleted", func(c *nftables.Conn) { del(t, c, find(t, c, outbound, "dns-udp")) }, "chain outbound: rule dns-udp is missing"},
		{"a rule is replaced", func(c *nftables.Conn) {
			r := find(t, c, outbound, "dns-udp")
			r.Exprs = slices.Concat(port(unix.IPPROTO_UDP, dnsPort).exprs, accept().exprs)
			c.ReplaceRule(r)
		}, "chain outbound: rule dns-udp is not as planned"},
		{"a rule gets a condition that we do not know", func(c *nftables.Conn) {
			r := find(t, c, outbound, "dns-udp")
			r.Exprs = append([]expr.Any{&expr.Limit{Rate: 1, Unit: expr.LimitTimeDay, Burst: 1}}, r.Exprs...)
			c.ReplaceRule(r)
		}, "chain outbound: rule dns-udp is not as planned"},
		{"a rule moves", func(c *nftables.Conn) {
			r := find(t, c, outbound, "no-loop")
			del(t, c, r)
			r.Handle = 0
			c.AddRule(r)
		}, "chain outbound: rules are in another order"},
		{"a set grows", func(c *nftables.Conn) {
			s := &nftables.Set{Table: table, Name: "agent_ports", Interval: true, KeyType: nftables.TypeInetService}
			if err := c.SetAddElements(s, elements([]span{{"\x00\x50", "\x00\x50"}})); err != nil {
				t.Error(err)
			}
		}, "set agent_ports is not as planned"},
		{"a chain is added", func(c *nftables.Conn) { c.AddChain(&nftables.Chain{Name: "other", Table: table}) }, `chain "other" is not ours`},
		{"a policy changes", func(c *nftables.Conn) {
			pass := nftables.ChainPolicyAccept
			c.AddChain(&nftables.Chain{Name: "guard_in", Table: table, Policy: &pass})
		}, "chain guard_in: hook, priority or policy is not as planned"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, netlab.Options{})
			p := w.apply(nil)
			w.nft(row.change)
			if got := strings.Join(w.differences(p), "\n"); !strings.Contains(got, row.want) {
				t.Errorf("check says:\n%s\nand not: %s", got, row.want)
			}
			if changed, err := w.kernel.Apply(t.Context(), p); err != nil || !changed {
				t.Errorf("apply: changed %v, %v", changed, err)
			}
			if d := w.differences(p); len(d) > 0 {
				t.Errorf("after apply: %q", d)
			}
		})
	}
}

// TestThousandsOfRules catches a comparison whose answer grows with what a stranger adds.
func TestThousandsOfRules(t *testing.T) {
	p := plan(t, nil)
	d := p.Compare(&Current{Found: true, chains: []heldChain{{name: "outbound", rules: make([]heldRule, 200_000)}}})
	if len(d) != maxDifferences+1 || !strings.Contains(d[maxDifferences].String(), "more ways") {
		t.Errorf("%d differences, the last is: %s", len(d), d[len(d)-1])
	}
}

// TestFlushedGuardIsClosed catches UDP that gets out once the rules of the table are gone.
func TestFlushedGuardIsClosed(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.apply(nil)
	w.nft(func(c *nftables.Conn) { c.FlushTable(&nftables.Table{Name: Table, Family: nftables.TableFamilyINet}) })
	w.expect("app udp 198.51.100.7:443 = not permitted", "app udp [2001:db8::7]:53 = not permitted")
}

// TestDormant catches a table that is there in full and switched off. The library cannot
// do that; nft can.
func TestDormant(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("there is no nft")
	}
	w := newWorld(t, netlab.Options{})
	p := w.apply(nil)
	cmd := exec.Command(nft, "add table inet pavise { flags dormant; }")
	if err := w.Pod.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if d := w.differences(p); len(d) != 1 || d[0] != "table is switched off (dormant)" {
		t.Errorf("check: %q", d)
	}
	w.apply(nil)
	if d := w.differences(p); len(d) > 0 {
		t.Errorf("after apply: %q", d)
	}
}

func del(t testing.TB, c *nftables.Conn, r *nftables.Rule) {
	t.Helper()
	if err := c.DelRule(r); err != nil {
		t.Fatal(err)
	}
}

func find(t testing.TB, c *nftables.Conn, chain *nftables.Chain, name string) *nftables.Rule {
	t.Helper()
	rules, err := c.GetRules(chain.Table, chain)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if comment(r.UserData) == name {
			r.Chain, r.Table = chain, chain.Table
			return r
		}
	}
	t.Fatalf("there is no rule %s", name)
	return nil
}

// TestThousandsOfCIDRs catches lists that do not fit into a message, and look-ups that
// are wrong at the ends of one.
func TestThousandsOfCIDRs(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.agent()
	many := append(manyCIDRs(maxCIDRs-2), netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("2001:db8:ffff::7/128"))
	start := time.Now()
	p := w.apply(func(c *Config) { c.ExcludeOutboundCIDRs = many })
	t.Logf("%d CIDRs set in %s", len(many), time.Since(start))
	start = time.Now()
	if d := w.differences(p); len(d) > 0 {
		t.Errorf("check: %.200q", d)
	}
	t.Logf("and checked in %s", time.Since(start))
	w.expect(
		"app tcp 203.0.113.7:80 = outside 203.0.113.7:80",
		"app tcp [2001:db8:ffff::7]:80 = outside [2001:db8:ffff::7]:80",
		"app tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
		"app tcp [2001:db8::7]:80 = outbound [2001:db8::7]:80",
	)
}

// TestWithoutCapability catches an error that does not say what to grant.
func TestWithoutCapability(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	p := plan(t, nil)
	own := &Kernel{} // of the thread that asks
	for name, call := range map[string]func() error{
		"apply": func() error { _, err := own.Apply(t.Context(), p); return err },
		"check": func() error { _, err := own.Check(t.Context(), p); return err },
		"clear": func() error { _, err := own.Clear(t.Context()); return err },
	} {
		err := w.Pod.As(1000, 1000, call)
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "grant CAP_NET_ADMIN") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d := w.differences(p); len(d) != 1 || d[0] != "table is missing" {
		t.Errorf("and yet: %q", d)
	}
}

// TestFailureChangesNothing catches a transaction that is half done: a plan that the
// kernel refuses leaves the old rules in force, and the error has a name.
func TestFailureChangesNothing(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.agent()
	p := w.apply(nil)
	bad := plan(t, func(c *Config) { c.OutboundPort = 15009 })
	last := &bad.Chains[len(bad.Chains)-1]
	// A set that does not exist, as a kernel without a part of nf_tables would answer.
	last.Rules = append(last.Rules, Rule{Name: "bad", exprs: portIn(unix.IPPROTO_TCP, "nowhere").exprs})
	if changed, err := w.kernel.Apply(t.Context(), bad); changed || !errors.Is(err, ErrUnsupported) {
		t.Errorf("apply: changed %v, %v", changed, err)
	}
	if d := w.differences(p); len(d) > 0 {
		t.Errorf("the old rules: %q", d)
	}
	w.expect("app tcp 198.51.100.7:80 = outbound 198.51.100.7:80")
}

// TestContext catches a call that goes on after its context ended.
func TestContext(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if changed, err := w.kernel.Apply(ctx, plan(t, nil)); changed || !errors.Is(err, context.Canceled) {
		t.Errorf("changed %v, %v", changed, err)
	}
	if now, err := w.kernel.Current(t.Context()); err != nil || now.Found {
		t.Errorf("found %v, %v", now, err)
	}
}
