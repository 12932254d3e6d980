package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// figures of one server: MB, ms, µs, s.
type figures struct {
	empty, connected float64
	p50, p99, push   float64
	strayed, failed  int64
	reconnect        float64
	change           float64 // processor time of a whole change, by push
	arrival50        float64 // to the last of those whom it concerns
	arrival          float64
	churn            float64 // events a second
	own50, own       float64 // an arrival to its own configuration, meanwhile
}

// lab is one server process and its clients.
type lab struct {
	options
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	target string
	empty  float64 // MB of the process before there was content
	tls    *tls.Config

	clients sync.WaitGroup
	failed  atomic.Int64
	octets  []atomic.Int64 // by policy
	seen    chan int       // nodes that acknowledged policies
}

func start(ctx context.Context, kind string, o options) (*lab, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &lab{options: o, octets: make([]atomic.Int64, o.policies), seen: make(chan int, 4*o.nodes)}
	l.cmd = exec.CommandContext(ctx, self, "-serve", kind, "-nodes", fmt.Sprint(o.nodes), "-workloads", fmt.Sprint(o.workloads), "-policies", fmt.Sprint(o.policies))
	l.cmd.Stderr = os.Stderr
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l.out = bufio.NewScanner(out)
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	if !l.out.Scan() {
		return nil, errors.Join(fmt.Errorf("the server %s did not start", kind), l.stop())
	}
	if _, err := fmt.Sscan(l.out.Text(), &l.empty); err != nil || !l.out.Scan() {
		return nil, errors.Join(fmt.Errorf("the server %s did not start", kind), err, l.stop())
	}
	target, ca, _ := strings.Cut(l.out.Text(), " ")
	l.target = target
	if l.tls, err = clientTLS([]byte(strings.ReplaceAll(ca, "|", "\n"))); err != nil {
		return nil, errors.Join(err, l.stop())
	}
	return l, nil
}

func (l *lab) stop() error {
	_ = l.in.Close()
	return l.cmd.Wait()
}

// ask has the server do something. One at a time.
func (l *lab) ask(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(l.in, format+"\n", args...); err != nil {
		return "", err
	}
	if !l.out.Scan() {
		return "", errors.New("the server has ended")
	}
	if text, failed := strings.CutPrefix(l.out.Text(), "error "); failed {
		return "", errors.New(text)
	}
	return l.out.Text(), nil
}

// usage of the server: MB and µs.
func (l *lab) usage() (memory, processor float64, err error) {
	text, err := l.ask("usage")
	if err == nil {
		_, err = fmt.Sscan(text, &memory, &processor)
	}
	return memory, processor, err
}

func (l *lab) connect(ctx context.Context, node int) {
	c := &client{node: node, octets: &l.octets[l.policyOf(l.workloadOf(node))], failed: &l.failed, acked: func(node int) {
		select {
		case l.seen <- node:
		case <-ctx.Done():
		}
	}}
	l.clients.Go(func() { c.run(ctx, l.target, l.tls) })
}

// all connects everybody and waits until each has its policies.
func (l *lab) all(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	for n := range l.nodes {
		l.connect(ctx, n)
	}
	err := l.wait(ctx, l.nodes, 2*time.Minute)
	return time.Since(begin), err
}

// wait for so many acknowledgements.
func (l *lab) wait(ctx context.Context, n int, patience time.Duration) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for i := range n {
		select {
		case <-l.seen:
		case <-late.C:
			return fmt.Errorf("%d of %d acknowledged within %s; %d streams failed", i, n, patience, l.failed.Load())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func measure(ctx context.Context, kind string, o options) (f figures, err error) {
	l, err := start(ctx, kind, o)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	f.empty = l.empty
	first, leave := context.WithCancel(ctx)
	took, err := l.all(first)
	if err == nil {
		f.connected, _, err = l.usage()
	}
	fmt.Printf("%s: %d connected in %.1f s, %.0f MB\n", kind, o.nodes, took.Seconds(), f.connected)
	if err == nil && kind == "bare" { // it has no content before its memory was measured
		if _, err = l.ask("change 0 0"); err == nil {
			err = l.wait(first, o.nodes, 2*time.Minute)
		}
	}
	if err == nil {
		err = l.changesOf(first, &f)
	}
	if err == nil && kind == "pavise" {
		err = errors.Join(l.arrivalsOf(first, &f), l.churnFor(first, &f))
	}
	leave()
	l.clients.Wait()
	if err != nil {
		return f, err
	}
	for len(l.seen) > 0 {
		<-l.seen
	}
	second, leave := context.WithCancel(ctx)
	took, err = l.all(second)
	f.reconnect, f.failed = took.Seconds(), l.failed.Load()
	leave()
	l.clients.Wait()
	return f, err
}

// changesOf changes one policy after another, and times each to the last acknowledgement.
func (l *lab) changesOf(ctx context.Context, f *figures) error {
	_, before, err := l.usage()
	if err != nil {
		return err
	}
	var took []float64
	serving := 0.0
	for i := range l.changes {
		p := i % l.policies
		others := l.others(p)
		begin := time.Now()
		if _, err := l.ask("change %d %d", p, i+1); err != nil {
			return err
		}
		if err := l.wait(ctx, l.concerned(), time.Minute); err != nil {
			return err
		}
		took = append(took, float64(time.Since(begin).Microseconds())/1000)
		f.strayed += l.others(p) - others
		text, err := l.ask("cpu")
		if err != nil {
			return err
		}
		var used float64
		if _, err := fmt.Sscan(text, &used); err != nil {
			return err
		}
		serving += used
	}
	_, after, err := l.usage()
	slices.Sort(took)
	f.p50, f.p99 = quantile(took, 50), quantile(took, 99)
	pushes := float64(l.changes * l.concerned())
	f.push, f.change = serving/pushes, (after-before)/pushes
	return err
}

// arrivalsOf has pods arrive one after another in workloads that policies name as peers, and
// times each to the last acknowledgement of those whom it concerns. The pods stay.
func (l *lab) arrivalsOf(ctx context.Context, f *figures) error {
	var took []float64
	for i := range l.changes {
		p := i % l.policies // the peer of the policy of its number
		node := l.nodes + i/l.policies*l.workloads + p
		others := l.others(p)
		begin := time.Now()
		if _, err := l.ask("arrive %d", node); err != nil {
			return err
		}
		if err := l.wait(ctx, l.concerned(), time.Minute); err != nil {
			return fmt.Errorf("an arrival: %w", err)
		}
		took = append(took, float64(time.Since(begin).Microseconds())/1000)
		f.strayed += l.others(p) - others
	}
	slices.Sort(took)
	f.arrival50, f.arrival = quantile(took, 50), quantile(took, 99)
	return nil
}

// others is what those have received whom the policy does not select.
func (l *lab) others(p int) (n int64) {
	for i := range l.octets {
		if i != p {
			n += l.octets[i].Load()
		}
	}
	return n
}

func quantile(sorted []float64, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}
