package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/parse"
	"pavise.dev/pavise/feeds/snapshot"
)

// report is what a process that made a snapshot says of it.
type report struct {
	Build time.Duration // from the first octet read to the last written
	Sync  time.Duration
	Size  int64
	Peak  int64 // octets resident, at most
}

// buildAndReport makes a snapshot of a list and says on standard output how it went.
func buildAndReport(list, to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	var r report
	start := time.Now()
	b, err := readList(list)
	if err != nil {
		return err
	}
	info, err := b.WriteTo(f)
	if err != nil {
		return err
	}
	r.Build, r.Size = time.Since(start), info.Size
	start = time.Now()
	if err := f.Sync(); err != nil {
		return err
	}
	r.Sync = time.Since(start)
	if r.Peak, err = peak(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// peak is the most that the process had resident. What getrusage says counts the process
// that started it, too.
func peak() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err
}

// readList parses a list as a feed is.
func readList(path string) (*snapshot.Builder, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	feeds := []snapshot.Feed{{Name: "bench", Action: "Deny", Direction: "Both"}}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		return nil, err
	}
	_, err = parse.Parse(f, parse.Options{Format: api.FeedText}, func(e *parse.Entry) error {
		if e.Prefix.IsValid() {
			return b.AddPrefix(0, e.Prefix, e.Line)
		}
		return b.AddDomain(0, e.Domain, snapshot.Match(e.Match), e.Line)
	})
	return b, err
}

// made is how one run in a process of its own went.
type made struct {
	report
	wall float64 // milliseconds of the whole process
}

func run(cmd *exec.Cmd) (made, []byte, error) {
	var m made
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	m.wall = time.Since(start).Seconds() * 1000
	if err != nil {
		return m, nil, fmt.Errorf("%s: %w", cmd.Path, err)
	}
	return m, out, nil
}

func makeOne(list, to string) (made, error) {
	cmd := exec.Command(os.Args[0], "-child", list, to)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	m, out, err := run(cmd)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(out, &m.report)
}

// figures of several runs.
type figures struct {
	build, wall, sync, peak []float64
	size                    int64
}

func (f *figures) take(m made) {
	f.build = append(f.build, m.Build.Seconds()*1000)
	f.wall = append(f.wall, m.wall)
	f.sync = append(f.sync, m.Sync.Seconds()*1000)
	f.peak = append(f.peak, float64(m.Peak)/1e6)
	f.size = m.Size
}

func addresses(dir string, n, rounds int) (string, error) {
	list, to := filepath.Join(dir, "addresses.txt"), filepath.Join(dir, "addresses.snapshot")
	if err := writeLines(list, randomPrefixes(rand.New(rand.NewPCG(1, 2)), n)); err != nil {
		return "", err
	}
	var ours figures
	var theirs []float64
	for range rounds {
		m, err := makeOne(list, to)
		if err != nil {
			return "", err
		}
		ours.take(m)
		// Its default: all prefixes merged, and printed as the fewest.
		cmd := exec.Command("iprange", list)
		m, out, err := run(cmd)
		if err != nil || len(out) == 0 {
			return "", fmt.Errorf("iprange printed %d octets: %w", len(out), err)
		}
		theirs = append(theirs, m.wall)
	}
	wall, other := median(ours.wall), median(theirs)
	return fmt.Sprintf("RESULT bench-feeds-addresses lines=%d ms=%.0f ms_process=%.0f ms_fsync=%.1f ms_iprange=%.0f iprange_ratio=%.1f peak_mb=%.0f file_mb=%.1f",
		n, median(ours.build), wall, median(ours.sync), other, other/wall, median(ours.peak), float64(ours.size)/1e6), nil
}

func domains(dir string, n, rounds int) (string, error) {
	list, to := filepath.Join(dir, "domains.txt"), filepath.Join(dir, "domains.snapshot")
	if err := writeLines(list, randomNames(rand.New(rand.NewPCG(3, 4)), n)); err != nil {
		return "", err
	}
	var f figures
	for range rounds {
		m, err := makeOne(list, to)
		if err != nil {
			return "", err
		}
		f.take(m)
	}
	return fmt.Sprintf("RESULT bench-feeds-domains lines=%d ms=%.0f ms_process=%.0f ms_fsync=%.1f peak_mb=%.0f file_mb=%.1f",
		n, median(f.build), median(f.wall), median(f.sync), median(f.peak), float64(f.size)/1e6), nil
}
