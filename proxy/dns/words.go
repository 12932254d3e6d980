package dns

import (
	"strconv"

	"github.com/miekg/dns"
)

// TypeName is the type that was asked for as people write it, such as AAAA or TYPE65280
// (RFC 3597).
func (d *Decision) TypeName() string {
	if s, ok := dns.TypeToString[d.Type]; ok {
		return s
	}
	return "TYPE" + strconv.Itoa(int(d.Type))
}

// RcodeName is what was answered, such as NXDOMAIN.
func (d *Decision) RcodeName() string {
	if s, ok := dns.RcodeToString[int(d.Rcode)]; ok {
		return s
	}
	return "RCODE" + strconv.Itoa(int(d.Rcode))
}
