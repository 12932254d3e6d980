// Command flows measures the store of flows: two million decisions of an hour about 500
// workloads, some of them usual and many rare (a Zipf distribution), with scans among them,
// while pages are asked for. It prints what an Add costs, how much memory the store takes by
// its own count and by the kernel's, and how long a page takes.
//
// Decisions are made before they are timed, a batch at a time; the hour is that of the
// store's clock. Pages are asked for by one reader without a pause. What an Add costs is the
// CPU time of its thread, which other processes of the machine do not change; beside the
// reader it is wall time too, in which one waits for the other.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

func main() {
	var o options
	flag.IntVar(&o.decisions, "decisions", 2_000_000, "decisions of the hour")
	flag.IntVar(&o.workloads, "workloads", 500, "workloads that they are about")
	flag.IntVar(&o.kinds, "kinds", 200, "kinds of requests of a workload")
	flag.IntVar(&o.bytes, "bytes", 0, "bound of the store in octets; 0 is its default")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-flows:", err)
		os.Exit(1)
	}
}

type options struct{ decisions, workloads, kinds, bytes int }

const batch = 1000

func run(o options) error {
	if o.decisions < batch || o.workloads < 1 || o.kinds < 1 {
		return fmt.Errorf("-decisions %d -workloads %d -kinds %d: at least %d decisions, and one of the others", o.decisions, o.workloads, o.kinds, batch)
	}
	runtime.LockOSThread() // so that its CPU time is ours
	var clock atomic.Int64
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock.Store(began.UnixNano())
	s, err := flows.New(flows.Config{MaxBytes: o.bytes, Now: func() time.Time { return time.Unix(0, clock.Load()).UTC() }})
	if err != nil {
		return err
	}
	t := newTraffic(o)
	debug.FreeOSMemory()
	rssBefore, err := rss()
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var reader sync.WaitGroup
	var pages []time.Duration
	reader.Go(func() { pages = read(s, stop) })
	var took, busy time.Duration
	var batches []time.Duration
	peak := rssBefore
	each := time.Hour / time.Duration(o.decisions)
	for done := 0; done < o.decisions; done += batch {
		records := t.make(batch)
		start, cpu := time.Now(), cpuTime()
		for i := range records {
			clock.Add(int64(each))
			s.Add(&records[i])
		}
		d := time.Since(start)
		took += d
		busy += cpuTime() - cpu
		batches = append(batches, d)
		if done%(100*batch) == 0 {
			now, err := rss()
			if err != nil {
				return err
			}
			peak = max(peak, now)
		}
	}
	close(stop)
	reader.Wait()
	st := s.Stats()
	runtime.GC()
	debug.FreeOSMemory()
	after, err := rss()
	if err != nil {
		return err
	}
	alone, err := addAlone(o)
	if err != nil {
		return err
	}
	slices.Sort(batches)
	slices.Sort(pages)
	fmt.Printf("%d decisions of %d workloads: %d flows held, %d evicted, %d decisions merged\n",
		st.Decisions, o.workloads, st.Flows, st.EvictedAllowed+st.EvictedDenied, st.Merged)
	perAdd := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(o.decisions) }
	fmt.Printf("an Add takes %.0f ns; beside a reader %.0f ns, and %.0f ns of wall time: %.0f ns in the median batch of 1000, %.0f ns in the slowest but 1 %%\n",
		alone, perAdd(busy), perAdd(took), float64(at(batches, 0.5).Nanoseconds())/batch, float64(at(batches, 0.99).Nanoseconds())/batch)
	fmt.Printf("memory: %.1f MB by the store's count; RSS grew by %.1f MB, %.1f MB at its peak\n", mb(st.Bytes), mb(after-rssBefore), mb(peak-rssBefore))
	fmt.Printf("%d pages: median %v, p99 %v, longest %v\n", len(pages), at(pages, 0.5), at(pages, 0.99), at(pages, 1))
	fmt.Printf("RESULT bench-flows decisions=%d workloads=%d flows=%d ns_add=%.0f ns_add_beside_reader=%.0f wall_ns_add_beside_reader=%.0f store_mb=%.1f rss_growth_mb=%.1f rss_peak_growth_mb=%.1f page_p50_ms=%.2f page_p99_ms=%.2f\n",
		o.decisions, o.workloads, st.Flows, alone, perAdd(busy), perAdd(took), mb(st.Bytes), mb(after-rssBefore), mb(peak-rssBefore),
		ms(at(pages, 0.5)), ms(at(pages, 0.99)))
	runtime.KeepAlive(s)
	return nil
}

// addAlone is the nanoseconds of an Add where nobody reads.
func addAlone(o options) (float64, error) {
	s, err := flows.New(flows.Config{MaxBytes: o.bytes})
	if err != nil {
		return 0, err
	}
	t := newTraffic(o)
	var took time.Duration
	n := min(o.decisions, 500_000)
	for done := 0; done < n; done += batch {
		records := t.make(batch)
		cpu := cpuTime()
		for i := range records {
			s.Add(&records[i])
		}
		took += cpuTime() - cpu
	}
	return float64(took.Nanoseconds()) / float64(n), nil
}

// read asks for pages as people and programs do: what was denied, one namespace, a text, a
// second page; and returns how long each took.
func read(s *flows.Store, stop <-chan struct{}) (took []time.Duration) {
	filters := []flows.Filter{
		{},
		{Verdict: policy.Denied},
		{Namespace: "team7"},
		{Workload: "team3/svc3", Direction: policy.Ingress},
		{Text: "nowhere"},
		{Name: "*.example.com"},
		{Reason: "default-deny", Method: "GET"},
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return took
		default:
		}
		f, limit := filters[i%len(filters)], []int{100, flows.MaxLimit}[i%2]
		var c flows.Cursor
		for range 2 {
			start := time.Now()
			p, err := s.Query(f, c, limit)
			took = append(took, time.Since(start))
			if c = p.Next; err != nil || c.IsZero() {
				break
			}
		}
		runtime.Gosched()
	}
}

// traffic makes decisions.
type traffic struct {
	options
	r    *rand.Rand
	pick *rand.Zipf
	n    int
}

func newTraffic(o options) *traffic {
	r := rand.New(rand.NewPCG(1, 2))
	return &traffic{o, r, rand.NewZipf(r, 1.1, 10, uint64(o.workloads*o.kinds-1)), 0}
}

// make returns n decisions: 2 % are of a scan, of the others one in ten kinds is denied.
func (t *traffic) make(n int) []decisions.Record {
	out := make([]decisions.Record, n)
	for i := range out {
		t.n++
		k := int(t.pick.Uint64())
		w, kind := k%t.workloads, k/t.workloads
		space, name := "team"+strconv.Itoa(w%20), "svc"+strconv.Itoa(w)
		r := decisions.Record{
			From: decisions.Envoy, Workload: space + "/" + name, Listener: space + "/" + name + "/http", Direction: policy.Ingress,
			Verdict: policy.Allowed, Reason: "namespace:" + space + "/" + name + "#read", Policy: space + "/" + name, Rule: "read",
			Source: fmt.Sprintf("10.%d.%d.%d:%d", w>>8, w&255, kind%20, 1024+t.n%60000), Destination: fmt.Sprintf("10.200.%d.%d:8080", w>>8, w&255),
			Method: []string{"GET", "GET", "GET", "POST", "DELETE"}[kind%5], Host: name + ".example.com", Status: 200,
			Path: "/api/v1/" + words[kind%len(words)] + "/" + strconv.Itoa(t.r.IntN(1_000_000)) + "/" + words[kind/7%len(words)],
		}
		r.RequestID = fmt.Sprintf("%08x-0000-4000-8000-%012x", t.n, t.r.Uint64()>>16)
		switch {
		case t.n%50 == 0: // a scan
			r.Source = fmt.Sprintf("203.%d.%d.%d:%d", t.n>>16&255, t.n>>8&255, t.n&255, 1024+t.n%60000)
			r.Path = "/" + strings.Repeat(words[t.n%len(words)], 1+t.n%3) + string(rune('a'+t.n%26)) + string(rune('a'+t.n/26%26)) + ".php"
			fallthrough
		case kind%10 == 9:
			r.Verdict, r.Reason, r.Policy, r.Rule, r.Status = policy.Denied, "default-deny:"+space+"/"+name, "", "", 403
		case kind%10 == 8:
			r.Direction, r.Source, r.Destination = policy.Egress, r.Destination, fmt.Sprintf("198.51.%d.%d:443", w&255, kind)
			r.ServerName, r.Host, r.Path, r.Method = words[kind%len(words)]+".example.com", "", "", ""
		}
		out[i] = r
	}
	return out
}

var words = []string{"users", "orders", "items", "carts", "health", "search", "login", "files", "events", "reports", "stock", "prices", "reviews"}

// rss is what the kernel says that this process has in memory, in octets.
func rss() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0, fmt.Errorf("/proc/self/statm: %w", err)
	}
	return resident * int64(os.Getpagesize()), nil
}

// cpuTime is that of this thread.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		panic(err) // there is no other reason than a wrong constant
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func at(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(share*float64(len(sorted)-1))]
}

func mb(octets int64) float64    { return float64(octets) / (1 << 20) }
func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
