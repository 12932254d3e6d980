package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pavise.dev/pavise/internal/envoy"
)

// coredns is set up as its users block names: by a file of hosts, with its cache in front,
// which is given room for all names.
func (l *lab) coredns(ctx context.Context, s *server, names []string) (command string, args []string, err error) {
	command, err = buildCoreDNS(ctx, l.o.coredns)
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "0.0.0.0 %s\n", n)
	}
	hosts := filepath.Join(l.dir, "hosts")
	if err := os.WriteFile(hosts, []byte(b.String()), 0o600); err != nil {
		return "", nil, err
	}
	path := filepath.Join(l.dir, "Corefile")
	text := fmt.Sprintf(`.:%d {
  bind 127.0.0.1
  cache {
    success 65536 3600
    denial 65536
  }
  hosts %s {
    reload 0
    fallthrough
  }
  forward . 127.0.0.1:%d
}
`, s.port, hosts, l.upstream.port)
	return command, []string{"-quiet", "-conf", path}, os.WriteFile(path, []byte(text), 0o600)
}

// buildCoreDNS builds it from its Go module, once for each version, into the cache.
func buildCoreDNS(ctx context.Context, version string) (string, error) {
	if version == "" {
		return "", fmt.Errorf("no version was named")
	}
	cache, err := envoy.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "coredns-"+version)
	path := filepath.Join(dir, "coredns")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "building CoreDNS %s; this takes some minutes, once\n", version)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a folder of tools
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "install", "github.com/coredns/coredns@"+version)
	build.Dir = dir // not in a module
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build it: %w: %s", err, lastLines(strings.TrimSpace(string(out)), 5))
	}
	return path, nil
}
