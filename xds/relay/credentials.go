package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"

	"pavise.dev/pavise/internal/secret"
)

// TLS names the files of a connection to the control plane, PEM each. They are read for
// every connection, so that what is replaced is used from the next one on; a connection
// that is open stays.
type TLS struct {
	// CAFile has the authorities that may have signed the control plane's certificate.
	// Those of the system are not asked.
	CAFile string
	// CertFile and KeyFile are a certificate for this client; empty for none.
	CertFile, KeyFile string
	// ServerName is the name in the control plane's certificate; the host of the target
	// when empty.
	ServerName string
}

// maxCredential bounds a file of certificates, keys or a token, in octets.
const maxCredential = 1 << 20

// readCredential reads a small file. It does not wait for one that is no file.
func readCredential(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() == 0 || st.Size() > maxCredential {
		return nil, fmt.Errorf("%s has to be a file of 1 to %d octets, and is %s with %d", path, maxCredential, st.Mode(), st.Size())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCredential))
}

// Config reads the files.
func (t TLS) Config() (*tls.Config, error) {
	ca, err := readCredential(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("the control plane's authority: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !c.RootCAs.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("the control plane's authority: %s has no certificate in PEM", t.CAFile)
	}
	if t.CertFile == "" {
		return c, nil
	}
	cert, err := readCredential(t.CertFile)
	if err != nil {
		return nil, fmt.Errorf("the client certificate: %w", err)
	}
	key, err := readCredential(t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("the client certificate's key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		// Also while one of the two has been replaced and the other not yet; the next
		// attempt reads both again.
		return nil, fmt.Errorf("the client certificate %s with the key %s: %w", t.CertFile, t.KeyFile, err)
	}
	// Shown whatever authorities the server names: one that takes none of ours says so,
	// where an empty answer would only be refused.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return c, nil
}

// rereading is TLS whose files are read at each handshake.
type rereading struct{ files TLS }

func (r rereading) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := r.files.Config()
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	if r.files.ServerName != "" {
		authority = r.files.ServerName // the name that is verified
	}
	return credentials.NewTLS(c).ClientHandshake(ctx, authority, conn)
}

func (rereading) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	_ = conn.Close()
	return nil, nil, errors.New("relay: credentials of a client")
}

func (rereading) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (r rereading) Clone() credentials.TransportCredentials { return r }

func (rereading) OverrideServerName(string) error {
	return errors.New("relay: the server's name is set in TLS.ServerName")
}

// token is a bearer token in a file.
type token struct{ path string }

// GetRequestMetadata is asked for each stream.
func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	s, err := t.read()
	if err != nil {
		return nil, fmt.Errorf("the token: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + s.Reveal()}, nil
}

func (token) RequireTransportSecurity() bool { return true }

func (t token) read() (secret.String, error) {
	b, err := readCredential(t.path)
	if err != nil {
		return secret.String{}, err
	}
	s := strings.TrimSpace(string(b))
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.String{}, fmt.Errorf("%s has to hold one word of ASCII", t.path)
	}
	return secret.New(s), nil
}
