package page

import (
	"fmt"
	"slices"
	"strings"
)

// The drawing of a spark has this size, in its own units.
const (
	sparkWidth  = 240
	sparkHeight = 40
	sparkEdge   = 2
)

// spark is a small line of numbers, with what it says in words.
type spark struct {
	Label         string
	Points        string
	Width, Height int
}

// sparkline draws values from the left to the right; the lowest is at the bottom unless it is
// near to the highest, so that what does not change is a flat line. Less than two are nil.
func sparkline(of string, values []float64) *spark {
	if len(values) < 2 {
		return nil
	}
	low, high := slices.Min(values), slices.Max(values)
	span := high - low
	if span == 0 {
		span = 1
	}
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(' ')
		}
		x := sparkEdge + float64(i)*(sparkWidth-2*sparkEdge)/float64(len(values)-1)
		y := sparkHeight - sparkEdge - (v-low)/span*(sparkHeight-2*sparkEdge)
		fmt.Fprintf(&b, "%.1f,%.1f", x, y)
	}
	label := fmt.Sprintf("%s: lowest %s, highest %s, last %s", of, number(low), number(high), number(values[len(values)-1]))
	return &spark{label, b.String(), sparkWidth, sparkHeight}
}
