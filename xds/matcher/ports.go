package matcher

import (
	"fmt"
	"strconv"
	"strings"

	"pavise.dev/pavise/policy"
)

// portsPattern is an RE2 expression for the decimal numbers in the ranges: Envoy
// compares the port that a proxy is asked for as a string.
func portsPattern(rs []policy.PortRange) string {
	var alts []string
	for _, r := range rs {
		lo, hi := int(r.First), int(r.Last)
		for lo <= hi {
			// The longest block lo..end in which the leading digits are fixed and the
			// trailing ones run from 0 to 9.
			block := 1
			for lo%(block*10) == 0 && lo+block*10-1 <= hi && lo != 0 && digits(lo) == digits(lo+block*10-1) {
				block *= 10
			}
			// Neighbouring blocks differ in one digit only: take them together.
			n := 1
			for (lo/block)%10+n <= 9 && lo+(n+1)*block-1 <= hi {
				n++
			}
			alts = append(alts, blockPattern(lo, block, n))
			lo += n * block
		}
	}
	return strings.Join(alts, "|")
}

func digits(n int) int { return len(strconv.Itoa(n)) }

// blockPattern is for the n blocks of the given size from lo.
func blockPattern(lo, block, n int) string {
	head, d := lo/block/10, lo/block%10
	var b strings.Builder
	if head > 0 {
		b.WriteString(strconv.Itoa(head))
	}
	if n == 1 {
		b.WriteString(strconv.Itoa(d))
	} else {
		fmt.Fprintf(&b, "[%d-%d]", d, d+n-1)
	}
	for ; block > 1; block /= 10 {
		b.WriteString("[0-9]")
	}
	return b.String()
}
