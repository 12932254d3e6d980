package api

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const maxFeedURL = 2048

// parseFeedURL reads where a feed is. No message shows the URL: it may have a token in
// it, and messages end up in logs.
func parseFeedURL(s string) (*url.URL, *fault) {
	bad := func(fix, format string, args ...any) (*url.URL, *fault) {
		return nil, faultf(CodeFeedURL, fix, format, args...)
	}
	if len(s) > maxFeedURL {
		return bad("", "the URL has %d bytes and may have %d", len(s), maxFeedURL)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return bad("write %20 for a space", "the URL has a space or a control character in it")
		}
	}
	if hasUserinfo(s) {
		return nil, faultf(CodeFeedCredentials, "put credentials in headers", "the URL has a user name or password in it")
	}
	if strings.Contains(s, "#") {
		return bad("remove what begins at #", "the URL has a fragment, which no server gets to see")
	}
	u, err := url.Parse(s)
	if err != nil {
		return bad("write https://HOST/PATH", "it is not a URL")
	}
	switch u.Scheme {
	case "https", "http":
		return u, checkWebURL(u)
	case "file":
		return u, checkFileURL(u)
	case "":
		return bad("begin it with https://", "the URL has no scheme")
	}
	if !strings.Contains(s, "://") {
		// example.com:8443/list: the host passes for a scheme.
		return bad("begin it with https://", "the URL has no scheme that feeds are fetched by")
	}
	return bad("write https, http or file", "feeds are not fetched by %s", quote(u.Scheme))
}

// hasUserinfo looks at the text, because a password with a / or # in it leaves nothing
// of it where the parser looks.
func hasUserinfo(s string) bool {
	_, rest, ok := strings.Cut(s, "://")
	if !ok {
		return false
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority = rest[:i]
	}
	return strings.Contains(authority, "@")
}

func checkWebURL(u *url.URL) *fault {
	host := u.Hostname()
	if host == "" {
		return faultf(CodeFeedURL, "write "+u.Scheme+"://HOST/PATH", "the URL has no host")
	}
	if strings.HasPrefix(host, "*") {
		return faultf(CodeFeedURL, "", "%s is not one host", quote(host))
	}
	if _, f := canonicalHost(host); f != nil {
		f.code = CodeFeedURL
		return f
	}
	port, err := strconv.Atoi(u.Port())
	switch {
	case strings.HasSuffix(u.Host, ":"):
		return faultf(CodeFeedURL, "remove the colon", "there is no port behind the colon")
	case u.Port() != "" && (err != nil || port < 1 || port > 65535):
		return faultf(CodeFeedURL, "write 1 to 65535", "%s is not a port", shorten(u.Port()))
	}
	return nil
}

func checkFileURL(u *url.URL) *fault {
	if u.Host != "" {
		return faultf(CodeFeedURL, "write file:///PATH, or file:PATH for one beside this file", "what follows file:// is read as a host")
	}
	if u.RawQuery != "" || u.ForceQuery {
		return faultf(CodeFeedURL, "write %3F for the character ?", "a file has no query")
	}
	path, f := filePath(u)
	switch {
	case f != nil:
		return f
	case path == "":
		return faultf(CodeFeedURL, "write file:///PATH", "the URL has no path")
	case strings.Contains(path, "\x00"):
		return faultf(CodeFeedURL, "", "the path has a NUL in it")
	case strings.HasSuffix(path, "/"):
		return faultf(CodeFeedURL, "name a file in it", "the path is that of a folder")
	}
	return nil
}

// isLoopbackHost reports whether what is sent to a canonical host stays on the machine.
func isLoopbackHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}
