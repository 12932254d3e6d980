package relay_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/xds/relay"
)

func TestConfig(t *testing.T) {
	dir := shortDir(t)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	put(t, file, []byte("x"))
	for says, change := range map[string]func(*relay.Config){
		"":                        func(*relay.Config) {},
		"has to be HOST:PORT":     func(c *relay.Config) { c.Target = "plane.test" },
		"has to be absolute":      func(c *relay.Config) { c.Target = "unix:plane.sock" },
		"TLS.CAFile":              func(c *relay.Config) { c.Target = "plane.test:15012" },
		"TLS.KeyFile":             func(c *relay.Config) { c.Target, c.TLS = "plane.test:15012", relay.TLS{CAFile: "a", CertFile: "b"} },
		"for a unix socket":       func(c *relay.Config) { c.TokenFile = "t" },
		"node's name has 0":       func(c *relay.Config) { c.Node = "" },
		"no socket":               func(c *relay.Config) { c.Socket = "" },
		"use a shorter folder":    func(c *relay.Config) { c.Socket = "/" + strings.Repeat("x", 107) },
		"no folder":               func(c *relay.Config) { c.Dir = "" },
		"mode 0700, and is drwxr": func(c *relay.Config) { c.Dir = open },
		"not a directory":         func(c *relay.Config) { c.Dir = file },
	} {
		c := relay.Config{Target: "unix:" + dir + "/p", Node: node, Socket: dir + "/s", Dir: dir + "/state"}
		change(&c)
		if _, err := relay.New(c); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// TestSocketTaken: neither a file nor another relay's socket is removed.
func TestSocketTaken(t *testing.T) {
	dir := shortDir(t)
	socket := filepath.Join(dir, "relay.sock")
	run := func() error {
		r, err := relay.New(relay.Config{Target: "unix:" + dir + "/p", Node: node, Socket: socket, Dir: dir + "/state"})
		if err != nil {
			t.Fatal(err)
		}
		return r.Run(t.Context())
	}
	put(t, socket, []byte("precious"))
	if err := run(); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
	if b, _ := os.ReadFile(socket); string(b) != "precious" {
		t.Error("the file is gone")
	}
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "something answers") {
		t.Errorf("a socket in use: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close() // and the socket is stale
	newRelay(t, dir, nil)
	until(t, "the relay serves", func() bool {
		st, err := os.Stat(socket)
		return err == nil && st.Mode().Perm() == 0o600
	})
}
