// Command dns measures what an answer of Pavise's resolver costs, in processor time, beside
// a UDP echo that receives and sends one packet at a time, CoreDNS, and unbound where that
// is installed.
//
// Every server is a process of its own, pinned to processor 0; dnsperf, and the upstream
// that is asked for what is not known, are on processor 1. All servers run all the time
// and are loaded in turn, so that a ratio compares neighbours in time. A figure is what
// dnsperf counted as answered by the processor time that the kernel says the server used,
// and the median over the rounds; a ratio is the median of the ratios of each round.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what to measure.
type options struct {
	rounds, seconds, names, depth, clients, buffer int
	workloads, servers                             []string
	coredns, other                                 string
}

// corednsVersion is what is built if nothing else is said: the last release when the
// figures in docs/decisions were taken.
const corednsVersion = "v1.15.0"

func main() {
	if len(os.Args) > 2 && os.Args[1] == "serve" {
		if err := serve(os.Args[2], os.Args[3:]); err != nil {
			fail(err)
		}
		return
	}
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often each server is measured")
	flag.IntVar(&o.seconds, "seconds", 3, "how long each measurement takes")
	flag.IntVar(&o.names, "names", 10_000, "names that are blocked, and names that are cached; all caches have room for 20,000")
	flag.IntVar(&o.depth, "depth", 100, "questions under way at once; dnsperf's own default")
	flag.IntVar(&o.clients, "clients", 1, "sockets that dnsperf asks from; its own default")
	flag.IntVar(&o.buffer, "buffer", 4096, "socket buffers of dnsperf in KB; with 0, its own default, it loses answers at a depth of 1000")
	flag.StringVar(&o.coredns, "coredns", corednsVersion, "version of CoreDNS, which is built once and kept in the cache; empty for none")
	flag.StringVar(&o.other, "other", "", "another build of this command, whose resolver is measured too: to compare two versions of Pavise")
	workloads := flag.String("workloads", "blocked,cached,forwarded", "what to ask")
	servers := flag.String("servers", "pavise,echo,coredns,unbound", "whom to ask")
	flag.Parse()
	o.workloads, o.servers = strings.Split(*workloads, ","), strings.Split(*servers, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	err := bench(ctx, &o)
	stop()
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench-dns:", err)
	os.Exit(1)
}

func bench(ctx context.Context, o *options) error {
	if n := runtime.NumCPU(); n < 2 {
		return fmt.Errorf("it needs two processors, one for the server and one for the load; there is %d", n)
	}
	if _, err := exec.LookPath("dnsperf"); err != nil {
		return fmt.Errorf("dnsperf is needed; on Debian: apt-get install dnsperf: %w", err)
	}
	dir, err := os.MkdirTemp("", "pavise-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lab := &lab{dir: dir, o: o}
	defer lab.stop()
	if err := lab.start(ctx); err != nil {
		return err
	}
	var results []string
	for _, w := range []workload{blocked{}, cached{}, forwarded{}} {
		if !slices.Contains(o.workloads, w.name()) {
			continue
		}
		result, err := lab.run(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
		results = append(results, result)
	}
	for _, r := range results {
		fmt.Println(r)
	}
	return nil
}

// settle is how long a server is left alone before it is measured: what it still does of
// the last load is not to be counted.
const settle = 200 * time.Millisecond
