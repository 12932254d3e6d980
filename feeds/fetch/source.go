package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"pavise.dev/pavise/internal/secret"
)

const (
	// DefaultMaxBytes and MostBytes bound Source.MaxBytes.
	DefaultMaxBytes = 256 << 20
	MostBytes       = 4 << 30
	// DefaultTimeout and MostTimeout bound Source.Timeout.
	DefaultTimeout = 2 * time.Minute
	MostTimeout    = time.Hour

	mostHeaders = 16
	mostURL     = 2048
)

// Paging is how a feed is asked for and spread over answers.
type Paging uint8

const (
	// Plain is one answer to one GET.
	Plain Paging = iota
	// TAXII is a collection of TAXII 2.1: its objects, page after page.
	TAXII
	// CrowdSec is one answer of /v1/decisions/stream: startup=true is added to a URL that
	// says nothing about startup, since without it only the latest changes come.
	CrowdSec
)

// Source says where a feed is and how to ask for it. It prints without its secrets.
type Source struct {
	// URL is https, http or file. A file URL has an absolute path and no host but
	// localhost. A user and password in it become basic authentication.
	URL string
	// Header is sent to the host of the URL, and to no other that it redirects to. At most
	// 16; those that the package or net/http sets are refused.
	Header []Header
	// TLS says whom to trust and who we are; only with https.
	TLS TLS
	// MaxBytes bounds the body after decompression. 256 MiB when 0, at most 4 GiB.
	MaxBytes int64
	// Timeout bounds the fetch as a whole. 2 minutes when 0, at most 1 hour.
	Timeout time.Duration
	// Paging is Plain when 0.
	Paging Paging
	// AddedAfter asks a TAXII server for what it was given after that time only; the
	// AddedLast of an earlier Result. Empty for everything.
	AddedAfter string
	// Force asks unconditionally, whatever the validators.
	Force bool
}

// Header is one request header.
type Header struct {
	Name  string
	Value secret.String
}

// TLS says whom to trust and who we are, in PEM.
type TLS struct {
	// CA is whom to trust instead of the system's authorities. It counts for hosts that
	// are redirected to as well.
	CA []byte
	// Certificate and Key are our own, both or none, and shown to the URL's host only.
	Certificate []byte
	Key         secret.String
	// ServerName to expect of the URL's host instead of its name.
	ServerName string
}

func (t TLS) empty() bool {
	return len(t.CA) == 0 && len(t.Certificate) == 0 && t.Key.Empty() && t.ServerName == ""
}

// String leaves out everything but scheme, host and path of the URL.
func (s Source) String() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "a source with a bad URL"
	}
	return visible(u)
}

// Format is String for every verb, so that %+v and %#v show no more.
func (s Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText is String.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String.
func (s Source) LogValue() slog.Value { return slog.StringValue(s.String()) }

// visible is a URL without its user, query and fragment: those may hold keys.
func visible(u *url.URL) string {
	v := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return v.String()
}

// reserved are the headers that the package or net/http sets: another value would
// change what the answer means, or where the request ends.
var reserved = map[string]bool{
	"host": true, "accept-encoding": true, "connection": true, "content-length": true, "content-type": true,
	"transfer-encoding": true, "te": true, "trailer": true, "upgrade": true, "expect": true, "range": true,
	"if-none-match": true, "if-modified-since": true, "if-match": true, "if-unmodified-since": true,
	"if-range": true, "keep-alive": true, "proxy-connection": true, "proxy-authorization": true,
}

// check fills in defaults and returns the URL to ask for. No error of it holds a secret.
func (s *Source) check() (*url.URL, error) {
	bad := func(format string, args ...any) (*url.URL, error) {
		return nil, &Error{Kind: Config, text: fmt.Sprintf(format, args...)}
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = DefaultMaxBytes
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	if s.MaxBytes < 0 || s.MaxBytes > MostBytes {
		return bad("maxBytes is %d, and has to be from 1 to %d", s.MaxBytes, int64(MostBytes))
	}
	if s.Timeout < 0 || s.Timeout > MostTimeout {
		return bad("the timeout is %s, and has to be above 0 and at most %s", s.Timeout, MostTimeout)
	}
	if s.Paging > CrowdSec {
		return bad("there is no paging %d", s.Paging)
	}
	if len(s.URL) > mostURL {
		return bad("the URL has %d octets, and may have %d", len(s.URL), mostURL)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return bad("the URL cannot be read; it looks like https://host/path") // err would show it
	}
	u.Fragment, u.RawFragment = "", ""
	if u.Scheme == "file" {
		return s.checkFile(u)
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return bad("the URL has to begin with https:, http: or file:")
	}
	if u.Hostname() == "" || u.Opaque != "" {
		return bad("the URL names no host; it looks like https://host/path")
	}
	if len(s.Header) > mostHeaders {
		return bad("there are %d headers, and may be %d", len(s.Header), mostHeaders)
	}
	for _, h := range s.Header {
		switch {
		case !httpguts.ValidHeaderFieldName(h.Name):
			return bad("%.40q cannot be the name of a header", h.Name)
		case reserved[strings.ToLower(h.Name)]:
			return bad("the header %s is not for a feed to set", h.Name)
		case !httpguts.ValidHeaderFieldValue(h.Value.Reveal()):
			return bad("the value of header %s holds characters that no header can, such as a line end", h.Name)
		}
	}
	if u.Scheme == "http" && !s.TLS.empty() {
		return bad("tls is set, but the URL is http:; write https: or take tls away")
	}
	switch s.Paging {
	case TAXII:
		if !strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/objects") {
			u = u.JoinPath("objects/")
		}
	case CrowdSec:
		if !u.Query().Has("startup") {
			if u.RawQuery != "" {
				u.RawQuery += "&"
			}
			u.RawQuery += "startup=true" // appended, so that the rest stays as it was written
		}
	}
	return u, nil
}

func (s *Source) checkFile(u *url.URL) (*url.URL, error) {
	text := ""
	switch {
	case u.Opaque != "" || !path.IsAbs(u.Path):
		text = "a file URL has to have an absolute path, as in file:///etc/feeds/list.txt"
	case u.Host != "" && u.Host != "localhost" || u.User != nil:
		text = "a file URL names no host, as in file:///etc/feeds/list.txt"
	case u.RawQuery != "" || strings.ContainsRune(u.Path, 0):
		text = "a file URL has a path and nothing else; write ? as %3F"
	case len(s.Header) > 0 || !s.TLS.empty() || s.Paging != Plain:
		text = "headers, tls and pages are for https:, and the URL is file:"
	default:
		u.Path = filepath.FromSlash(path.Clean(u.Path))
		return u, nil
	}
	return nil, &Error{Kind: Config, text: text}
}

// digest identifies what was asked of whom: validators for another URL, other headers
// or another way of asking are of no use.
func (s *Source) digest(u *url.URL) string {
	h := sha256.New()
	write := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s,", len(p), p)
		}
	}
	write("pavise feed", u.String(), fmt.Sprint(s.Paging))
	for _, f := range s.Header {
		write(strings.ToLower(f.Name), f.Value.Reveal())
	}
	return hex.EncodeToString(h.Sum(nil))
}
