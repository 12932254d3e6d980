package main

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/fleet"
)

// window is how long what pods do waits for more of it, as in package kube/source by default; where
// updates take longer, as long as the last one took, at most maxWindow.
const (
	window    = 20 * time.Millisecond
	maxWindow = 200 * time.Millisecond
)

// child is a server process. It says its memory without any content, and where it listens
// with its certificate, in a line each; takes commands, a line each, and answers each with a line:
//
//	change POLICY VERSION   gives the sidecars of the policy another version of it
//	arrive NODE, depart NODE
//	cpu                     processor time in µs since the sets of the last change began
//	usage                   resident memory in MB, processor time in µs
func child(ctx context.Context, kind string, o options, commands *bufio.Scanner) error {
	pair, err := certificate()
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := map[string]func() server{
		"bare": func() server { return newBare() }, "pavise": newPavise, "snapshots": newSnapshots,
	}[kind]
	if s == nil {
		return fmt.Errorf("there is no server %q", kind)
	}
	c := &control{options: o, server: s(), events: make(chan func(), 1024)}
	empty, err := usage() // before there is any content
	if err != nil {
		return err
	}
	if kind != "bare" { // whose memory is to have none
		if err := c.begin(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.server.run(ctx, l, serverTLS(pair)) }()
	go c.follow(ctx)
	fmt.Println(empty)
	fmt.Println(l.Addr(), strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})), "\n", "|"))
	for commands.Scan() {
		answer, err := c.do(ctx, strings.Fields(commands.Text()))
		if err != nil {
			answer = "error " + err.Error()
		}
		fmt.Println(answer)
	}
	cancel()
	if err := <-ended; err != nil && ctx.Err() == nil {
		return err
	}
	return commands.Err()
}

// control is the rest of a control plane, the same for all servers.
type control struct {
	options
	server  server
	cluster *cluster
	fleet   *fleet.Fleet
	events  chan func() // what pods do
	began   float64     // processor time in µs when the last change was handed over
	sets    []set
}

type set struct {
	node string
	r    *xds.Resources
}

// Set notes what the fleet hands over, so that it can be timed without the translation, which
// is the same for all servers.
func (c *control) Set(_ context.Context, node string, r *xds.Resources) error {
	c.sets = append(c.sets, set{node, r})
	return nil
}

func (c *control) Forget(node string) { c.server.forget(node) }

func (c *control) begin(ctx context.Context) error {
	_, ours := c.server.(pavise)
	c.cluster = newCluster(c.options)
	c.fleet = fleet.New(fleet.Config{Server: c, Messages: !ours, Options: xds.Options{Resolver: xds.DefaultResolver, Module: true}})
	return c.apply(ctx)
}

func (c *control) apply(ctx context.Context) error {
	report, err := c.fleet.Apply(ctx, c.cluster.take())
	if err != nil {
		return err
	}
	if len(report.Problems) > 0 || len(report.Held) > 0 {
		return fmt.Errorf("the objects of the benchmark: %v %v", report.Problems, report.Held)
	}
	if c.began, err = processor(); err != nil {
		return err
	}
	for _, s := range c.sets {
		if err := c.server.set(ctx, s.node, s.r); err != nil {
			return err
		}
	}
	c.sets = nil
	return nil
}

// follow takes over what pods do, as a source of Kubernetes does.
func (c *control) follow(ctx context.Context) {
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-c.events:
			e()
		}
		gathered := time.NewTimer(min(max(window, took), maxWindow))
		for more := true; more; {
			select {
			case <-ctx.Done():
				return
			case e := <-c.events:
				e()
			case <-gathered.C:
				more = false
			}
		}
		begun := time.Now()
		if err := c.apply(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "xds:", err)
			os.Exit(1)
		}
		took = time.Since(begun)
	}
}

func (c *control) do(ctx context.Context, words []string) (string, error) {
	if len(words) == 0 {
		return "", fmt.Errorf("an empty command")
	}
	var args []int
	for _, w := range words[1:] {
		n, err := strconv.Atoi(w)
		if err != nil {
			return "", err
		}
		args = append(args, n)
	}
	switch {
	case words[0] == "change" && len(args) == 2:
		if c.fleet == nil {
			if err := c.begin(ctx); err != nil {
				return "", err
			}
		}
		c.cluster.change(args[0], args[1])
		return "ok", c.apply(ctx)
	case words[0] == "arrive" && len(args) == 1:
		c.events <- func() { c.cluster.arrive(args[0]) }
		return "ok", nil
	case words[0] == "depart" && len(args) == 1:
		c.events <- func() { c.cluster.depart(args[0]) }
		return "ok", nil
	case words[0] == "cpu":
		now, err := processor()
		return fmt.Sprintf("%.0f", now-c.began), err
	case words[0] == "usage":
		return usage()
	}
	return "", fmt.Errorf("no command: %v", words)
}

// usage of this process: resident memory without files, and processor time.
func usage() (string, error) {
	runtime.GC()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return "", fmt.Errorf("/proc/self/status has no RssAnon")
	}
	kb, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return "", err
	}
	cpu, err := processor()
	return fmt.Sprintf("%.3f %.0f", kb/1024, cpu), err
}

// processor time of this process, in µs.
func processor() (float64, error) {
	var r syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1000, err
}
