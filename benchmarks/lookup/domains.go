package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"

	"github.com/FastFilter/xorfilter"
	radix "github.com/armon/go-radix"
	"github.com/cespare/xxhash/v2"

	"pavise.dev/pavise/benchmarks/internal/workload"
	"pavise.dev/pavise/feeds/snapshot"
)

func domains(dir string, count, keys, rounds int) (string, error) {
	r := rand.New(rand.NewPCG(3, 4))
	names := workload.Names(r, count)
	s, err := write(dir, func(b *snapshot.Builder) error {
		for i, n := range names {
			if err := b.AddDomain(0, []byte(n), snapshot.Self|snapshot.Below, uint32(i+1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	set := make(map[string]struct{}, count)
	hashes := make([]uint64, count)
	tree := radix.New()
	for i, n := range names {
		set[n] = struct{}{}
		hashes[i] = xxhash.Sum64String(n)
		// One in ten: all of them take more memory than most machines have.
		if i%10 == 0 {
			tree.Insert(reversed(n), nil)
		}
	}
	fuse, err := xorfilter.PopulateBinaryFuse8(hashes)
	if err != nil {
		return "", err
	}
	runtime.GC()
	var hits [16]snapshot.Hit
	contenders := []contender[string]{
		{name: "snapshot", find: count1(s.ContainsDomain)},
		{name: "Go map", find: count1(func(n string) bool {
			return suffixes(n, func(s string) bool { _, ok := set[s]; return ok })
		})},
		{name: "fuse filter, not exact", find: count1(func(n string) bool {
			return suffixes(n, func(s string) bool { return fuse.Contains(xxhash.Sum64String(s)) })
		})},
		{name: "snapshot with entries", find: count1(func(n string) bool { return len(s.LookupDomain(hits[:0], n)) > 0 })},
		{name: "radix tree of a tenth", every: 10, find: count1(func(n string) bool {
			_, _, ok := tree.LongestPrefix(reversed(n))
			return ok
		})},
	}
	miss := func(n int) []string {
		out := workload.Names(r, n)
		for i := range out {
			for {
				if _, ok := set[out[i]]; !ok {
					break
				}
				out[i] = workload.Name(r)
			}
		}
		return clones(out)
	}
	hit := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = names[r.IntN(len(names))]
			if r.IntN(3) == 0 {
				out[i] = "www." + out[i]
			}
		}
		return clones(out)
	}
	mixes := []mix[string]{
		{"miss", miss},
		{"hit", hit},
		{"nine of ten miss", func(n int) []string {
			out := append(miss(n-n/10), hit(n/10)...)
			r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
			return clones(out)
		}},
	}
	f, err := measure(contenders, mixes, keys, rounds)
	if err != nil {
		return "", err
	}
	file, hot := s.Sizes()
	m, h := f["miss"], f["hit"]
	return fmt.Sprintf("RESULT bench-lookup-names names=%d ns_miss=%.1f ns_hit=%.1f ns_mix=%.1f ns_hit_entries=%.1f bytes_per_name=%.2f file_bytes_per_name=%.1f map_ratio_miss=%.2f map_ratio_hit=%.2f radix_ratio_miss=%.1f fuse_ratio_miss=%.2f",
		count, m["snapshot"], h["snapshot"], f["nine of ten miss"]["snapshot"], h["snapshot with entries"],
		float64(hot)/float64(count), float64(file)/float64(count),
		m["Go map"]/m["snapshot"], h["Go map"]/h["snapshot"], m["radix tree of a tenth"]/m["snapshot"], m["fuse filter, not exact"]/m["snapshot"]), nil
}

// clones lays names out one behind the other in the order in which they are asked, as a
// request's own buffer would be at hand.
func clones(names []string) []string {
	all := strings.Join(names, "")
	for i, n := range names {
		names[i], all = all[:len(n)], all[len(n):]
	}
	return names
}

// suffixes asks for a name and what is above it, but for the last label.
func suffixes(name string, has func(string) bool) bool {
	for {
		if has(name) {
			return true
		}
		i := strings.IndexByte(name, '.')
		if i < 0 || strings.IndexByte(name[i+1:], '.') < 0 {
			return false
		}
		name = name[i+1:]
	}
}

// reversed puts the last label first, with a dot behind each.
func reversed(name string) string {
	labels := strings.Split(name, ".")
	var b strings.Builder
	for i := len(labels) - 1; i >= 0; i-- {
		b.WriteString(labels[i])
		b.WriteByte('.')
	}
	return b.String()
}
