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

	"pavise.dev/pavise/xds"
)

// child is a server process. It says its usage without any content, and where it listens
// with its certificate, in a line each; takes commands, a line each, and answers each with a line:
//
//	change POLICY VERSION   gives the sidecars of the policy another version of it
//	arrive NODE, depart NODE
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
		"bare": func() server { return &bare{} }, "pavise": newPavise, "snapshots": newSnapshots,
	}[kind]
	if s == nil {
		return fmt.Errorf("there is no server %q", kind)
	}
	c := &control{options: o, server: s(), content: make([]*xds.Resources, o.workloads)}
	runtime.GC()
	debug.FreeOSMemory()
	empty, err := usage() // before there is any content
	if err != nil {
		return err
	}
	if kind == "bare" {
		o.workloads = 0 // it has no content
	}
	for w := range o.workloads {
		if c.content[w], err = c.make(w, o.policyOf(w), 0); err != nil {
			return err
		}
	}
	for n := range min(o.nodes, o.nodes*o.workloads) {
		if err := c.server.set(ctx, nodeName(n), c.content[o.workloadOf(n)]); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.server.run(ctx, l, serverTLS(pair)) }()
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

type control struct {
	options
	server  server
	content []*xds.Resources
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
		return "ok", c.change(ctx, args[0], args[1])
	case words[0] == "arrive" && len(args) == 1:
		return "ok", c.server.set(ctx, nodeName(args[0]), c.content[c.workloadOf(args[0])])
	case words[0] == "depart" && len(args) == 1:
		c.server.forget(nodeName(args[0]))
		return "ok", nil
	case words[0] == "usage":
		runtime.GC()
		debug.FreeOSMemory()
		return usage()
	}
	return "", fmt.Errorf("no command: %v", words)
}

// make translates, and has Pavise's server keep the sealed form alone, as package fleet would.
func (c *control) make(workload, p, version int) (*xds.Resources, error) {
	r, err := translate(workload, p, version)
	if _, ours := c.server.(pavise); err != nil || !ours {
		return r, err
	}
	return r.Sealed()
}

func (c *control) change(ctx context.Context, p, version int) error {
	for _, w := range c.workloadsOf(p) {
		r, err := c.make(w, p, version)
		if err != nil {
			return err
		}
		c.content[w] = r
		for n := w; n < c.nodes; n += c.workloads {
			if err := c.server.set(ctx, nodeName(n), r); err != nil {
				return err
			}
		}
	}
	return nil
}

// usage of this process: resident memory without files, and processor time.
func usage() (string, error) {
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
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return "", err
	}
	return fmt.Sprintf("%.3f %d", kb/1024, (r.Utime.Nano()+r.Stime.Nano())/1000), nil
}
