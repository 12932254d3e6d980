// Package redirect hands a workload's traffic to its Envoy, with nftables rules in the
// workload's own network namespace.
//
// [NewPlan] checks a [Config] and says what the rules will be, as text for people and for
// nft; nothing is touched. [Kernel.Apply] puts them in force, [Kernel.Check] tells whether
// they still are, [Kernel.Clear] takes them away. Everything lives in one table, "inet
// pavise"; other tables are not changed. It needs Linux, CAP_NET_ADMIN over
// the network namespace, and no nft program.
//
// # What goes where
//
//   - TCP that the workload opens goes to Config.OutboundPort, IPv4 and IPv6 alike. Envoy
//     finds the original destination with SO_ORIGINAL_DST (its original_dst listener filter).
//   - TCP that arrives goes to Config.InboundPort, but for the agent's own ports.
//   - DNS, which is port 53 over UDP and TCP, goes to Config.DNSPort, whatever resolver it is
//     aimed at: one outside, or a stub on loopback such as 127.0.0.53 and 127.0.0.11, which
//     would ask outside on the workload's behalf.
//   - Everything else, above all UDP and so QUIC, is dropped in both directions and counted,
//     unless Config.UDP is Allow. Answers pass. ICMP is never touched.
//   - Connections to 127.0.0.0/8 and ::1 stay as they are. One to another address of the pod
//     itself goes to OutboundPort like any other.
//   - Nobody outside reaches OutboundPort, InboundPort or DNSPort by their number, and nobody
//     inside the first two: Envoy would connect to itself until it has no descriptor left.
//
// Where IPv6 is switched off, by sysctl or at boot, the same rules are set and the IPv6 part
// meets nothing. Only a kernel that was built without IPv6 has no tables of the family inet;
// there Apply fails with [ErrUnsupported].
//
// Without an Envoy behind the rules a connection is refused. An application that starts
// before its sidecar waits; it does not leak.
//
// # Who is exempt
//
// The agent and its Envoy have to send for real. They are known by user and group, both of
// which have to match, because that needs no capability: the agent runs with none. Config.Mark
// asks for a socket mark (SO_MARK) in addition. Setting one takes CAP_NET_ADMIN or, since
// Linux 5.17, CAP_NET_RAW, which container runtimes give by default, so it is worth it only
// where the workload has had NET_RAW taken away and shares the agent's user, as on platforms
// that give a whole namespace one user. A cgroup would be the better mark of all, but a rule
// names one that exists, and when an init container sets the rules the agent's does not yet.
//
// # What it does not stop
//
//   - Whoever may become the agent's user (root with CAP_SETUID and CAP_SETGID, or a container
//     that runs as it) is exempt. Admission has to refuse that.
//   - Whoever has CAP_NET_ADMIN may flush the rules, or put others before them. Check sees the
//     first, not the second, and needs CAP_NET_ADMIN itself: netfilter shows rules to nobody
//     else. CAP_NET_RAW opens packet sockets, which pass netfilter by.
//   - TCP connections that were open before the rules stay as they are until they end: address
//     translation begins with the first packet. UDP is judged packet by packet and is cut at once.
//     Likewise Clear leaves connections that were redirected with Envoy.
//   - Traffic that the pod forwards for others: its TCP is taken for inbound.
//
// # What the parts behind it have to do
//
// The DNS server has to listen on 127.0.0.1 and ::1, not on the unspecified address, from which
// its answers would come with another source address than the one that was asked. Its own
// upstream has to be outside the pod: a resolver inside it would be sent back in a circle.
//
// # Costs
//
// Rules that translate addresses see the first packet of a connection. With UDP dropped, the
// other packets pass one comparison each if they are TCP. Ports and CIDRs are interval sets, so
// thousands cost what a few do.
package redirect
