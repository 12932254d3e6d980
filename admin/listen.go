package admin

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/net/netutil"
)

// Options of an endpoint at an address.
type Options struct {
	// TokenFile has a bearer token of at least 32 octets, read again when it changes. Where it
	// is given, every request has to show it or a client certificate, at loopback too.
	TokenFile string
	// TLS serves with certificates. With ClientCAs and a ClientAuth that verifies, it lets in who has
	// a certificate of theirs. GetConfigForClient has to ask for as much. Nil is plain HTTP.
	TLS *tls.Config
	// Profile serves /debug/pprof as well.
	Profile bool
	// Names by which browsers may ask for it, beside its address and localhost.
	Names []string
	// Pages are what is served at other paths, behind the same checks; nil for nothing.
	Pages http.Handler
	// Log is slog.Default where nil.
	Log *slog.Logger
}

// mostConnections at a time. More wait.
const mostConnections = 256

// Server is an endpoint at an address.
type Server struct {
	listener net.Listener
	handler  http.Handler
	log      *slog.Logger
}

// ServeTCP is Listen and Serve.
func ServeTCP(ctx context.Context, address string, s Source, o Options) error {
	srv, err := Listen(ctx, address, s, o)
	if err != nil {
		return err
	}
	return srv.Serve(ctx)
}

// Listen takes HOST:PORT, and checks what can be checked before anybody is answered; "none" and
// "" are no address.
//
// At a loopback address it asks nobody who they are. That is for who may read it on the
// machine: whoever may connect to its loopback, which in a pod is every container. Off
// loopback there has to be a token or client certificates, and nobody is let in without.
func Listen(ctx context.Context, address string, s Source, o Options) (*Server, error) {
	if address == "" || address == "none" {
		return &Server{}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the admin endpoint: %w", err)
	}
	if host, _, herr := net.SplitHostPort(address); herr == nil && host != "" {
		o.Names = append([]string{host}, o.Names...)
	}
	at, ok := l.Addr().(*net.TCPAddr)
	return listenOn(l, s, o, ok && at.AddrPort().Addr().Unmap().IsLoopback())
}

// listenOn is Listen with a listener, which it closes if it fails; loopback says that only who
// is on the machine gets there.
func listenOn(l net.Listener, s Source, o Options, loopback bool) (*Server, error) {
	o.Log = cmp.Or(o.Log, slog.Default())
	g, err := newGuard(s, o, loopback)
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("the admin endpoint at %s: %w", l.Addr(), err)
	}
	l = netutil.LimitListener(l, mostConnections)
	if o.TLS != nil {
		l = tls.NewListener(l, o.TLS)
	} else if !loopback {
		o.Log.Warn("the admin endpoint is served without TLS: who can listen on the way reads its token", "address", l.Addr().String())
	}
	return &Server{l, g, o.Log}, nil
}

// Serve answers until the context ends.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	return serveOn(ctx, s.listener, s.handler, s.log)
}

// Addr is where it listens; nil where nowhere.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

func newGuard(s Source, o Options, loopback bool) (*guard, error) {
	g := &guard{open: loopback && o.TokenFile == "" && !asksCertificates(o.TLS), log: o.Log}
	if !loopback && o.TokenFile == "" && !asksCertificates(o.TLS) {
		return nil, errors.New("it is not a loopback address, and nothing says who may ask: give a file with a token " +
			"(--admin-token-file), or TLS with client certificates (--admin-client-ca), or listen at 127.0.0.1")
	}
	if o.TokenFile != "" {
		var err error
		if g.token, err = openToken(o.TokenFile, g.log); err != nil {
			return nil, err
		}
	}
	for _, n := range o.Names {
		// An address is let in as such; an unspecified one is no name.
		if _, err := netip.ParseAddr(n); err != nil {
			g.names = append(g.names, strings.ToLower(n))
		}
	}
	e := newEndpoint(s, o.Profile)
	mux := e.mux()
	if o.Pages != nil {
		mux.Handle("/", o.Pages)
		g.page = func(r *http.Request) bool {
			_, pattern := mux.Handler(r)
			return pattern == "/"
		}
	}
	g.next = mux
	return g, nil
}

// asksCertificates says that a verified certificate can be shown.
func asksCertificates(c *tls.Config) bool {
	return c != nil && (c.ClientAuth == tls.RequireAndVerifyClientCert || c.ClientAuth == tls.VerifyClientCertIfGiven)
}
