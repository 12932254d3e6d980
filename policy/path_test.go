package policy

import (
	"net/url"
	"strings"
	"testing"
)

// TestCanonicalPath has the cases of docs/semantics.md. Each is also put to a live
// Envoy, in test/hostile.
func TestCanonicalPath(t *testing.T) {
	unescape, literal := PathOptions{UnescapeSlashes: true}, PathOptions{LiteralParameters: true}
	for _, c := range []struct {
		in     string
		opt    PathOptions
		path   string
		reason ReasonKind
	}{
		{"/", PathOptions{}, "/", ""},
		{"/a/b?x=/../c", PathOptions{}, "/a/b", ""},
		{"//admin", PathOptions{}, "/admin", ""},
		{"/./a//b/../c/", PathOptions{}, "/a/c/", ""},
		{"/a/..", PathOptions{}, "/", ""},
		{"/../../a", PathOptions{}, "/a", ""},
		{"/%61dmin/%7E", PathOptions{}, "/admin/~", ""},
		{"/a/%2e%2E/b", PathOptions{}, "/b", ""},
		{`/x\..\admin`, PathOptions{}, "/admin", ""},
		{"/caf%c3%a9", PathOptions{}, "/caf%C3%A9", ""},
		{"/caf\u00e9", PathOptions{}, "/caf%C3%A9", ""},
		{"/a%3Fb", PathOptions{}, "/a%3Fb", ""},
		{"/a.", PathOptions{}, "/a.", ""},
		{"/a%20", PathOptions{}, "/a%20", ""},
		{"/50%25", PathOptions{}, "/50%25", ""},
		{"/a%2fb", PathOptions{}, "", AmbiguousPath},
		{"/a%2fb", unescape, "/a/b", ""},
		{"/a%2f..%5cb", unescape, "/b", ""},
		{"/a%5Cb", PathOptions{}, "", AmbiguousPath},
		{"/a%00", PathOptions{}, "", AmbiguousPath},
		{"/a%09", PathOptions{}, "", AmbiguousPath},
		{"/%252fadmin", PathOptions{}, "", AmbiguousPath},
		{"/%252fadmin", unescape, "", AmbiguousPath},
		{"/adm%c0%afin", PathOptions{}, "", AmbiguousPath},
		{"/%", PathOptions{}, "", AmbiguousPath},
		{"/%zz", PathOptions{}, "", AmbiguousPath},
		{"/a%4", PathOptions{}, "", AmbiguousPath},
		{"/%7%300", PathOptions{}, "", AmbiguousPath}, // becomes /%700, which a server reads as /p0
		{"/a;v=1", PathOptions{}, "", AmbiguousPath},
		{"/a%3bv=1", PathOptions{}, "", AmbiguousPath},
		{"/a;v=1", literal, "/a;v=1", ""},
		{"/x/..;/a", literal, "", AmbiguousPath},
		{"/;/a", literal, "", AmbiguousPath},
		{"//", PathOptions{}, "", AmbiguousPath},
		{"/a#b", PathOptions{}, "", AmbiguousPath},
		{"/adm%e0%80%afin", PathOptions{}, "", AmbiguousPath},
		{"/adm%f0%80%80%afin", PathOptions{}, "", AmbiguousPath},
		{"/%e0%a0%80%f0%90%80%80", PathOptions{}, "/%E0%A0%80%F0%90%80%80", ""},
		{"/x/..%3b/a", literal, "", AmbiguousPath},
		{"a", PathOptions{}, "", MalformedRequest},
		{"", PathOptions{}, "", MalformedRequest},
	} {
		path, _, reason := CanonicalPath(c.in, c.opt)
		if reason != c.reason || reason == "" && path != c.path {
			t.Errorf("%q %+v: %q %q, want %q %q", c.in, c.opt, path, reason, c.path, c.reason)
		}
	}
}

// FuzzCanonicalPath: whatever comes in, a path that rules are applied to is a fixed
// point, has no way left to be read as another, and means what a URL parser reads.
func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "//x", `/\..\a`, "/a%2fb", "/%25%32%66", "/..;/a", "/%e2%82%ac"} {
		f.Add(s, false, false)
	}
	f.Fuzz(func(t *testing.T, in string, unescape, literal bool) {
		opt := PathOptions{unescape, literal}
		path, _, reason := CanonicalPath(in, opt)
		if reason != "" {
			return
		}
		again, _, reason := CanonicalPath(path, opt)
		if reason != "" || again != path {
			t.Fatalf("%q gave %q, which gives %q %s", in, path, again, reason)
		}
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, "\\#?") {
			t.Fatalf("%q gave %q", in, path)
		}
		plain, err := url.PathUnescape(path)
		if err != nil {
			t.Fatalf("%q gave %q: %v", in, path, err)
		}
		for _, seg := range strings.Split(plain, "/") {
			if seg == "." || seg == ".." {
				t.Fatalf("%q gave %q, which has a dot segment once it is unescaped", in, path)
			}
		}
		if strings.Count(plain, "/") != strings.Count(path, "/") || strings.ContainsAny(plain, "\\\x00") {
			t.Fatalf("%q gave %q, whose segments change when it is unescaped: %q", in, path, plain)
		}
	})
}

func TestPathPatterns(t *testing.T) {
	for _, c := range []struct {
		kind     PathKind
		pattern  string
		yes, not []string
	}{
		{PrefixPath, "/api", []string{"/api", "/api/", "/api/x"}, []string{"/apix", "/", "/API"}},
		{PrefixPath, "/api/", []string{"/api", "/api/x"}, []string{"/apix"}},
		{PrefixPath, "/", []string{"/", "/x"}, nil},
		{ExactPath, "/api", []string{"/api"}, []string{"/api/", "/api/x", "/ap"}},
		{ExactPath, "/caf%c3%a9", []string{"/caf%C3%A9"}, []string{"/cafe"}},
		{TemplatePath, "/users/{id}", []string{"/users/7"}, []string{"/users/", "/users", "/users/7/x"}},
		{TemplatePath, "/users/{id}/orders", []string{"/users/7/orders"}, []string{"/users/7/8/orders"}},
		{TemplatePath, "/files/{rest=**}", []string{"/files", "/files/", "/files/a/b"}, []string{"/filesx"}},
		{TemplatePath, "/a.b/{x}", []string{"/a.b/1"}, []string{"/aXb/1"}},
		{RegexPath, "/v[0-9]+/.*", []string{"/v1/x"}, []string{"/v/x", "/api/v1/x"}},
	} {
		p := newPathPattern(c.kind, c.pattern)
		for _, s := range c.yes {
			if !p.Match(s) {
				t.Errorf("%s does not match %s", p, s)
			}
		}
		for _, s := range c.not {
			if p.Match(s) {
				t.Errorf("%s matches %s", p, s)
			}
		}
	}
}
