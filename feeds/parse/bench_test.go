package parse

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pavise.dev/pavise/api"
)

// benchLines is how many lines the benchmarks read.
const benchLines = 1_000_000

func someAddresses(n int) []byte {
	r, b := rand.New(rand.NewPCG(1, 2)), bytes.Buffer{}
	for range n {
		a := r.Uint32()
		fmt.Fprintf(&b, "%d.%d.%d.%d", a>>24, a>>16&255, a>>8&255, a&255)
		if a&3 == 0 {
			fmt.Fprintf(&b, "/%d", 16+r.IntN(17))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func someDomains(n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	r, b := rand.New(rand.NewPCG(1, 2)), bytes.Buffer{}
	label := func(n int) {
		b.WriteByte(letters[r.IntN(26)])
		for range n {
			b.WriteByte(letters[r.IntN(len(letters))])
		}
		b.WriteByte('.')
	}
	for range n {
		for range r.IntN(2) {
			label(1 + r.IntN(6))
		}
		label(4 + r.IntN(12))
		b.WriteString([]string{"com\n", "net\n", "org\n", "xyz\n", "co.uk\n"}[r.IntN(5)])
	}
	return b.Bytes()
}

func benchText(b *testing.B, data []byte) {
	b.Helper()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var n int
		rep, err := Parse(bytes.NewReader(data), Options{Format: api.FeedText}, func(*Entry) error { n++; return nil })
		if err != nil || n != benchLines {
			b.Fatal(n, rep, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchLines, "ns/line")
}

func BenchmarkTextAddresses(b *testing.B) { benchText(b, someAddresses(benchLines)) }

func BenchmarkTextDomains(b *testing.B) { benchText(b, someDomains(benchLines)) }
