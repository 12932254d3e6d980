package parse

import (
	"net/netip"
	"time"
)

// Match says which names a domain entry stands for.
type Match uint8

const (
	// Self is the name itself.
	Self Match = 1 << iota
	// Below is every name below it.
	Below
)

// Entry is what one line, record or object of a feed lists: a prefix or a domain.
type Entry struct {
	// Prefix is masked and never IPv4-mapped; invalid where the entry is a domain. A
	// range is given as the prefixes that cover it exactly.
	Prefix netip.Prefix
	// Domain is canonical: lower case, ACE, no trailing dot, no leading dot, at most
	// 253 octets. It is valid until the sink returns.
	Domain []byte
	// Match is Self, Below or both; set for domains.
	Match Match
	// Except is set for what the feed itself takes out (@@ in AdBlock, rpz-passthru).
	Except bool
	// Confidence is 0 to 100, and -1 where the feed gives none.
	Confidence int8
	// Line is where the entry begins, from 1.
	Line uint32
	// Until is when the entry ends; zero for never.
	Until time.Time
}
