package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// explain puts an error of net, crypto/tls or net/http into words. It uses no text of
// theirs: a *url.Error shows the URL with its query, and others quote what the server
// sent, which may be what we sent it.
func explain(ctx context.Context, host string, err error) *Error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	if r := (*refusal)(nil); errors.As(err, &r) {
		return failed(Address, false, "%s %s", host, r)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "proxyconnect" {
		host, err = "the proxy on the way to "+host, op.Err
	}
	if e := certificateError(host, err); e != nil {
		return e
	}
	if e := (*net.DNSError)(nil); errors.As(err, &e) {
		switch {
		case e.IsNotFound:
			return failed(Connect, true, "there is no host %s", host)
		case e.IsTimeout:
			return failed(Timeout, true, "no resolver said in time where %s is", host)
		}
		return failed(Connect, true, "%s could not be resolved", host)
	}
	// The texts of net/http that have no type. They are compared with, not shown.
	text := err.Error()
	if u := (*url.Error)(nil); errors.As(err, &u) {
		text = u.Err.Error()
	}
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("server gave HTTP response to HTTPS client"):
		return failed(Protocol, false, "%s speaks http on this port, not https; look at url", host)
	case has("response headers exceeded"):
		return failed(Protocol, false, "%s sent headers of more than %d KiB", host, mostResponseHeader>>10)
	case has("failed to parse Location"):
		return failed(Redirect, false, "%s redirects to something that is no URL", host)
	case has("awaiting response headers"):
		return failed(Timeout, true, "%s took the request and did not answer", host)
	case has("TLS handshake timeout"):
		return failed(Timeout, true, "%s did not finish the TLS handshake in time", host)
	case has("Proxy Authentication Required"):
		return failed(Connect, false, "the proxy on the way to %s wants credentials", host)
	case strings.HasPrefix(text, "tls: "):
		return failed(Certificate, false, "%s could not be agreed with on how to speak TLS", host)
	case has("malformed"), has("Content-Length"), has("transfer encoding"), has("invalid header"), has("invalid Trailer"):
		return failed(Protocol, true, "%s did not answer in proper HTTP", host)
	}
	return connectionError(host, err)
}

func connectionError(host string, err error) *Error {
	var op *net.OpError
	dial := errors.As(err, &op) && op.Op == "dial"
	var timeout net.Error
	late := op != nil && op.Timeout() || errors.As(err, &timeout) && timeout.Timeout()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed(Connect, true, "%s refused the connection", host)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return failed(Connect, true, "there is no route to %s", host)
	case reset(err):
		return failed(Connect, true, "%s broke the connection off", host)
	case late && dial:
		return failed(Timeout, true, "%s could not be connected to in time", host)
	case late:
		return failed(Timeout, true, "%s did not answer in time", host)
	case dial:
		return failed(Connect, true, "%s could not be connected to", host)
	}
	return failed(Connect, true, "the connection to %s failed", host)
}

// reset reports whether a connection broke, as it does when a server is restarted.
func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// certificateError returns nil for what has nothing to do with certificates. The names
// and dates in it are of the server's certificate, which is no secret.
func certificateError(host string, err error) *Error {
	say := func(format string, args ...any) *Error { return failed(Certificate, false, format, args...) }
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		other   *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		return say("the certificate of %s is signed by an authority that is not trusted; set tls.ca", host)
	case errors.As(err, &name):
		return say("the certificate of %s is for another name, %s; look at url, or set tls.serverName", host, names(name.Certificate))
	case errors.As(err, &invalid):
		return invalidCertificate(host, invalid)
	case errors.As(err, &other):
		return say("the certificate of %s cannot be trusted", host)
	}
	// The other side's complaint arrives as an alert (RFC 8446 6.2), whose type is not
	// exported.
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		if h := (tls.RecordHeaderError{}); errors.As(err, &h) {
			return failed(Protocol, false, "%s does not speak TLS on this port; look at url", host)
		}
		return nil
	}
	switch alert := op.Err.Error(); {
	case strings.Contains(alert, "certificate required"):
		return say("%s wants a certificate of us; set tls.certificate and tls.key", host)
	case strings.Contains(alert, "certificate"), strings.Contains(alert, "unknown certificate authority"):
		return say("%s does not accept our certificate, or wants one; look at tls.certificate", host)
	case strings.Contains(alert, "protocol version"):
		return say("%s speaks no TLS version from 1.2 on", host)
	case strings.Contains(alert, "unrecognized name"):
		return say("%s knows no site of that name; look at url and tls.serverName", host)
	}
	return say("%s broke the TLS handshake off; it may want a certificate of us (tls.certificate), or another name (tls.serverName)", host)
}

func invalidCertificate(host string, e x509.CertificateInvalidError) *Error {
	text := "cannot be trusted"
	switch e.Reason { //nolint:exhaustive // the rest is not for the operator to mend
	case x509.Expired:
		// The reason stands for both ends of the validity.
		if now := time.Now(); e.Cert != nil && now.Before(e.Cert.NotBefore) {
			text = fmt.Sprintf("is not valid before %s; is this machine's clock right?", e.Cert.NotBefore.UTC().Format(time.RFC3339))
		} else if e.Cert != nil {
			text = fmt.Sprintf("expired on %s; its operator has to renew it", e.Cert.NotAfter.UTC().Format(time.RFC3339))
		}
	case x509.IncompatibleUsage:
		text = "is not meant for servers"
	case x509.NotAuthorizedToSign:
		text = "is signed by one that must not sign"
	case x509.CANotAuthorizedForThisName, x509.NameConstraintsWithoutSANs:
		text = "is signed by an authority that must not sign for that name"
	}
	return failed(Certificate, false, "the certificate of %s %s", host, text)
}

// names shows the first names of a certificate. They are a stranger's: quoted, and short.
func names(c *x509.Certificate) string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "or for none"
	}
	more := ""
	if len(all) > 3 {
		all, more = all[:3], fmt.Sprintf(" and %d more", len(all)-3)
	}
	for i, n := range all {
		all[i] = fmt.Sprintf("%.80q", n)
	}
	return strings.Join(all, ", ") + more
}
