package api

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func feed(name string, spec ThreatFeedSpec) *ThreatFeed {
	return &ThreatFeed{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func TestFeedDefaults(t *testing.T) {
	s := ThreatFeedSpec{URL: "https://a.example/"}
	if s.Interval() != time.Hour || s.Jitter() != 6*time.Minute || s.Timeout() != 2*time.Minute || s.Expiry() != 0 {
		t.Errorf("%s, %s, %s, %s", s.Interval(), s.Jitter(), s.Timeout(), s.Expiry())
	}
	if s.ByteLimit() != 268435456 || s.EntryLimit() != 5000000 {
		t.Errorf("%d, %d", s.ByteLimit(), s.EntryLimit())
	}
	if got := (FeedLimits{8, 16, 5, 50, 5}); s.Guards.Limits() != got {
		t.Errorf("%+v", got)
	}
	if s.Content.OrDefault() != FeedMixed || s.Format.OrDefault() != FeedAuto || s.Action.OrDefault() != FeedDeny ||
		s.Direction.OrDefault() != FeedBoth || s.Subdomains.OrDefault() != SubdomainsAuto || s.URLs.OrDefault() != URLsRefuse {
		t.Error("a word has another default")
	}
	var o FeedCSVOptions
	if name, n := o.EntryColumn(); name != "" || n != 1 || o.Separator() != ',' || o.CommentPrefix() != "#" {
		t.Errorf("%q, %d, %q, %q", name, n, o.Separator(), o.CommentPrefix())
	}
	if name, n := o.Confidence(); name != "" || n != 0 {
		t.Errorf("%q, %d", name, n)
	}
}

// TestFeedValues reads every field of the good file through the methods.
func TestFeedValues(t *testing.T) {
	set, problems := new(Loader).Load("testdata/good/feeds.yaml")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	i := slices.IndexFunc(set.ThreatFeeds, func(f *ThreatFeed) bool { return f.Name == "everything" })
	s := &set.ThreatFeeds[i].Spec
	if s.Interval() != 90*time.Minute || s.Jitter() != 0 || s.Timeout() != 90*time.Second || s.Expiry() != 168*time.Hour {
		t.Errorf("%s, %s, %s, %s", s.Interval(), s.Jitter(), s.Timeout(), s.Expiry())
	}
	if s.ByteLimit() != 1<<20 || s.EntryLimit() != 1000 || s.Host() != "feeds.example.com" {
		t.Errorf("%d, %d, %s", s.ByteLimit(), s.EntryLimit(), s.Host())
	}
	if got := s.Guards.Limits(); got != (FeedLimits{0, 32, 0, 100, 1}) {
		t.Errorf("%+v", got)
	}
	if name, n := s.CSV.EntryColumn(); name != "ip" || n != 0 || s.CSV.Separator() != '\t' || s.CSV.CommentPrefix() != ";" {
		t.Errorf("%q, %d, %q, %q", name, n, s.CSV.Separator(), s.CSV.CommentPrefix())
	}
	folder := set.Folder(set.ThreatFeeds[i])
	if got := s.Headers[1].ValueFrom.FilePath(folder); got != filepath.FromSlash("testdata/good/secrets/token") {
		t.Error(got)
	}
	if got := s.Headers[0].ValueFrom.FilePath(folder); got != "" {
		t.Error(got)
	}
}

func TestFeedFilePath(t *testing.T) {
	for url, want := range map[string]string{
		"file:lists/mine.txt":  "conf/lists/mine.txt",
		"file:./mine.txt":      "conf/mine.txt",
		"file:../mine.txt":     "mine.txt",
		"file:a%20b%3F%23.txt": "conf/a b?#.txt",
		"file:///srv/mine.txt": "/srv/mine.txt",
		"file:/srv/mine.txt":   "/srv/mine.txt",
		"FILE:mine.txt":        "conf/mine.txt",
		"https://a.example/b":  "!",
		"file:a%zz":            "!",
		"":                     "!",
	} {
		s := ThreatFeedSpec{URL: url}
		got, ok := s.FilePath("conf")
		if !ok {
			got = "!"
		}
		if got != want || s.Host() != "" && !strings.HasPrefix(url, "https") {
			t.Errorf("%s is %s, want %s", url, got, want)
		}
	}
}

func TestFeedHost(t *testing.T) {
	for url, want := range map[string]string{
		"https://Feeds.Example.COM:8443/a": "feeds.example.com",
		"https://bücher.example/":          "xn--bcher-kva.example",
		"http://[2001:DB8::1]:80/":         "[2001:db8::1]",
		"http://10.0.0.1/":                 "10.0.0.1",
		"https://me@a.example/":            "",
		"nonsense":                         "",
	} {
		s := ThreatFeedSpec{URL: url}
		if got := s.Host(); got != want {
			t.Errorf("%s is at %q, want %q", url, got, want)
		}
	}
}

// TestFolder: files in folders, standard input, and objects from elsewhere.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	const text = "apiVersion: pavise.dev/v1alpha1\nkind: ThreatFeed\nmetadata: {name: a}\nspec: {url: \"file:a.txt\"}\n"
	write(t, filepath.Join(dir, "sub", "a.yaml"), text)
	set, problems := new(Loader).Load(dir)
	expect(t, dir, problems)
	if got := set.Folder(set.ThreatFeeds[0]); got != filepath.Join(dir, "sub") {
		t.Error(got)
	}
	set, _ = Parse("-", []byte(text))
	if got := set.Folder(set.ThreatFeeds[0]); got != "." {
		t.Error(got)
	}
	set, _ = NewSet(feed("a", ThreatFeedSpec{URL: "https://a.example/"}))
	if got := set.Folder(set.ThreatFeeds[0]); got != "" {
		t.Error(got)
	}
}

// TestFeedFromElsewhere: who may write objects may not have the control plane read its
// own files; Secrets are for them only.
func TestFeedFromElsewhere(t *testing.T) {
	secret := &ValueSource{SecretKeyRef: &SecretKeyRef{Name: "a", Key: "b"}}
	_, problems := NewSet(
		feed("a", ThreatFeedSpec{URL: "file:///etc/shadow"}),
		feed("b", ThreatFeedSpec{URL: "https://a.example/", Headers: []FeedHeader{{Name: "X", ValueFrom: &ValueSource{File: "/etc/shadow"}}}}),
		feed("c", ThreatFeedSpec{URL: "https://a.example/", TLS: &FeedTLS{CA: &ValueSource{File: "/etc/shadow"}}}),
		feed("d", ThreatFeedSpec{URL: "https://a.example/", Headers: []FeedHeader{{Name: "X", ValueFrom: secret}}}),
	)
	const want = `error PAV0668: ThreatFeed c: spec.tls.ca.file: a file is read only where the feed itself is in a file
error PAV0668: ThreatFeed a: spec.url: a file: URL is read only where the feed itself is in a file
error PAV0668: ThreatFeed b: spec.headers[0].valueFrom.file: a file is read only where the feed itself is in a file
`
	got := strings.Split(lines(problems), "\n")
	slices.Sort(got)
	all := strings.Split(want, "\n")
	slices.Sort(all)
	if !slices.Equal(got, all) {
		t.Errorf("got\n%s", lines(problems))
	}
}

func TestTooManyFeeds(t *testing.T) {
	var objects []Object
	for i := range maxFeeds {
		objects = append(objects, feed(fmt.Sprintf("f%04d", i), ThreatFeedSpec{URL: "https://a.example/"}))
	}
	if _, problems := NewSet(objects...); len(problems) > 0 {
		t.Fatal(problems[0])
	}
	_, problems := NewSet(append(objects, feed("one-more", ThreatFeedSpec{URL: "https://a.example/"}))...)
	if want := "error PAV0670: ThreatFeed one-more: there are 4097 feeds, and there may be 4096\n"; lines(problems) != want {
		t.Errorf("got\n%s", lines(problems))
	}
}

// TestFeedListBounds tries each bound of a list at its limit and one beyond.
func TestFeedListBounds(t *testing.T) {
	for field, c := range map[string]struct {
		most int
		set  func(s *ThreatFeedSpec, n int)
	}{
		"spec.except.cidrs":     {4096, func(s *ThreatFeedSpec, n int) { s.Except.CIDRs = slices.Repeat([]string{"10.0.0.1"}, n) }},
		"spec.except.domains":   {4096, func(s *ThreatFeedSpec, n int) { s.Except.Domains = slices.Repeat([]string{"a.example"}, n) }},
		"spec.guards.protected": {1024, func(s *ThreatFeedSpec, n int) { s.Guards.Protected = slices.Repeat([]string{"::1"}, n) }},
	} {
		for n, want := range map[int]int{c.most: 0, c.most + 1: 1} {
			f := feed("a", ThreatFeedSpec{URL: "https://a.example/"})
			c.set(&f.Spec, n)
			if problems := Validate(f); len(problems) != want || want > 0 && (problems[0].Code != CodeTooMany || problems[0].Field != field) {
				t.Errorf("%s with %d: %s", field, n, lines(problems))
			}
		}
	}
}

// TestCredentialsAreNotShown has a secret at each place where one could be.
func TestCredentialsAreNotShown(t *testing.T) {
	const secret = "tOpSeCrEt"
	for _, url := range []string{
		"https://me:%s@a.example/", "https://%s@a.example/", "https://me:%s#@a.example/", "https://me:%s/@a.example/", "https://me:%s?@a.example/",
		"https://a.example:99999/?k=%s", "http://a.example/%s#x", "ftp://me:%s@a.example/", "https://a.example/%%zz%s", "https://me:%s", "//me:%s@a.example/",
		"https://a.example/ %s", "me:%s@a.example", "https://[::1/?%s",
	} {
		f := feed("a", ThreatFeedSpec{
			URL:     fmt.Sprintf(url, secret),
			Headers: []FeedHeader{{Name: "X", Value: secret + "\n"}, {Name: "Host", Value: secret}, {Name: "Cookie", Value: secret, ValueFrom: &ValueSource{}}},
		})
		problems := Validate(f)
		if !HasErrors(problems) || strings.Contains(strings.ToLower(lines(problems)), strings.ToLower(secret)) {
			t.Errorf("%s:\n%s", url, lines(problems))
		}
	}
}

func TestParseProtected(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "::ffff:10.0.0.1": "10.0.0.1/32", "2001:DB8::/32": "2001:db8::/32",
		"Example.COM": "example.com", "com": "com", "bücher.example": "xn--bcher-kva.example",
		"*.example.com": "!", "[::1]": "!", "10.0.0.1/8": "!", "example.com/8": "!", "": "!", "example.com.": "!",
	} {
		p, err := ParseProtected(in)
		got := p.Domain
		if p.Prefix.IsValid() {
			got += p.Prefix.String()
		}
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%s is %s, want %s (%v)", in, got, want, err)
		}
	}
}

func TestGuardNames(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range Guards() {
		if seen[g.Name] || g.What == "" || !strings.HasSuffix(g.What, ".") {
			t.Errorf("%+v", g)
		}
		seen[g.Name] = true
	}
}
