package redirect

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Table is the name of the table that holds all rules, of the family inet.
const Table = "pavise"

// before is the priority of the chains that translate addresses: ahead of every other
// such chain (-100), because the first that translates a connection wins, and in
// a container of Docker there is one that sends DNS elsewhere.
const before = -110

// Plan is a set of rules that are to be in force. It is made by [NewPlan], not changed
// after that, and safe for concurrent use.
type Plan struct {
	Sets   []Set
	Chains []Chain
}

// Chain is a list of rules and where packets meet it.
type Chain struct {
	Name, Type, Hook string // as nft names them
	Priority         int32
	// Drops says what becomes of a packet that no rule decides on.
	Drops bool
	Rules []Rule
}

func (c *Chain) policy() string {
	if c.Drops {
		return "drop"
	}
	return "accept"
}

// Rule is one rule.
type Rule struct {
	// Name is unique in its chain; it is the rule's comment in the kernel.
	Name string
	// Why says what it is for.
	Why string
	// Text is the rule as nft writes it, without the comment.
	Text string

	exprs []expr.Any
}

// NewPlan makes the rules for c. The error, if there is one, is everything that is wrong
// with c, a line each.
func NewPlan(c Config) (*Plan, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("redirect: %w", err)
	}
	b := builder{Config: c, plan: &Plan{}, sets: map[string]bool{}}
	b.apart()
	b.outbound()
	b.inbound()
	if c.UDP == Drop {
		b.guardOut()
		b.guardIn()
	}
	return b.plan, nil
}

type builder struct {
	Config
	plan *Plan
	sets map[string]bool
}

func (b *builder) chain(c Chain) { b.plan.Chains = append(b.plan.Chains, c) }

// rule adds one to the newest chain.
func (b *builder) rule(name, why string, parts ...statement) {
	r := Rule{Name: name, Why: why}
	var text []string
	for _, p := range parts {
		text = append(text, p.text)
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.Text = strings.Join(text, " ")
	c := &b.plan.Chains[len(b.plan.Chains)-1]
	c.Rules = append(c.Rules, r)
}

// ports returns a match of any of a list of ports, and adds the set for it. The list is
// not empty.
func (b *builder) ports(proto byte, set string, list []PortRange) statement {
	if !b.sets[set] {
		b.sets[set] = true
		s := Set{Name: set, Type: nftables.TypeInetService}
		for _, r := range mergePorts(list) {
			s.spans = append(s.spans, span{
				string(binary.BigEndian.AppendUint16(nil, r.First)),
				string(binary.BigEndian.AppendUint16(nil, r.Last)),
			})
		}
		b.plan.Sets = append(b.plan.Sets, s)
	}
	return portIn(proto, set)
}

func (b *builder) envoyPorts() statement {
	return b.ports(unix.IPPROTO_TCP, "envoy_ports", one(b.OutboundPort, b.InboundPort))
}

func one(ports ...uint16) []PortRange {
	var list []PortRange
	for _, p := range ports {
		list = append(list, PortRange{p, p})
	}
	return list
}

// excluded adds the rules for the destinations that pass by Envoy.
func (b *builder) excluded() {
	const v4, v6 = "excluded_ipv4", "excluded_ipv6"
	sets := []*Set{{Name: v4, Type: nftables.TypeIPAddr}, {Name: v6, Type: nftables.TypeIP6Addr}}
	for _, r := range mergeCIDRs(b.ExcludeOutboundCIDRs).Ranges() {
		s := sets[1]
		if r.From().Is4() {
			s = sets[0]
		}
		s.spans = append(s.spans, span{string(r.From().AsSlice()), string(r.To().AsSlice())})
	}
	for i, s := range sets {
		if len(s.spans) == 0 {
			continue
		}
		if !b.sets[s.Name] {
			b.sets[s.Name] = true
			b.plan.Sets = append(b.plan.Sets, *s)
		}
		b.rule(strings.ReplaceAll(s.Name, "_", "-"), "destinations that the configuration excludes", toAny(i == 0, s.Name), accept())
	}
}

func (b *builder) loopback() {
	const why = "what stays in the pod stays as it is"
	b.rule("loopback-ipv4", why, to(netip.MustParsePrefix("127.0.0.0/8")), accept())
	b.rule("loopback-ipv6", why, to(netip.MustParsePrefix("::1/128")), accept())
}

func (b *builder) isAgent() []statement {
	parts := []statement{user(b.UID), group(b.GID)}
	if b.Mark != 0 {
		parts = append(parts, mark(b.Mark))
	}
	return parts
}

func (b *builder) agent() {
	b.rule("agent", "the agent and its Envoy send for real", append(b.isAgent(), accept())...)
}

// agentZone is the zone of conntrack in which the agent's questions are.
const agentZone = 1

// early is ahead of conntrack (-200).
const early = -300

// apart keeps the agent's questions from being taken for a flow of the workload, and the other
// way round. Both ask the same resolver from ports that the system chooses, and the system knows
// a flow by addresses and ports for two minutes after its last packet: from the port of a
// question that was redirected the agent would ask itself, and from one of the agent's the
// workload would not be redirected. On loopback there is nothing to keep apart.
func (b *builder) apart() {
	const loopback = "a resolver on loopback is not told apart"
	b.chain(Chain{Name: "apart_out", Type: "filter", Hook: "output", Priority: early})
	b.rule("loopback", loopback, outLoopback(), accept())
	b.rule("agent-dns", "the agent's questions are no flows of the workload",
		append(b.isAgent(), port(unix.IPPROTO_UDP, dnsPort), setZone(agentZone))...)
	b.chain(Chain{Name: "apart_in", Type: "filter", Hook: "prerouting", Priority: early})
	b.rule("loopback", loopback, inLoopback(), accept())
	b.rule("agent-dns", "what comes from a resolver outside answers the agent, as nobody else may ask one",
		sourcePort(unix.IPPROTO_UDP, dnsPort), setZone(agentZone))
}

// outbound is met by the first packet of what is opened here.
func (b *builder) outbound() {
	b.chain(Chain{Name: "outbound", Type: "nat", Hook: "output", Priority: before})
	// Ahead of the agent's exemption: it is Envoy that would go on connecting.
	b.rule("no-loop", "Envoy is not to be connected to by its own ports, or it would go round in a circle",
		outLoopback(), b.envoyPorts(), count(), refuse())
	b.agent()
	const why = "DNS goes to the agent, whatever resolver it is aimed at"
	b.rule("dns-udp", why, port(unix.IPPROTO_UDP, dnsPort), redirectTo(b.DNSPort))
	b.rule("dns-tcp", why, port(unix.IPPROTO_TCP, dnsPort), redirectTo(b.DNSPort))
	b.loopback()
	b.excluded()
	if len(b.ExcludeOutboundPorts) > 0 {
		b.rule("excluded-ports", "ports that the configuration excludes",
			b.ports(unix.IPPROTO_TCP, "excluded_outbound_ports", b.ExcludeOutboundPorts), accept())
	}
	tcp := protocol(unix.IPPROTO_TCP)
	if len(b.IncludeOutboundPorts) > 0 {
		tcp = b.ports(unix.IPPROTO_TCP, "included_outbound_ports", b.IncludeOutboundPorts)
	}
	b.rule("tcp", "what the workload opens goes to Envoy", tcp, redirectTo(b.OutboundPort))
}

// inbound is met by the first packet of what comes from outside.
func (b *builder) inbound() {
	b.chain(Chain{Name: "inbound", Type: "nat", Hook: "prerouting", Priority: before})
	b.rule("loopback", "what comes from the pod itself was decided when it left", inLoopback(), accept())
	const why = "nobody outside may use the ports of the redirect"
	b.rule("envoy-ports", why, b.envoyPorts(), count(), drop())
	b.rule("dns-udp", why, port(unix.IPPROTO_UDP, b.DNSPort), count(), drop())
	b.rule("dns-tcp", why, port(unix.IPPROTO_TCP, b.DNSPort), count(), drop())
	if len(b.AgentPorts) > 0 {
		b.rule("agent-ports", "the kubelet and scrapers reach the agent",
			b.ports(unix.IPPROTO_TCP, "agent_ports", one(b.AgentPorts...)), accept())
	}
	if len(b.ExcludeInboundPorts) > 0 {
		b.rule("excluded-ports", "ports that the configuration excludes",
			b.ports(unix.IPPROTO_TCP, "excluded_inbound_ports", b.ExcludeInboundPorts), accept())
	}
	tcp := protocol(unix.IPPROTO_TCP)
	if len(b.IncludeInboundPorts) > 0 {
		tcp = b.ports(unix.IPPROTO_TCP, "included_inbound_ports", b.IncludeInboundPorts)
	}
	b.rule("tcp", "what comes from outside goes to Envoy", tcp, redirectTo(b.InboundPort))
}

// guarded begins a guard with what passes it first. A guard lists what passes and drops the
// rest, by a rule that counts; that its policy is to drop as well keeps it closed when
// somebody flushes its rules.
func (b *builder) guarded() {
	const why = "TCP is redirected, ICMP is left alone"
	b.rule("tcp", why, protocol(unix.IPPROTO_TCP), accept())
	b.rule("icmp", why, protocol(unix.IPPROTO_ICMP), accept())
	b.rule("icmpv6", why, protocol(unix.IPPROTO_ICMPV6), accept())
}

const excludedUDP = "excluded_udp_ports"

func (b *builder) excludedUDP() {
	if len(b.ExcludeUDPPorts) > 0 {
		b.rule("excluded-udp", "UDP ports that the configuration excludes",
			b.ports(unix.IPPROTO_UDP, excludedUDP, b.ExcludeUDPPorts), accept())
	}
}

// guardOut is met by every packet that leaves, after redirection.
func (b *builder) guardOut() {
	b.chain(Chain{Name: "guard_out", Type: "filter", Hook: "output", Priority: 0, Drops: true})
	b.guarded()
	b.rule("loopback", "what stays in the pod stays as it is", outLoopback(), accept())
	// DNS that was redirected still has the interface it would have left by.
	b.loopback()
	b.agent()
	b.excluded()
	b.excludedUDP()
	if b.sets[excludedUDP] {
		// Not to any flow that began outside: one from before the rules could go on for ever.
		b.rule("answers", "to what came in at an excluded UDP port",
			sourcePortIn(unix.IPPROTO_UDP, excludedUDP), answer(), accept())
	}
	b.rule("rest", "UDP and QUIC are not to leave by the side", count(), drop())
}

// guardIn is met by every packet that comes in.
func (b *builder) guardIn() {
	b.chain(Chain{Name: "guard_in", Type: "filter", Hook: "prerouting", Priority: -150, Drops: true})
	b.guarded()
	b.rule("loopback", "what comes from the pod itself was decided when it left", inLoopback(), accept())
	b.rule("answers", "to what was let out", answer(), accept())
	b.excludedUDP()
	b.rule("rest", "UDP and QUIC are not to come in by the side", count(), drop())
}

// String is the plan as a file that nft -f takes, with the reasons as comments.
func (p *Plan) String() string {
	var b strings.Builder
	// Both lines at the top, so that the last one begins with an empty table.
	fmt.Fprintf(&b, "add table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n", Table)
	for _, s := range p.Sets {
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tflags interval\n\t\telements = { %s }\n\t}\n",
			s.Name, s.Type.Name, strings.Join(s.Elements(), ", "))
	}
	for _, c := range p.Chains {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %d; policy %s;\n", c.Name, c.Type, c.Hook, c.Priority, c.policy())
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t# %s\n\t\t%s comment %q\n", r.Why, r.Text, r.Name)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
