package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/xds"
)

// firstPort is that of the upstream; the Envoys have the next ones.
const firstPort = 29500

// lab is what the parts share.
type lab struct {
	options
	dir, file    string // the snapshot
	sets         *sets
	misses, hits string // scripts for wrk
	unruly       string // the same, for paths that no rule allows
	upstream     string
	socket, logs string

	// Of the part that runs.
	control *xds.Server
	group   *errgroup.Group
	ctx     context.Context
	next    int
}

func newLab(_ context.Context, o options, dir string) (*lab, error) {
	l := &lab{
		options: o, dir: dir, file: filepath.Join(dir, "feeds.snapshot"), sets: newSets(o.entries), upstream: fmt.Sprintf("127.0.0.1:%d", firstPort),
		misses: filepath.Join(dir, "misses.lua"), hits: filepath.Join(dir, "hits.lua"), unruly: filepath.Join(dir, "unruly.lua"),
	}
	start := time.Now()
	err := errors.Join(
		l.sets.snapshot(l.file, 0),
		script(l.misses, requests(l.sets.misses, "")),
		script(l.hits, requests(l.sets.hits, "")),
		script(l.unruly, requests(l.sets.deniedByRules, "/no")),
	)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(l.file)
	if err != nil {
		return nil, err
	}
	load, _ := os.ReadFile("/proc/loadavg") // empty says as much
	fmt.Fprintf(os.Stderr, "a snapshot of %d addresses and %d names, %.0f MB, built in %.1f s; load of the machine %s",
		o.entries, o.entries, float64(info.Size())/1e6, time.Since(start).Seconds(), load)
	return l, nil
}

// part runs one, with a control plane and an upstream of its own, and ends what it started.
func (l *lab) part(ctx context.Context, run func(context.Context, *lab) (string, error)) (string, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l.group, l.ctx = errgroup.WithContext(ctx)
	l.socket, l.logs = filepath.Join(l.dir, "x"), filepath.Join(l.dir, "l")
	l.control = xds.NewServer(xds.ServerConfig{Socket: l.socket})
	l.group.Go(func() error { return l.control.Run(l.ctx) })
	l.group.Go(func() error { return serveLogs(l.ctx, l.logs) })
	result, err := func() (string, error) {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		if _, err := l.launch(self, "upstream", l.upstream); err != nil {
			return "", err
		}
		if err := reachable(l.ctx, "tcp", l.upstream); err != nil {
			return "", err
		}
		return run(l.ctx, l)
	}()
	stop()
	// What ended too early is the cause of what else went wrong.
	if werr := l.group.Wait(); werr != nil && !errors.Is(werr, context.Canceled) {
		err = errors.Join(werr, err)
	}
	return result, err
}

// launch starts a process that runs until the part ends; before that it must not end.
func (l *lab) launch(name string, args ...string) (pid int, err error) {
	cmd := exec.CommandContext(l.ctx, name, args...)
	cmd.Stdout, cmd.Stderr = nil, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	l.group.Go(func() error {
		err := cmd.Wait()
		if l.ctx.Err() == nil {
			return fmt.Errorf("%s %v ended: %w", name, args, err)
		}
		return nil
	})
	return cmd.Process.Pid, nil
}

// start starts contenders, one after another.
func (l *lab) start(cs ...*contender) error {
	for _, c := range cs {
		l.next++
		c.port = firstPort + l.next
		if c.snapshot == "" {
			c.snapshot = l.file
		}
		if err := c.start(l.ctx, l, l.group.Go); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// reachable waits until somebody listens.
func reachable(ctx context.Context, network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens at %s: %w", addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
