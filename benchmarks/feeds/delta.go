package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"pavise.dev/pavise/feeds/snapshot"
)

// refresh is one list before and after, as text and as snapshots.
type refresh struct {
	lists     [2]string
	snapshots [2]*snapshot.Snapshot
}

func newRefresh(dir, what string, before, after []string) (*refresh, error) {
	r := &refresh{}
	for i, lines := range [][]string{before, after} {
		r.lists[i] = filepath.Join(dir, fmt.Sprintf("%s%d.txt", what, i))
		if err := writeLines(r.lists[i], lines); err != nil {
			return nil, err
		}
		b, err := readList(r.lists[i])
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, fmt.Sprintf("%s%d.snapshot", what, i))
		if _, err := snapshot.Save(path, b); err != nil {
			return nil, err
		}
		if r.snapshots[i], err = snapshot.Open(path); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// deltaFigures are what one refresh takes.
type deltaFigures struct {
	octets        int
	diffMS, apply float64 // milliseconds
	text          int     // octets of diff and zstd -19
}

func (r *refresh) measure(dir string, rounds int) (deltaFigures, error) {
	var f deltaFigures
	var delta bytes.Buffer
	var diffs, applies []float64
	for range rounds {
		delta.Reset()
		start := time.Now()
		if err := snapshot.Diff(r.snapshots[0], r.snapshots[1], &delta); err != nil {
			return f, err
		}
		diffs = append(diffs, time.Since(start).Seconds()*1000)
		runtime.GC()
		start = time.Now()
		info, err := snapshot.Apply(r.snapshots[0], bytes.NewReader(delta.Bytes()), filepath.Join(dir, "applied"))
		if err != nil {
			return f, err
		}
		applies = append(applies, time.Since(start).Seconds()*1000)
		if info.Digest != r.snapshots[1].Digest() {
			return f, fmt.Errorf("applied: %s, not %s", info.Digest, r.snapshots[1].Digest())
		}
	}
	out, err := exec.Command("sh", "-c", `diff "$0" "$1" | zstd -19 -q -c | wc -c`, r.lists[0], r.lists[1]).Output()
	if err != nil {
		return f, err
	}
	if _, err := fmt.Sscan(strings.TrimSpace(string(out)), &f.text); err != nil {
		return f, err
	}
	f.octets, f.diffMS, f.apply = delta.Len(), median(diffs), median(applies)
	return f, os.Remove(filepath.Join(dir, "applied"))
}

func deltas(dir string, n, rounds int) (string, error) {
	r := rand.New(rand.NewPCG(5, 6))
	var figures [2]deltaFigures
	for i, kind := range []struct {
		name string
		make func(*rand.Rand, int) []string
	}{{"names", randomNames}, {"addresses", randomPrefixes}} {
		all := kind.make(r, n+n/200)
		before := all[:n]
		pair, err := newRefresh(dir, kind.name, before, churned(r, before, all[n:]))
		if err != nil {
			return "", err
		}
		if figures[i], err = pair.measure(dir, rounds); err != nil {
			return "", fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	a, b := figures[0], figures[1]
	return fmt.Sprintf("RESULT bench-feeds-delta lines=%d churn=0.01 names_bytes=%d names_diff_zstd_bytes=%d names_ratio=%.2f names_apply_ms=%.1f names_diff_ms=%.0f addresses_bytes=%d addresses_diff_zstd_bytes=%d addresses_ratio=%.2f addresses_apply_ms=%.1f addresses_diff_ms=%.0f",
		n, a.octets, a.text, float64(a.text)/float64(a.octets), a.apply, a.diffMS,
		b.octets, b.text, float64(b.text)/float64(b.octets), b.apply, b.diffMS), nil
}
