package dns

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// Network is how an upstream is spoken to.
type Network uint8

const (
	// UDP, and TCP for what does not fit.
	UDP Network = iota
	TCP
	// TLS is DNS over TLS, RFC 7858.
	TLS
)

func (n Network) String() string { return [...]string{"udp", "tcp", "tls"}[min(n, TLS)] }

// Upstream is a resolver that is asked.
type Upstream struct {
	Addr    netip.AddrPort
	Network Network
	// ServerName is what the certificate has to be for; the address if empty. CAs verify it;
	// those of the system if nil. For TLS.
	ServerName string
	CAs        *x509.CertPool

	ca string // the file they are from
}

// maxCA bounds a file of certificates.
const maxCA = 1 << 20

// String is what ParseUpstream reads.
func (u *Upstream) String() string {
	var query []string
	if u.ServerName != "" {
		query = append(query, "name="+u.ServerName)
	}
	if u.ca != "" {
		query = append(query, "ca="+u.ca)
	}
	s := u.Network.String() + "://" + u.Addr.String()
	if len(query) > 0 {
		s += "?" + strings.Join(query, "&")
	}
	return s
}

// ParseUpstream reads 192.0.2.1, 192.0.2.1:5353, [2001:db8::1]:53, udp://, tcp:// or
// tls:// and one of these, and for tls://, behind ?, name= the server name and ca= a file of
// certificates in PEM. The port is 53, for TLS 853. It takes addresses only, as a name
// would need a resolver.
func ParseUpstream(s string) (Upstream, error) {
	var u Upstream
	bad := func(format string, args ...any) (Upstream, error) {
		return Upstream{}, fmt.Errorf("upstream %q: "+format, append([]any{s}, args...)...)
	}
	rest, query, _ := strings.Cut(s, "?")
	if scheme, address, ok := strings.Cut(rest, "://"); ok {
		rest = address
		switch scheme {
		case "udp":
		case "tcp":
			u.Network = TCP
		case "tls":
			u.Network = TLS
		default:
			return bad("the scheme is %q; it can be udp, tcp or tls", scheme)
		}
	}
	port := uint16(53)
	if u.Network == TLS {
		port = 853
	}
	if a, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		u.Addr = netip.AddrPortFrom(a, port)
	} else if u.Addr, err = netip.ParseAddrPort(rest); err != nil {
		return bad("%q is no address, with or without a port", rest)
	}
	if err := u.check(); err != nil {
		return bad("%w", err)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return bad("what is behind ? cannot be read: %w", err)
	}
	for k, v := range values {
		switch {
		case u.Network != TLS || len(v) != 1:
			return bad("only tls:// takes name= and ca=, each once")
		case k == "name":
			u.ServerName = v[0]
		case k == "ca":
			u.ca = v[0]
		default:
			return bad("%q is not known; it can be name or ca", k)
		}
	}
	if u.ca != "" {
		if u.CAs, err = readCAs(u.ca); err != nil {
			return bad("%w", err)
		}
	}
	return u, nil
}

func readCAs(path string) (*x509.CertPool, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxCA {
		return nil, fmt.Errorf("%s is no file of certificates of at most %d octets", path, maxCA)
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// check says what no upstream can be.
func (u *Upstream) check() error {
	a := u.Addr.Addr()
	if !u.Addr.IsValid() || u.Addr.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || u.Network > TLS {
		return fmt.Errorf("%s is nothing that can be asked", u.Addr)
	}
	return nil
}
