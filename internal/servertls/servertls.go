// Package servertls serves TLS with certificates in files that are replaced while it runs.
package servertls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// maxPEM bounds a file of certificates, in octets.
const maxPEM = 1 << 20

// Files of a server, PEM each. They are read again when a handshake finds them changed.
type Files struct {
	// Certificate, with those between it and its authority, and Key of the server.
	Certificate, Key string
	// ClientCA has the authorities whose clients are let in; empty asks for none.
	ClientCA string
	// ClientOptional lets in clients that show no certificate too, where they prove who they are
	// in another way. One that is shown is verified.
	ClientOptional bool
}

// clientAuth is what is asked of clients.
func (f *Files) clientAuth() tls.ClientAuthType {
	switch {
	case f.ClientCA == "":
		return tls.NoClientCert
	case f.ClientOptional:
		return tls.VerifyClientCertIfGiven
	}
	return tls.RequireAndVerifyClientCert
}

// Certificates are those that are served, and whom they are asked of. Each handshake looks
// whether the files have changed, so that nothing has to watch them; files that cannot be
// used leave what was read before. It is safe for concurrent use.
type Certificates struct {
	files  Files
	protos []string
	log    *slog.Logger

	mu      sync.Mutex
	seen    [3]os.FileInfo
	current *tls.Config
	expiry  time.Time
	err     error // of the latest change
}

// New reads the files, which have to be in order now. protos are the application protocols,
// the preferred first.
func New(files Files, log *slog.Logger, protos ...string) (*Certificates, error) {
	c := &Certificates{files: files, protos: protos, log: log}
	c.refresh()
	return c, c.err
}

// Config asks for the current one at each handshake. Its ClientAuth is that of each of them, for
// who looks at it.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         c.protos,
		ClientAuth:         c.files.clientAuth(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.refresh(), nil },
	}
}

// State is when the certificate expires, and why the files were not read again; empty if
// they were.
func (c *Certificates) State() (expiry time.Time, err string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		err = c.err.Error()
	}
	return c.expiry, err
}

// refresh reads the files if one of them is another than it was, and returns what is to be
// served.
func (c *Certificates) refresh() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, err := c.look()
	if err == nil && c.same(seen) {
		c.err = nil // if there was another one in between
		return c.current
	}
	var fresh *tls.Config
	var expiry time.Time
	if err == nil {
		fresh, expiry, err = c.read()
	}
	if err != nil {
		// A certificate without its key, say, since the other file is not written yet: the
		// next handshake reads both again.
		if c.err == nil || c.err.Error() != err.Error() {
			c.log.Error("the certificate was not read again", "error", err)
		}
		c.err = err
		return c.current
	}
	c.seen, c.current, c.expiry, c.err = seen, fresh, expiry, nil
	return fresh
}

func (c *Certificates) paths() [3]string {
	return [3]string{c.files.Certificate, c.files.Key, c.files.ClientCA}
}

func (c *Certificates) look() (seen [3]os.FileInfo, err error) {
	for i, path := range c.paths() {
		if path == "" {
			continue
		}
		if seen[i], err = os.Stat(path); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// same says whether the files are those that were read: the same ones, and not written to.
func (c *Certificates) same(seen [3]os.FileInfo) bool {
	for i, now := range seen {
		was := c.seen[i]
		if now == nil {
			continue
		}
		if was == nil || !os.SameFile(was, now) || was.Size() != now.Size() || !was.ModTime().Equal(now.ModTime()) {
			return false
		}
	}
	return c.current != nil
}

func (c *Certificates) read() (*tls.Config, time.Time, error) {
	var pem [3][]byte
	for i, path := range c.paths() {
		if path == "" {
			continue
		}
		var err error
		if pem[i], err = readPEM(path); err != nil {
			return nil, time.Time{}, err
		}
	}
	pair, err := tls.X509KeyPair(pem[0], pem[1])
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("certificate %s with key %s: %w", c.files.Certificate, c.files.Key, err)
	}
	fresh := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: c.protos, Certificates: []tls.Certificate{pair}}
	if c.files.ClientCA != "" {
		fresh.ClientAuth, fresh.ClientCAs = c.files.clientAuth(), x509.NewCertPool()
		// A session that is resumed would let in whom an authority vouched for that is gone.
		fresh.SessionTicketsDisabled = true
		if !fresh.ClientCAs.AppendCertsFromPEM(pem[2]) {
			return nil, time.Time{}, fmt.Errorf("%s: there is no certificate in it", c.files.ClientCA)
		}
	}
	return fresh, pair.Leaf.NotAfter, nil
}

func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = errors.New("more than 1 MiB are no certificate")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}
