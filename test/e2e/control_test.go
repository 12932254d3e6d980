package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/test/netlab"
)

// TestControlPlane catches changes that come late or not at all, and one that is broken
// and comes.
func TestControlPlane(t *testing.T) {
	s := newSidecar(t, netlab.Options{})
	view := func(what, to string) string {
		return s.try(s.Pod, application, netip.Addr{}, what, netip.MustParseAddrPort(to)).view
	}
	changed := strings.Replace(policies, "{prefix: /v1}", "{prefix: /v9}", 1)
	t.Run("a policy changes", func(t *testing.T) {
		if _, err := s.resolve("api.example", ipv4); err != nil {
			t.Fatal(err)
		}
		s.control.write("policies.yaml", changed)
		start := time.Now()
		say, ok := within(2*time.Second, func() (string, bool) {
			say := view("GET api.example/v9", "203.0.113.10:80")
			return say, strings.HasPrefix(say, "outside ")
		})
		if !ok {
			t.Fatalf("it is not in force after two seconds: %s", say)
		}
		t.Logf("in force after %s", time.Since(start).Round(time.Millisecond))
		s.egress(t, []row{
			{"what is allowed now", "GET api.example/v9 at api.example:80", api, ""},
			{"what was allowed", "GET api.example/v1 at api.example:80", byDefault, ""},
		})
	})
	t.Run("a change is broken", func(t *testing.T) {
		s.control.write("policies.yaml", strings.Replace(policies, "action: Allow", "action: Alow", 1))
		await(t, "the control plane says so", func() (string, bool) {
			return s.control.log.String(), strings.Contains(s.control.log.String(), "the last good policies stay in force")
		})
		s.egress(t, []row{
			{"what is allowed", "GET api.example/v9 at api.example:80", api, ""},
			{"what is not", "GET api.example/v1 at api.example:80", byDefault, ""},
		})
		s.control.write("policies.yaml", changed)
	})
	t.Run("a feed changes", func(t *testing.T) {
		for _, f := range []family{ipv4, ipv6} {
			if _, err := s.resolve("late.partner.example", f); err != nil {
				t.Fatal(err)
			}
		}
		s.egress(t, []row{{"what is not listed yet", "TCP at 203.0.113.31:4443", partners, ""}})
		s.control.write("more.txt", denyList+"203.0.113.70\n2001:db8:113::70\nlate.partner.example\n")
		s.control.write("policies.yaml", strings.Replace(changed, "file:deny.txt", "file:more.txt", 1))
		start := time.Now()
		digest := s.control.awaitFeeds("ipv4=5 ipv6=5 names=3")
		published := time.Now()
		s.agent.awaitFeeds(digest)
		t.Logf("published after %s, and in force %s later", published.Sub(start).Round(time.Millisecond), time.Since(published).Round(time.Millisecond))
		s.egress(t, []row{
			{"an address that is listed now", "TCP at 203.0.113.70:25", "deny feed:deny [deny {7|8} destination]", ""},
			{"what was listed", "TCP at 203.0.113.66:25", "deny feed:deny [deny {2|3} destination]", ""},
			{"a server name that is listed now", "TLS late.partner.example at 203.0.113.68:443", "deny feed:deny [deny 9 serverName]", ""},
		})
	})
	t.Run("the control plane starts anew", func(t *testing.T) {
		s.control.kill()
		s.control = s.world.controlPlane()
		s.control.write("policies.yaml", strings.Replace(policies, "{prefix: /v1}", "{prefix: /v8}", 1))
		say, ok := within(5*time.Second, func() (string, bool) {
			say := view("GET api.example/v8", "203.0.113.10:80")
			return say, strings.HasPrefix(say, "outside ")
		})
		if !ok {
			t.Fatalf("what changed between reading the folder and watching it is not seen: %s", say)
		}
	})
	t.Run("a certificate is for another node", func(t *testing.T) {
		s.agent.forget()
		a := s.world.agent(agentOptions{certOf: "shop/other"})
		await(t, "the agent says why it gets nothing", func() (string, bool) {
			ok, say := a.ready()
			if ok {
				t.Fatal("it is ready with the policies of somebody else")
			}
			return say, strings.Contains(say, `proven to be node "shop/other"`)
		})
		s.closedTo(t, "with the certificate of another node")
		a.forget()
	})
	t.Run("the control plane is somebody else's", func(t *testing.T) {
		s.ca = newAuthority(t) // which the agent trusts, and which has not signed for the control plane
		a := s.world.agent(agentOptions{})
		await(t, "the agent says why it does not listen to it", func() (string, bool) {
			ok, say := a.ready()
			if ok {
				t.Fatal("it is ready with the policies of a stranger")
			}
			return say, strings.Contains(say, "policies: ") && strings.Count(say, "certificate signed by unknown authority") == 2
		})
		s.closedTo(t, "with a stranger for a control plane")
	})
}

// TestFeedsComeLater catches a control plane that has nothing to give where there are no
// feeds, and listeners that go on without them, or with them, when that changes.
func TestFeedsComeLater(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.redirect()
	without, _, _ := strings.Cut(policies, "---\napiVersion: pavise.dev/v1alpha1\nkind: ThreatFeed")
	w.config = without
	s := &sidecar{world: w, control: w.controlPlane()}
	s.agent = w.agent(agentOptions{})
	s.agent.awaitReady()
	passes := []row{
		{"what will be listed, by TCP", "TCP at 203.0.113.66:25", "allow namespace:shop/app#watched", ""},
		{"what will be listed, by HTTP", "GET bad.example/ at 203.0.113.68:80", "allow namespace:shop/app#watched", ""},
	}
	s.egress(t, passes)

	s.control.write("policies.yaml", policies)
	s.agent.awaitFeeds(s.control.awaitFeeds(allFeeds))
	s.egress(t, []row{
		{"what is listed, by TCP", "TCP at 203.0.113.66:25", "deny feed:deny [deny {2|3} destination]", ""},
		{"what is listed, by HTTP", "GET bad.example/ at 203.0.113.68:80", "deny feed:deny [deny 4 host]", ""},
	})

	s.control.write("policies.yaml", without)
	await(t, "what is not listed any more passes", func() (string, bool) {
		m := s.try(s.Pod, application, netip.Addr{}, "TCP", netip.AddrPortFrom(ipv4.host(66), 25))
		return m.view, strings.HasPrefix(m.view, "outside ")
	})
	s.egress(t, passes)
	if ok, say := s.agent.ready(); !ok {
		t.Errorf("without feeds the agent is not ready: %s", say)
	}
}

// TestManyWorkloads catches a control plane that takes the pods of one folder for one machine.
func TestManyWorkloads(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.controlPlane()
}
