package extauthz

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// DirectionKey is the context extension that says ingress or egress, for a server that is
// asked about both. It comes from Envoy's configuration, not from a client.
const DirectionKey = "pavise-direction"

// longestHost is more than any authority that could be listed has octets: a name, a dot and
// a port.
const longestHost = 253 + 1 + 6

var (
	errNoAttributes = errors.New("a check without attributes")
	// errMalformed is for a host or server name without a usual form.
	errMalformed = errors.New("malformed host")
)

// facts reads what Envoy says of a request or connection, HTTP or not. errMalformed is for
// the client to answer for; another error is one of Envoy's configuration. What has no
// address, as at a unix socket, is not asked about.
func (s *Server) facts(a *authv3.AttributeContext, f *filter.Facts) error {
	if a == nil {
		return errNoAttributes
	}
	f.Direction = s.config.Direction
	switch d := a.GetContextExtensions()[DirectionKey]; d {
	case "":
	case filter.Ingress.String():
		f.Direction = filter.Ingress
	case filter.Egress.String():
		f.Direction = filter.Egress
	default:
		return fmt.Errorf("context extension %s is %.40q: want ingress or egress", DirectionKey, d)
	}
	var err error
	if f.Direction == filter.Ingress {
		if f.Source, err = address(a.GetSource()); err != nil {
			return fmt.Errorf("source: %w", err)
		}
		if n := s.config.ForwardedFor; n > 0 {
			if client, ok := forwarded(a.GetRequest().GetHttp().GetHeaders()["x-forwarded-for"], n); ok {
				f.Source = client
			}
		}
		return nil
	}
	if f.Destination, err = address(a.GetDestination()); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if sni := a.GetTlsSession().GetSni(); sni != "" {
		var port int
		if f.ServerName, port, err = host(sni); err != nil || port != policy.NoPort {
			return errMalformed
		}
	}
	if h := a.GetRequest().GetHttp(); h != nil {
		if f.Host, _, err = host(h.GetHost()); err != nil {
			return errMalformed
		}
	}
	return nil
}

// asked says whether there is anything to ask the feeds about.
func asked(f *filter.Facts) bool {
	if f.Direction == filter.Ingress {
		return f.Source.IsValid()
	}
	return f.Destination.IsValid() || f.ServerName != "" || f.Host != ""
}

// address of a peer; none for one that has none, such as a unix socket.
func address(p *authv3.AttributeContext_Peer) (netip.Addr, error) {
	s, ok := p.GetAddress().GetAddress().(*corev3.Address_SocketAddress)
	if !ok {
		return netip.Addr{}, nil
	}
	text := s.SocketAddress.GetAddress()
	if len(text) > 64 {
		return netip.Addr{}, fmt.Errorf("%.64q… is no address", text)
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is no address", text)
	}
	return ip.Unmap().WithZone(""), nil
}

// forwarded is the n-th address from the right of an X-Forwarded-For, of which Envoy has
// made one line. Some balancers add a port.
func forwarded(header string, n int) (netip.Addr, bool) {
	for ; n > 1; n-- {
		i := strings.LastIndexByte(header, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		header = header[:i]
	}
	text := strings.TrimSpace(header[strings.LastIndexByte(header, ',')+1:])
	if len(text) > 64 {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		var ap netip.AddrPort
		ap, err = netip.ParseAddrPort(text)
		ip = ap.Addr()
	}
	return ip.Unmap().WithZone(""), err == nil
}

func host(authority string) (string, int, error) {
	if len(authority) > longestHost {
		return "", policy.NoPort, errMalformed
	}
	name, port, ok := policy.CanonicalHost(authority)
	if !ok || len(name) > 253 {
		return "", port, errMalformed
	}
	return name, port, nil
}
