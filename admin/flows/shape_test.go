package flows

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShape(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"", ""},
		{"/", "/"},
		{"*", "*"},
		{"/users/123/orders/9f0c21aa", "/users/{n}/orders/{hex}"},
		{"/users/123/orders/9f0c21aa?token=secret", "/users/{n}/orders/{hex}"},
		{"/a//b/", "/a//b/"},
		{"/v1/api/v2beta1", "/v1/api/v2beta1"},
		{"/1", "/{n}"},
		{"/reports/2026-11-30/1.2.3", "/reports/{n}/{n}"},
		{"/img0042.png", "/img{n}.png"},
		{"/order-1234-5678", "/order-{n}-{n}"},
		{"/o/550e8400-e29b-41d4-a716-446655440000", "/o/{uuid}"},
		{"/o/550E8400-E29B-41D4-A716-446655440000", "/o/{uuid}"},
		{"/o/550e8400-e29b-41d4-a716-44665544000g", "/o/{id}"},
		{"/facade/deadbeef/feedface", "/facade/deadbeef/feedface"},
		{"/c/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/c/{hex}"},
		{"/t/eyJhbGciOiJIUzI1NiIsInR5c", "/t/{id}"},
		{"/some-long-words-without-any-digit", "/some-long-words-without-any-digit"},
		{"/a%20b/c d/\x01/é", "/{enc}/{enc}/{enc}/{enc}"},
		{"/" + strings.Repeat("a", 48), "/" + strings.Repeat("a", 48)},
		{"/" + strings.Repeat("a", 49), "/{long}"},
		{"/1/2/3/4/5/6/7/8", "/{n}/{n}/{n}/{n}/{n}/{n}/{n}/{n}"},
		{"/1/2/3/4/5/6/7/8/9/10", "/{n}/{n}/{n}/{n}/{n}/{n}/{n}/{n}/{more}"},
		{"/../../etc/passwd", "/../../etc/passwd"},
		{"/a/-_.~", "/a/-_.~"},
	} {
		if got := Shape(c.path); got != c.want {
			t.Errorf("Shape(%q) = %q, want %q", c.path, got, c.want)
		}
	}
}

func TestShapeOfAPlainPathCostsNoMemory(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Shape("/api/v1/items") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzShape(f *testing.F) {
	for _, s := range []string{"/users/123", "/a/b/c/d/e/f/g/h/i/j", "/%2e%2e/\xff", "//", "?", "/{n}/{more}", strings.Repeat("1a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := Shape(path)
		if len(got) > 400 || !utf8.ValidString(got) {
			t.Errorf("Shape(%q) = %q", path, got)
		}
		if again := Shape(got); again != got {
			t.Errorf("Shape(%q) = %q, of which the shape is %q", path, got, again)
		}
	})
}
