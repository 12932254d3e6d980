package redirect

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A statement is one part of a rule, as nft writes it and as the kernel takes it. The
// second is written as nft would, so that the two can be compared: a test loads the text
// and finds no difference.
type statement struct {
	text  string
	exprs []expr.Any
}

// reg is the register that every comparison uses: nothing is kept from one to the next.
const reg = 1

func compare(load expr.Any, text string, data []byte) statement {
	return statement{text, []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}}}
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func meta(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: reg} }

// loopbackIndex is the index of lo, which is the first interface of every network
// namespace (the kernel's LOOPBACK_IFINDEX).
const loopbackIndex = 1

func inLoopback() statement {
	return compare(meta(expr.MetaKeyIIF), `iif "lo"`, native(loopbackIndex))
}

func outLoopback() statement {
	return compare(meta(expr.MetaKeyOIF), `oif "lo"`, native(loopbackIndex))
}

func user(uid uint32) statement {
	return compare(meta(expr.MetaKeySKUID), fmt.Sprintf("meta skuid %d", uid), native(uid))
}

func group(gid uint32) statement {
	return compare(meta(expr.MetaKeySKGID), fmt.Sprintf("meta skgid %d", gid), native(gid))
}

func mark(m uint32) statement {
	return compare(meta(expr.MetaKeyMARK), fmt.Sprintf("meta mark %#x", m), native(m))
}

// answer matches packets in the direction opposite to that of a flow's first one.
func answer() statement {
	return compare(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg}, "ct direction reply", []byte{1})
}

var protocolNames = map[byte]string{
	unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_ICMPV6: "ipv6-icmp",
}

func protocol(p byte) statement {
	return compare(meta(expr.MetaKeyL4PROTO), "meta l4proto "+protocolNames[p], []byte{p})
}

// destinationPort loads the port; TCP and UDP have it at the same place (RFC 9293, RFC 768).
func destinationPort() *expr.Payload {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func port(p byte, number uint16) statement {
	s := protocol(p)
	s.text = fmt.Sprintf("%s dport %d", protocolNames[p], number)
	s.exprs = append(s.exprs, destinationPort(),
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binary.BigEndian.AppendUint16(nil, number)})
	return s
}

func sourcePort(p byte, number uint16) statement {
	s := port(p, number)
	s.text = fmt.Sprintf("%s sport %d", protocolNames[p], number)
	s.exprs[2] = &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Len: 2}
	return s
}

func portIn(p byte, set string) statement {
	s := protocol(p)
	s.text = fmt.Sprintf("%s dport @%s", protocolNames[p], set)
	s.exprs = append(s.exprs, destinationPort(), &expr.Lookup{SourceRegister: reg, SetName: set})
	return s
}

func sourcePortIn(p byte, set string) statement {
	s := portIn(p, set)
	s.text = fmt.Sprintf("%s sport @%s", protocolNames[p], set)
	s.exprs[2] = &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Len: 2}
	return s
}

// destination loads the first octets of the destination address (RFC 791, RFC 8200).
func destination(is4 bool, octets uint32) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV6), uint32(24)
	if is4 {
		family, offset = unix.NFPROTO_IPV4, 16
	}
	return []expr.Any{
		meta(expr.MetaKeyNFPROTO),
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{family}},
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: octets},
	}
}

func familyName(is4 bool) string {
	if is4 {
		return "ip"
	}
	return "ip6"
}

// to matches a destination by a prefix of whole octets.
func to(p netip.Prefix) statement {
	octets := p.Bits() / 8
	text := p.String()
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	return statement{
		fmt.Sprintf("%s daddr %s", familyName(p.Addr().Is4()), text),
		append(destination(p.Addr().Is4(), uint32(octets)), //nolint:gosec // at most 16
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: p.Addr().AsSlice()[:octets]}),
	}
}

func toAny(is4 bool, set string) statement {
	octets := uint32(16)
	if is4 {
		octets = 4
	}
	return statement{
		fmt.Sprintf("%s daddr @%s", familyName(is4), set),
		append(destination(is4, octets), &expr.Lookup{SourceRegister: reg, SetName: set}),
	}
}

// setZone puts a packet into a zone of conntrack, where flows are told apart from those of
// others that have the same addresses and ports.
func setZone(zone uint16) statement {
	return statement{fmt.Sprintf("ct zone set %d", zone), []expr.Any{
		&expr.Immediate{Register: reg, Data: binary.NativeEndian.AppendUint16(nil, zone)},
		&expr.Ct{Key: expr.CtKeyZONE, Register: reg, SourceRegister: true},
	}}
}

func count() statement { return statement{"counter", []expr.Any{&expr.Counter{}}} }

func accept() statement {
	return statement{"accept", []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}}
}

func drop() statement { return statement{"drop", []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}} }

// refuse answers with a reset, so that nobody waits.
func refuse() statement {
	return statement{"reject with tcp reset", []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}}
}

// rangeSpecified is NF_NAT_RANGE_PROTO_SPECIFIED of linux/netfilter/nf_nat.h.
const rangeSpecified = 2

// redirectTo sends a connection to a port of this host: at 127.0.0.1 or ::1 if it was
// opened here, at the address of the interface if it came in.
func redirectTo(number uint16) statement {
	return statement{fmt.Sprintf("redirect to :%d", number), []expr.Any{
		&expr.Immediate{Register: reg, Data: binary.BigEndian.AppendUint16(nil, number)},
		&expr.Redir{RegisterProtoMin: reg, RegisterProtoMax: reg, Flags: rangeSpecified},
	}}
}
