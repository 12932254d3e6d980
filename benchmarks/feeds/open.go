package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"time"

	"pavise.dev/pavise/benchmarks/internal/workload"
	"pavise.dev/pavise/feeds/snapshot"
)

// openNames opens a snapshot of many names, which are random and may repeat: a set of
// them would take more memory than all the rest.
func openNames(dir string, n, rounds int) (string, error) {
	path := filepath.Join(dir, "names.snapshot")
	info, err := saveNames(path, n)
	if err != nil {
		return "", err
	}
	var times, objects, heaps []float64
	var file, hot int64
	for range rounds {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		s, err := snapshot.Open(path)
		if err != nil {
			return "", err
		}
		times = append(times, time.Since(start).Seconds()*1000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		objects = append(objects, float64(after.HeapObjects)-float64(before.HeapObjects))
		heaps = append(heaps, float64(after.HeapAlloc)-float64(before.HeapAlloc))
		file, hot = s.Sizes()
		runtime.KeepAlive(s)
	}
	return fmt.Sprintf("RESULT bench-feeds-open names=%d ms=%.1f heap_bytes=%.0f heap_objects=%.0f hot_bytes_per_name=%.2f file_bytes_per_name=%.1f",
		info.Names, median(times), median(heaps), median(objects), float64(hot)/float64(info.Names), float64(file)/float64(info.Names)), nil
}

func saveNames(path string, n int) (snapshot.Info, error) {
	feeds := []snapshot.Feed{{Name: "bench", Action: "Deny", Direction: "Both"}}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		return snapshot.Info{}, err
	}
	r := rand.New(rand.NewPCG(7, 8))
	for i := range n {
		if err := b.AddDomain(0, []byte(workload.Name(r)), snapshot.Self|snapshot.Below, uint32(i+1)); err != nil {
			return snapshot.Info{}, err
		}
	}
	return snapshot.Save(path, b)
}
