package redirect

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"go4.org/netipx"
)

// Set is a named set of ports or addresses, kept as intervals.
type Set struct {
	Name string
	Type nftables.SetDatatype

	// spans are in order, and neither overlap nor touch.
	spans []span
}

// span is an interval of keys, both ends included, as octets in network order.
type span struct{ first, last string }

// Elements returns what is in the set, as nft writes it.
func (s *Set) Elements() []string {
	var list []string
	for _, sp := range s.spans {
		if len(sp.first) == 2 {
			list = append(list, PortRange{
				binary.BigEndian.Uint16([]byte(sp.first)), binary.BigEndian.Uint16([]byte(sp.last)),
			}.String())
			continue
		}
		from, _ := netip.AddrFromSlice([]byte(sp.first))
		last, _ := netip.AddrFromSlice([]byte(sp.last))
		r := netipx.IPRangeFrom(from, last)
		switch p, ok := r.Prefix(); {
		case from == last:
			list = append(list, from.String())
		case ok:
			list = append(list, p.String())
		default:
			list = append(list, r.String())
		}
	}
	return list
}

// elements returns the spans as the kernel takes them: the first key, and the key after
// the last marked as an end. A span that reaches the highest key has no end.
func elements(spans []span) []nftables.SetElement {
	var list []nftables.SetElement
	for _, s := range spans {
		list = append(list, nftables.SetElement{Key: []byte(s.first)})
		if end, more := step([]byte(s.last), 1); more {
			list = append(list, nftables.SetElement{Key: end, IntervalEnd: true})
		}
	}
	return list
}

// spansOf is the reverse of elements. The kernel gives the elements in no useful order,
// and other programs add an end at key zero, or split a span in two that touch.
func spansOf(list []nftables.SetElement) []span {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b nftables.SetElement) int {
		// An end before the beginning at the same key.
		return cmp.Or(bytes.Compare(a.Key, b.Key), cmp.Compare(order(a), order(b)))
	})
	var spans []span
	open := false
	for _, e := range list {
		switch {
		case e.IntervalEnd && open:
			last, _ := step(e.Key, -1)
			spans[len(spans)-1].last = string(last)
			open = false
		case e.IntervalEnd: // nothing is open: the end at key zero
		case !open && len(spans) > 0 && touches(spans[len(spans)-1], e.Key):
			open = true
		case !open:
			spans = append(spans, span{first: string(e.Key)})
			open = true
		}
	}
	if open {
		s := &spans[len(spans)-1]
		s.last = strings.Repeat("\xff", len(s.first))
	}
	return spans
}

func order(e nftables.SetElement) int {
	if e.IntervalEnd {
		return 0
	}
	return 1
}

// touches reports whether a span ends right before a key.
func touches(s span, key []byte) bool {
	next, more := step([]byte(s.last), 1)
	return more && bytes.Equal(next, key)
}

// step returns the key after or before another, and whether there is one.
func step(key []byte, by int) ([]byte, bool) {
	key = slices.Clone(key)
	for i := len(key) - 1; i >= 0; i-- {
		key[i] += byte(by) //nolint:gosec // 1 or -1, and meant to wrap
		if wrapped := key[i] == 0 && by > 0 || key[i] == 0xff && by < 0; !wrapped {
			return key, true
		}
	}
	return key, false
}
