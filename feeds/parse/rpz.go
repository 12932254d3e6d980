package parse

import (
	"bytes"
	"strings"
)

const (
	outsideZone = "a name outside of the zone"
	noDot       = "an action without the dot at its end, which is then a name in the zone"
	otherAction = "an action that does not block"
)

// readRPZ reads a DNS response policy zone in master file form (RFC 1035, section 5;
// draft-vixie-dnsop-dns-rpz).
//
// A name that a query asks for, and an address in an answer (rpz-ip), are entries; *.name
// stands for the names below name only. NXDOMAIN, NODATA, DROP and local data all block,
// PASSTHRU is an exception. Triggers by client and by name server say what no list of
// names can. $INCLUDE and $GENERATE end the parse: a feed has no files, and lists what it
// lists.
func readRPZ(in *input, out *emitter) error {
	z := &policyZone{file: newZoneFile(in)}
	defer func() { out.rep.Lines = z.file.l.no }()
	for {
		ok, err := z.file.next()
		if err != nil || !ok {
			return err
		}
		out.begin(z.file.line)
		if z.file.long {
			out.unreadable(z.file.text, longLine)
			continue
		}
		if err := z.record(out); err != nil {
			return err
		}
	}
}

// policyZone is what a zone file said so far.
type policyZone struct {
	file         *zoneFile
	origin, zone zoneName
	hasSOA       bool
	owner        zoneName
	hasOwner     bool
}

func (z *policyZone) record(out *emitter) error {
	words := z.file.words
	if z.file.owned && len(words[0]) > 0 && words[0][0] == '$' {
		return z.directive(words, out)
	}
	if z.file.owned {
		z.owner, z.hasOwner, words = z.origin.under(words[0]), true, words[1:]
	}
	for range 2 {
		if len(words) > 0 && (isTTL(words[0]) || isClass(words[0])) {
			words = words[1:]
		}
	}
	if !z.hasOwner || len(words) == 0 {
		out.unreadable(z.shown(), "not a record")
		return nil
	}
	kind, data := string(bytes.ToUpper(words[0])), words[1:]
	switch kind {
	case "SOA":
		if !z.hasSOA {
			z.zone, z.hasSOA = z.owner, true
		}
		return nil
	case "CNAME", "A", "AAAA":
	default:
		out.rep.Skipped++
		return nil
	}
	if len(data) != 1 {
		out.unreadable(z.shown(), "not a record")
		return nil
	}
	trigger, ok := z.trigger()
	switch {
	case !ok:
		out.unreadable(z.shown(), outsideZone)
		return nil
	case trigger == "":
		out.rep.Skipped++ // the zone's own records
		return nil
	}
	if kind == "CNAME" && !z.blocks(trigger, data[0], out) {
		return nil
	}
	return z.give(trigger, out)
}

// shown is the record for a report.
func (z *policyZone) shown() []byte { return bytes.Join(z.file.words, []byte(" ")) }

func (z *policyZone) directive(words [][]byte, out *emitter) error {
	switch name := string(bytes.ToUpper(words[0])); name {
	case "$INCLUDE", "$GENERATE":
		return failf(Malformed, z.file.line, "%s is not read from a feed", name)
	case "$TTL":
	case "$ORIGIN":
		if len(words) != 2 {
			out.unreadable(z.shown(), "not a directive")
			return nil
		}
		z.origin = z.origin.under(words[1])
		if !z.hasSOA && z.zone == (zoneName{}) {
			z.zone = z.origin
		}
	default:
		out.unreadable(z.shown(), "not a directive")
	}
	return nil
}

// trigger is the owner without the zone; empty for the zone itself.
func (z *policyZone) trigger() (string, bool) {
	switch {
	case !z.owner.absolute:
		return z.owner.text, true
	case !z.zone.absolute:
		return "", false
	case z.owner.text == z.zone.text:
		return "", true
	case z.zone.text == "":
		return z.owner.text, true
	}
	return strings.CutSuffix(z.owner.text, "."+z.zone.text)
}

// blocks looks at what a CNAME does. An exception is given as well.
func (z *policyZone) blocks(trigger string, word []byte, out *emitter) bool {
	switch target := z.origin.under(word); {
	case !bytes.HasSuffix(word, []byte(".")):
		if name := string(bytes.ToLower(word)); strings.HasPrefix(name, "rpz-") {
			out.unreadable(z.shown(), noDot)
			return false
		}
	case target.text == "rpz-passthru", target.text == trigger:
		out.e.Except = true // the second is how it was written once
	case target.text == "rpz-tcp-only":
		out.unsupported(z.shown(), otherAction)
		return false
	}
	return true
}

func (z *policyZone) give(trigger string, out *emitter) error {
	at := strings.LastIndexByte(trigger, '.')
	switch last := trigger[at+1:]; last {
	case "rpz-nsdname", "rpz-nsip", "rpz-client-ip":
		out.unsupported(z.shown(), "a trigger by "+last)
		return nil
	case "rpz-ip":
		return z.address(trigger[:max(at, 0)], out)
	}
	name, wild := strings.CutPrefix(trigger, "*.")
	if trigger == "*" {
		out.unsupported(z.shown(), wildAll)
		return nil
	}
	match := Below
	if !wild {
		match = out.stated(Self)
	}
	return out.named([]byte(name), z.shown(), match, false)
}

// address reads bits.d.c.b.a, or bits and the parts of an IPv6 address from its end,
// with zz for ::.
func (z *policyZone) address(text string, out *emitter) error {
	labels := strings.Split(text, ".")
	length := []byte(labels[0])
	bits, n := number(length, 3)
	sep := ":"
	if len(labels) == 5 && !strings.Contains(text, "zz") {
		sep = "."
	}
	addr := make([]byte, 0, 48)
	for i := len(labels) - 1; i > 0 && len(addr) < 48; i-- {
		if labels[i] == "zz" {
			addr = append(addr, "::"...)
			continue
		}
		if len(addr) > 0 && addr[len(addr)-1] != ':' {
			addr = append(addr, sep...)
		}
		addr = append(addr, labels[i]...)
	}
	a, ok := parseAddr(addr)
	if !ok || n == 0 || n != len(length) || bits > a.BitLen() {
		out.unreadable(z.shown(), "not an address as rpz-ip writes it")
		return nil
	}
	p, masked, _ := mask(a, bits)
	if masked {
		out.rep.Masked++
	}
	return out.prefix(p, z.shown())
}
