// Command xds measures the xDS server with many clients: memory of a stream, how long a
// change of policy takes to the last acknowledgement, arrivals and departures, and all
// clients reconnecting at once; beside a server that sends nothing and beside
// go-control-plane's SnapshotCache with a snapshot for each node, as its documentation has it.
//
// Each server is a child process, so that its memory and its processor time are its own;
// the clients, with a TLS connection and a token each, are in this one. Servers and clients
// share the processors of the machine. What is timed ends when the last client concerned has
// sent its acknowledgement. The memory of a server counts its content: compiled policies and
// resources. What is compiled and translated is the same for all three. An arrival waits for the
// window in which a source gathers events, 20 ms. The processor time of a push is that
// from handing over what was translated to the last acknowledgement; the bare server is given the
// same octets, marshalled once, and sends them as simply as grpc-go can.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	nodes, workloads, policies, changes int
	churn                               time.Duration
	rate                                int
}

func main() {
	var o options
	var serve string
	flag.IntVar(&o.nodes, "nodes", 10_000, "sidecars")
	flag.IntVar(&o.workloads, "workloads", 1000, "services; each has as many sidecars as any other")
	flag.IntVar(&o.policies, "policies", 200, "policies; each selects as many services as any other")
	flag.IntVar(&o.changes, "changes", 100, "changes of a policy that are timed")
	flag.DurationVar(&o.churn, "churn", 5*time.Minute, "how long pods arrive and depart")
	flag.IntVar(&o.rate, "rate", 100, "arrivals and departures a second, together")
	flag.StringVar(&serve, "serve", "", "what a child process is: bare, pavise or snapshots")
	flag.Parse()
	if o.policies < 1 || o.workloads%o.policies != 0 || o.nodes%o.workloads != 0 {
		fmt.Fprintln(os.Stderr, "xds: -nodes has to be a multiple of -workloads, and that of -policies")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if serve != "" {
		err = child(ctx, serve, o, bufio.NewScanner(os.Stdin))
	} else {
		err = run(ctx, o)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "xds:", err)
		os.Exit(1)
	}
}

// run measures the three servers one after another.
func run(ctx context.Context, o options) error {
	bare, err := measure(ctx, "bare", o)
	if err != nil {
		return err
	}
	ours, err := measure(ctx, "pavise", o)
	if err != nil {
		return err
	}
	theirs, err := measure(ctx, "snapshots", o)
	if err != nil {
		return err
	}
	above := func(f figures) float64 { return f.connected - f.empty - (bare.connected - bare.empty) }
	kb := func(mb float64) float64 { return mb * 1024 / float64(o.nodes) }
	fmt.Printf("\n%-34s %10s %10s %10s\n", "", "bare", "pavise", "snapshots")
	row := func(name string, f func(figures) float64) {
		fmt.Printf("%-34s %10.1f %10.1f %10.1f\n", name, f(bare), f(ours), f(theirs))
	}
	row("KB a stream, in all", func(f figures) float64 { return kb(f.connected - f.empty) })
	row("KB a stream, above bare", func(f figures) float64 { return kb(above(f)) })
	row("change to last ACK, p50 ms", func(f figures) float64 { return f.p50 })
	row("change to last ACK, p99 ms", func(f figures) float64 { return f.p99 })
	row("processor, µs a push, in all", func(f figures) float64 { return f.change })
	row("processor, µs a push, serving", func(f figures) float64 { return f.push })
	row("arrival to last ACK, p50 ms", func(f figures) float64 { return f.arrival50 })
	row("arrival to last ACK, p99 ms", func(f figures) float64 { return f.arrival })
	row("octets to those not concerned", func(f figures) float64 { return float64(f.strayed) })
	row("all reconnect, s", func(f figures) float64 { return f.reconnect })
	row("failed streams", func(f figures) float64 { return float64(f.failed) })
	row("churn, arrivals+departures/s", func(f figures) float64 { return f.churn })
	row("arrival to its own, p50 ms", func(f figures) float64 { return f.own50 })
	row("arrival to its own, p99 ms", func(f figures) float64 { return f.own })
	fmt.Printf("RESULT bench-xds nodes=%d workloads=%d policies=%d kb_stream=%.1f p99_change_ms=%.1f p50_arrival_ms=%.1f p99_arrival_ms=%.1f strayed=%d reconnect_s=%.1f failed=%d churn=%.1f p50_own_ms=%.1f p99_own_ms=%.1f push_us=%.0f snapshots_memory_ratio=%.1f snapshots_cpu_ratio=%.1f\n",
		o.nodes, o.workloads, o.policies, kb(above(ours)), ours.p99, ours.arrival50, ours.arrival, ours.strayed, ours.reconnect, ours.failed, ours.churn, ours.own50, ours.own, ours.push,
		above(theirs)/max(above(ours), 0.01), theirs.push/max(ours.push, 0.01))
	return nil
}
