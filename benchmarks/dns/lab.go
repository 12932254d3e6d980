package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pavise.dev/pavise/feeds/snapshot"
)

// lab is all that runs.
type lab struct {
	o        *options
	dir      string
	upstream *server
	servers  []*server
}

// server is one that is measured, or the upstream of all.
type server struct {
	*process
	name string
	port int
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// start starts the upstream and every server that can be had, with the same names blocked.
func (l *lab) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	names := names("blocked", l.o.names)
	snap := filepath.Join(l.dir, "snapshot")
	if err := saveSnapshot(snap, names); err != nil {
		return err
	}
	up, err := l.launch(ctx, "upstream", loadCore, func(s *server) (string, []string, error) {
		return self, []string{"serve", "upstream", s.addr()}, nil
	})
	if err != nil {
		return err
	}
	l.upstream = up
	recipes := []struct {
		name   string
		recipe recipe
	}{
		{"pavise", func(s *server) (string, []string, error) {
			return self, []string{"serve", "pavise", s.addr(), up.addr(), snap}, nil
		}},
		{"other", func(s *server) (string, []string, error) {
			return l.o.other, []string{"serve", "pavise", s.addr(), up.addr(), snap}, nil
		}},
		{"echo", func(s *server) (string, []string, error) { return self, []string{"serve", "echo", s.addr()}, nil }},
		{"coredns", func(s *server) (string, []string, error) { return l.coredns(ctx, s, names) }},
		{"unbound", func(s *server) (string, []string, error) { return l.unbound(s, names) }},
	}
	for _, r := range recipes {
		if !slices.Contains(l.o.servers, r.name) && (r.name != "other" || l.o.other == "") {
			continue
		}
		s, err := l.launch(ctx, r.name, serverCore, r.recipe)
		if err != nil {
			if r.name == "pavise" || r.name == "echo" || ctx.Err() != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", r.name, err)
			continue
		}
		l.servers = append(l.servers, s)
	}
	return nil
}

// recipe says how to run a server.
type recipe func(s *server) (command string, args []string, err error)

func (l *lab) launch(ctx context.Context, name string, core int, r recipe) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{name: name, port: port}
	command, args, err := r(s)
	if err != nil {
		return nil, err
	}
	if s.process, err = launch(core, command, args...); err != nil {
		return nil, err
	}
	if err := s.answers(ctx, s.addr()); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// freePort finds a port that is free for UDP and TCP, as CoreDNS takes both.
func freePort() (int, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		_ = l.Close()
		if err != nil {
			continue
		}
		return port, u.Close()
	}
}

// stop ends everything, and shows what servers had to say at the end.
func (l *lab) stop() {
	for _, s := range append(l.servers, l.upstream) {
		if s == nil {
			continue
		}
		if said := strings.TrimSpace(s.end()); said != "" {
			fmt.Fprintf(os.Stderr, "%s said: %s\n", s.name, lastLines(said, 3))
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// names are n distinct ones.
func names(kind string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("host%d.%s%d.example", i, kind, i%100)
	}
	return out
}

func saveSnapshot(path string, names []string) error {
	feeds := []snapshot.Feed{{Name: "blocklist", Action: "Deny", Direction: "Both", Loaded: true}}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		return err
	}
	for i, n := range names {
		if err := b.AddDomain(0, []byte(n), snapshot.Self|snapshot.Below, uint32(i+1)); err != nil {
			return err
		}
	}
	_, err = snapshot.Save(path, b)
	return err
}

// unbound is set up with one thread, as it has one processor.
func (l *lab) unbound(s *server, names []string) (command string, args []string, err error) {
	command, err = exec.LookPath("unbound")
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `server:
  interface: 127.0.0.1
  port: %d
  num-threads: 1
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: %q
  pidfile: ""
  so-rcvbuf: 4m
  do-not-query-localhost: no
  module-config: "iterator"
  msg-cache-size: 16m
  rrset-cache-size: 32m
  outgoing-range: 4096
  num-queries-per-thread: 2048
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@%d
server:
`, s.port, l.dir, l.upstream.port)
	for _, n := range names {
		fmt.Fprintf(&b, "  local-zone: %q always_nxdomain\n", n)
	}
	path := filepath.Join(l.dir, "unbound.conf")
	return command, []string{"-d", "-c", path}, os.WriteFile(path, []byte(b.String()), 0o600)
}
