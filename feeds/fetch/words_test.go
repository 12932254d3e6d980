package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestWords has the errors that a test on loopback cannot bring about.
func TestWords(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	alert := func(s string) error { return &net.OpError{Op: "remote error", Err: errors.New("tls: " + s)} }
	for _, c := range []struct {
		err  error
		kind Kind
		says string
	}{
		{&net.DNSError{Err: canary, IsTimeout: true}, Timeout, "no resolver said in time"},
		{&net.DNSError{Err: canary, Server: canary}, Connect, "could not be resolved"},
		{dial(syscall.ENETUNREACH), Connect, "no route"},
		{dial(syscall.EHOSTUNREACH), Connect, "no route"},
		{dial(syscall.EACCES), Connect, "could not be connected to"},
		{dial(syscall.ETIMEDOUT), Timeout, "could not be connected to in time"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, Timeout, "did not answer in time"},
		{&net.OpError{Op: "proxyconnect", Err: dial(syscall.ECONNREFUSED)}, Connect, "the proxy on the way to feed.test refused"},
		{errors.New("Proxy Authentication Required"), Connect, "the proxy on the way to feed.test wants credentials"},
		{alert("unrecognized name"), Certificate, "no site of that name"},
		{alert("unknown certificate authority"), Certificate, "our certificate"},
		{alert("internal error"), Certificate, "broke the TLS handshake off"},
		{errors.New("tls: " + canary), Certificate, "how to speak TLS"},
		{&tls.CertificateVerificationError{Err: errors.New(canary)}, Certificate, "cannot be trusted"},
		{x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, Certificate, "must not sign"},
		{x509.CertificateInvalidError{Reason: x509.CANotAuthorizedForThisName}, Certificate, "for that name"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, Certificate, "or for none"},
		{tls.RecordHeaderError{Msg: canary}, Protocol, "does not speak TLS"},
		{errors.New(canary), Connect, "the connection to feed.test failed"},
	} {
		err := &url.Error{Op: "Get", URL: "https://feed.test/?" + canary, Err: fmt.Errorf("in between: %w", c.err)}
		if u := c.err.Error(); strings.HasPrefix(u, "tls: ") {
			err.Err = c.err
		}
		e := explain(t.Context(), "feed.test", err)
		if e.Kind != c.kind || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s: %s, want %s: … %s …", e.Kind, e, c.kind, c.says)
		}
		if strings.Contains(fmt.Sprintf("%+v %#v", e, e), canary) {
			t.Errorf("the canary is in %s", e)
		}
	}
}
