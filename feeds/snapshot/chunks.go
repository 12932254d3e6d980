package snapshot

import "slices"

// chunks is a list that grows without being copied: growing a slice would hold the old
// and the new at once.
type chunks[T any] struct {
	full [][]T
	last []T
	n    int
}

// chunkItems is how many items a chunk has room for; there are 256 lists at a time.
const chunkItems = 1024

func (c *chunks[T]) add(item T) {
	if len(c.last) == cap(c.last) {
		if c.last != nil {
			c.full = append(c.full, c.last)
		}
		c.last = make([]T, 0, chunkItems)
	}
	c.last = append(c.last, item)
	c.n++
}

// drain appends the items to into, and forgets them.
func (c *chunks[T]) drain(into []T) []T {
	for i, part := range c.full {
		into = append(into, part...)
		c.full[i] = nil
	}
	into = append(into, c.last...)
	*c = chunks[T]{}
	return into
}

// digit is how many bits of a key radix sorts by at a time.
const digit = 11

// radix sorts by a key of two digits, lower first, which keeps the order of equal keys.
// other has the same length, and is for its use.
func radix[T any](items, other []T, key func(*T) uint32) {
	var count [2][1 << digit]uint32
	for i := range items {
		k := key(&items[i])
		count[0][k&(1<<digit-1)]++
		count[1][k>>digit]++
	}
	for d := range count {
		sum := uint32(0)
		for i, n := range count[d] {
			count[d][i] = sum
			sum += n
		}
		for i := range items {
			place := &count[d][key(&items[i])>>(digit*d)&(1<<digit-1)]
			other[*place] = items[i]
			*place++
		}
		items, other = other, items
	}
}

// sortRuns sorts the items that have the same key, which lie together.
func sortRuns[T any](items []T, key func(*T) uint32, compare func(a, b T) int) {
	for from := 0; from < len(items); {
		to := from + 1
		for k := key(&items[from]); to < len(items) && key(&items[to]) == k; {
			to++
		}
		if to-from > 1 {
			slices.SortFunc(items[from:to], compare)
		}
		from = to
	}
}
