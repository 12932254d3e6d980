package api

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	maxFeedHeaders = 16
	maxHeaderName  = 256
	maxHeaderValue = 8192

	// FeedEnvPrefix begins the names of the environment variables that feeds may send.
	FeedEnvPrefix = "PAVISE_FEED_"
)

// ownHeaders are those that the fetcher sets, that belong to one connection, or that
// make an answer with status 200 something else than the whole feed.
var ownHeaders = []string{
	"accept-encoding", "connection", "content-length", "expect", "host", "if-match", "if-modified-since", "if-none-match",
	"if-range", "if-unmodified-since", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
	"range", "te", "trailer", "transfer-encoding", "upgrade",
}

func feedHeaders(r *reporter, list []FeedHeader, scheme, host string) {
	r.in("headers")
	defer r.out()
	atMost(r, len(list), maxFeedHeaders)
	if scheme == "file" && len(list) > 0 {
		r.report(CodeFeedHeader, "remove them", "a file is not asked for with headers")
	}
	seen := map[string]int{}
	for i := range list {
		h := &list[i]
		name := strings.ToLower(h.Name)
		r.at(i)
		if required(r, "name", h.Name) {
			r.in("name")
			first, twice := seen[name]
			switch {
			case !isToken(h.Name) || len(h.Name) > maxHeaderName:
				r.report(CodeFeedHeader, "", "%s is not the name of a header", quote(h.Name))
			case slices.Contains(ownHeaders, name):
				r.report(CodeFeedHeaderOwn, "remove it", "%s is not for a feed to set", h.Name)
			case twice:
				r.report(CodeFeedHeaderTwice, "keep one of them", "the same name as headers[%d]", first)
			default:
				seen[name] = i
			}
			r.out()
		}
		headerValue(r, h)
		secret := h.ValueFrom != nil || name == "authorization" || name == "cookie"
		if secret && scheme == "http" && !isLoopbackHost(host) {
			r.report(CodeFeedPlainText, "use https", "the value of %s would be sent where anybody on the way can read it", quote(h.Name))
		}
		r.out()
	}
}

func headerValue(r *reporter, h *FeedHeader) {
	switch {
	case h.Value != "" && h.ValueFrom != nil:
		r.report(CodeValueSource, "keep one of them", "both value and valueFrom are given")
		return
	case h.Value == "" && h.ValueFrom == nil:
		r.report(CodeValueSource, "give value, or valueFrom for a secret", "the header has no value")
		return
	}
	if h.Value != "" {
		control := strings.ContainsFunc(h.Value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
		if control || strings.Trim(h.Value, " \t") != h.Value || len(h.Value) > maxHeaderValue {
			// The value is not shown, because it may be a secret all the same.
			r.reportIn("value", CodeFeedHeader, "", "it is not a value of a header: up to %d bytes, no control characters, no space around it", maxHeaderValue)
		}
		return
	}
	valueSource(r, "valueFrom", h.ValueFrom)
}

// valueSource checks that a value, where there is one, is taken from exactly one place.
func valueSource(r *reporter, field string, v *ValueSource) {
	if v == nil {
		return
	}
	r.in(field)
	defer r.out()
	var given []string
	if v.Env != "" {
		given = append(given, "env")
		name, ok := strings.CutPrefix(v.Env, FeedEnvPrefix)
		if !ok || name == "" || len(v.Env) > 256 || strings.ContainsFunc(name, func(c rune) bool { return c != '_' && !isDigitOrLetter(c) }) {
			r.reportIn("env", CodeFeedEnv, "write "+FeedEnvPrefix+"NAME", "%s is not a variable that a feed may use", quote(v.Env))
		}
	}
	if v.File != "" {
		given = append(given, "file")
		r.in("file")
		localOnly(r, "a file")
		if strings.Contains(v.File, "\x00") || strings.HasSuffix(v.File, "/") {
			r.report(CodeValueSource, "", "%s is not the path of a file", quote(v.File))
		}
		r.out()
	}
	if s := v.SecretKeyRef; s != nil {
		given = append(given, "secretKeyRef")
		r.in("secretKeyRef")
		if r.line != nil {
			r.report(CodeFeedSecret, "use env or file where this runs without Kubernetes", "only Kubernetes has Secrets")
		}
		if required(r, "name", s.Name) && len(validation.IsDNS1123Subdomain(s.Name)) > 0 {
			r.reportIn("name", CodeValueSource, "", "%s is not the name of a Secret", quote(s.Name))
		}
		if required(r, "key", s.Key) && len(validation.IsConfigMapKey(s.Key)) > 0 {
			r.reportIn("key", CodeValueSource, "", "%s is not a key of a Secret", quote(s.Key))
		}
		r.out()
	}
	switch len(given) {
	case 0:
		r.report(CodeValueSource, "give env, file or secretKeyRef", "it says no place to take the value from")
	case 1:
	default:
		r.report(CodeValueSource, "keep one of them", "it gives %s at once", enumerate(given))
	}
}

func feedTLS(r *reporter, t *FeedTLS, scheme string) {
	if t == nil {
		return
	}
	r.in("tls")
	defer r.out()
	if scheme != "" && scheme != "https" {
		r.report(CodeFeedTLS, "remove it, or use https", "tls means nothing with %s", scheme)
	}
	if (t.Certificate == nil) != (t.Key == nil) {
		missing := "key"
		if t.Certificate == nil {
			missing = "certificate"
		}
		r.report(CodeFeedTLS, "give "+missing+" too, or neither", "a certificate and its key belong together, and there is no %s", missing)
	}
	valueSource(r, "ca", t.CA)
	valueSource(r, "certificate", t.Certificate)
	valueSource(r, "key", t.Key)
	if s := t.ServerName; s != "" {
		r.in("serverName")
		if name, f := canonicalHost(s); f != nil {
			f.code = CodeFeedTLS
			r.reportFault(f)
		} else if name[0] == '*' {
			r.report(CodeFeedTLS, "", "%s is not one name", quote(s))
		}
		r.out()
	}
}
