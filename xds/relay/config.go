package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
)

// Bounds on what either side may send. What is beyond them is refused, with a reason.
const (
	// maxMessage bounds a message of the control plane, in octets. gRPC's own bound of
	// 4 MiB is less than the policies of a large workload have.
	maxMessage = 64 << 20
	// maxRequest bounds a message of Envoy: names and versions of all it has, or logs.
	maxRequest = 16 << 20
	// maxName bounds the name of a resource and its version, in octets each.
	maxName = 1024
	// maxResources bounds the resources of one type, and the names asked for.
	maxResources = 100_000
	// maxHeld bounds the bodies of all resources together, in octets.
	maxHeld = 256 << 20
	// maxReason bounds what is passed on of a NACK: Envoy quotes whole resources, and the
	// control plane may take no more than 4 MiB.
	maxReason = 64 << 10
	// maxSocketPath is the longest path that fits into a unix socket's address.
	maxSocketPath = 107
)

// Config says whom a Relay stands between. Target, Node, Socket and Dir are needed.
type Config struct {
	// Target is the control plane: HOST:PORT, over TLS, or unix:PATH with an absolute
	// path, without.
	Target string
	// TLS has the certificates for HOST:PORT.
	TLS TLS
	// TokenFile holds a bearer token, which is sent with each stream. It is read for each,
	// so a token that is replaced is used from the next stream on. Empty for none; it
	// needs TLS.
	TokenFile string
	// Node is the name under which the control plane knows the Envoy. An Envoy that calls
	// itself otherwise is refused.
	Node string

	// Socket is the unix socket for Envoy, made with mode 0600.
	Socket string
	// Dir is where the pinned set is kept, made with mode 0700 where it is missing.
	Dir string

	// FallbackAfter is how long an Envoy that starts waits for the control plane before
	// it gets the pinned set; 2 s when 0. It counts from the last that was heard of the
	// control plane, so that one that is known to be away is not waited for again.
	FallbackAfter time.Duration
	// MinBackoff and MaxBackoff bound the wait between two connections, which doubles from
	// the one to the other, with jitter; 100 ms and 30 s when 0.
	MinBackoff, MaxBackoff time.Duration

	// AccessLog is called for each message of Envoy's access log service, from several
	// goroutines; it must not block. Each message has the identifier of its stream, which
	// Envoy sends with the first only. Nil drops them.
	AccessLog func(*accesslogv3.StreamAccessLogsMessage)
	// Logger is told of connections, refusals and what is on disk; nil is silent.
	Logger *slog.Logger
}

// unixTarget begins a Target that is a unix socket.
const unixTarget = "unix:"

func (c *Config) prepare() error {
	switch path, local := strings.CutPrefix(c.Target, unixTarget); {
	case local && !filepath.IsAbs(path):
		return fmt.Errorf("relay: the control plane %q: the path after unix: has to be absolute", c.Target)
	case local && (c.TokenFile != "" || c.TLS != TLS{}):
		return errors.New("relay: a token or TLS for a unix socket, where neither is used: name a HOST:PORT, or leave them out")
	case !local:
		if host, port, err := net.SplitHostPort(c.Target); err != nil || host == "" || port == "" {
			return fmt.Errorf("relay: the control plane %q: it has to be HOST:PORT or unix:PATH", c.Target)
		}
		if c.TLS.CAFile == "" {
			return errors.New("relay: no file with the authority that signed the control plane's certificate (TLS.CAFile)")
		}
		if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
			return errors.New("relay: a client certificate needs both TLS.CertFile and TLS.KeyFile")
		}
	}
	switch {
	case c.Node == "" || len(c.Node) > maxName:
		return fmt.Errorf("relay: the node's name has %d octets; it needs 1 to %d", len(c.Node), maxName)
	case c.Socket == "":
		return errors.New("relay: no socket for Envoy")
	case len(c.Socket) > maxSocketPath:
		return fmt.Errorf("relay: the socket %s has %d octets, a unix socket's path at most %d: use a shorter folder", c.Socket, len(c.Socket), maxSocketPath)
	case c.Dir == "":
		return errors.New("relay: no folder for the last good resources")
	}
	setDefault(&c.FallbackAfter, 2*time.Second)
	setDefault(&c.MinBackoff, 100*time.Millisecond)
	setDefault(&c.MaxBackoff, 30*time.Second)
	c.MaxBackoff = max(c.MaxBackoff, c.MinBackoff)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.AccessLog == nil {
		c.AccessLog = func(*accesslogv3.StreamAccessLogsMessage) {}
	}
	return privateDir(c.Dir)
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// privateDir makes the folder, or makes sure that nobody else can write into it: what is
// in it becomes policy.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("relay: the folder for the last good resources: %w", err)
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("relay: the folder for the last good resources: %w", err)
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !st.IsDir() || st.Mode().Perm()&0o077 != 0 || ok && int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("relay: %s has to be a directory of this user with mode 0700, and is %s", dir, st.Mode())
	}
	return nil
}
