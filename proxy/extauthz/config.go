package extauthz

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/servertls"
	"pavise.dev/pavise/proxy/filter"
)

// Config of a [Server]. Engine and one of Socket and Address have to be there; what else is
// zero has its default.
type Config struct {
	// Engine decides. Its Missing is also what becomes of a check that cannot be decided:
	// one that panicked, or whose attributes are not what Envoy sends.
	Engine *filter.Engine
	// Direction of what says nothing else in its context extensions, see DirectionKey.
	// Default ingress.
	Direction filter.Direction
	// ForwardedFor takes the source of a request from X-Forwarded-For: the address in that
	// place from its right, from 1. Envoy sends the address of the connection, whatever
	// xff_num_trusted_hops says, and behind a load balancer that is the balancer's. An Envoy
	// with use_remote_address adds that address itself, so that the client of one balancer
	// is 2. What the header does not hold there is the connection's address; more than the
	// proxies that are trusted would believe what a client writes. Default 0: not at all.
	ForwardedFor int

	// HideReasons keeps from clients which feed denied a request.
	HideReasons bool

	// Socket is the path of a unix socket, at most 107 octets. What is there already is
	// replaced if it is a socket.
	Socket string
	// SocketMode are its permissions: who may open it may ask. Default 0600.
	SocketMode fs.FileMode
	// Address is HOST:PORT to listen at instead, by TCP.
	Address string
	// TLS of Address; nil is none, which is for loopback, and for where a mesh has its own.
	TLS *servertls.Files

	// MaxMessage bounds a check in octets, 64 KiB to 16 MiB. Envoy sends the headers of a
	// request along, and takes what is refused for its own failure: it has to be more than
	// Envoy's max_request_headers_kb, or a client opens a server that fails open by sending
	// long headers. Default 1 MiB.
	MaxMessage int
	// MaxStreams bounds the checks under way on one connection. Default 1024; Envoy opens
	// further connections beyond it.
	MaxStreams uint32
	// MaxConnections bounds the connections at a time; others wait to be accepted.
	// Default 4096. An Envoy has one for each of its worker threads.
	MaxConnections int

	// Decisions is told of everything that was denied or alerted on, from several
	// goroutines; it must not block. Nil is nobody.
	Decisions func(decisions.Record)
	// Logger is told of failures; nil is silent.
	Logger *slog.Logger
}

const (
	leastMessage = 64 << 10
	mostMessage  = 16 << 20
)

func (c *Config) setDefaults() error {
	if c.SocketMode == 0 {
		c.SocketMode = 0o600
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 1 << 20
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 1024
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 4096
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Engine == nil:
		return errors.New("ext_authz: there is no engine to decide")
	case c.Direction != filter.Ingress && c.Direction != filter.Egress:
		return fmt.Errorf("ext_authz: direction %d: want filter.Ingress or filter.Egress", c.Direction)
	case c.ForwardedFor < 0 || c.ForwardedFor > 16:
		return fmt.Errorf("ext_authz: place %d of X-Forwarded-For: want 1 to 16, or 0 for the connection's address", c.ForwardedFor)
	case (c.Socket == "") == (c.Address == ""):
		return errors.New("ext_authz: want a socket or an address to listen at, and not both")
	case c.Socket != "" && c.TLS != nil:
		return errors.New("ext_authz: TLS is for an address; who may open a socket is for its mode to say")
	case len(c.Socket) > 107:
		return fmt.Errorf("ext_authz: the path of the socket has %d octets, a socket's has 107 at the most: %s", len(c.Socket), c.Socket)
	case c.SocketMode&^0o777 != 0:
		return fmt.Errorf("ext_authz: socket mode %#o: want permissions, 0 to 0777", c.SocketMode)
	case c.MaxMessage < leastMessage || c.MaxMessage > mostMessage:
		return fmt.Errorf("ext_authz: messages of %d octets: want %d to %d", c.MaxMessage, leastMessage, mostMessage)
	case c.MaxConnections < 0:
		return fmt.Errorf("ext_authz: %d connections: want one or more", c.MaxConnections)
	}
	if c.Address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("ext_authz: address %q: want HOST:PORT: %w", c.Address, err)
	}
	if c.TLS != nil && (c.TLS.Certificate == "" || c.TLS.Key == "") {
		return errors.New("ext_authz: TLS takes a certificate and its key")
	}
	return nil
}
