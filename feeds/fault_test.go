package feeds

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/feeds/snapshot"
)

// goodBody is a feed of enough entries for the guards of size.
func goodBody(from, n int) string {
	var b strings.Builder
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&b, "203.%d.%d.1\n", i>>8&255, i&255)
	}
	return b.String()
}

func send(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
}

// hijack answers with octets of its own.
func hijack(t *testing.T, serve func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		serve(c)
	}
}

func zipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zero := make([]byte, 1<<16)
	for i := range zero {
		zero[i] = '\n'
	}
	for range n >> 16 {
		_, _ = z.Write(zero)
	}
	_ = z.Close()
	return b.Bytes()
}

// TestLastGoodStands: a feed that was good misbehaves in every way; what it listed stays
// in force, and the status says why in words. After that it is good again and believed.
func TestLastGoodStands(t *testing.T) {
	const entries = 200
	for _, c := range []struct {
		name    string
		handler func(t *testing.T) http.HandlerFunc
		says    string
		state   api.FeedState
	}{
		{"empty", func(*testing.T) http.HandlerFunc { return send("") }, "empty: there is nothing in it", api.FeedRefused},
		{"comments only", func(*testing.T) http.HandlerFunc { return send("# under maintenance\n") }, "empty: ", api.FeedRefused},
		{"HTML with 200", func(*testing.T) http.HandlerFunc {
			return send("<!DOCTYPE html>\n<html><body>" + goodBody(0, entries) + "</body></html>")
		}, "html: ", api.FeedRefused},
		{"captive portal", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/portal" {
					http.Redirect(w, r, "/portal", http.StatusFound)
					return
				}
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, "  \n<HTML><head><title>Welcome to the hotel</title>")
			}
		}, "html: ", api.FeedRefused},
		{"NUL bytes", func(*testing.T) http.HandlerFunc { return send("192.0.2.1\n\x00\x00\x00") }, "not-text: ", api.FeedRefused},
		{"UTF-16", func(*testing.T) http.HandlerFunc { return send("\xff\xfe1\x00.\x002\x00") }, "not-text: ", api.FeedRefused},
		{"zip", func(*testing.T) http.HandlerFunc { return send("PK\x03\x04abcdefgh") }, "not-text: ", api.FeedRefused},
		{"shrink by 95 %", func(*testing.T) http.HandlerFunc { return send(goodBody(0, entries/20)) }, "shrink: it has 10 entries and had 200", api.FeedRefused},
		{"growth by 100×", func(*testing.T) http.HandlerFunc { return send(goodBody(0, entries*100)) }, "growth: it has 20000 entries and had 200", api.FeedRefused},
		{"everything is blocked", func(*testing.T) http.HandlerFunc {
			return send("0.0.0.0/0\n::/0\n10.0.0.0/8\n127.0.0.1\ncom\n169.254.169.254\n224.0.0.1\n")
		}, "empty: nothing of it could be taken", api.FeedRefused},
		{"mostly unreadable", func(*testing.T) http.HandlerFunc {
			return send(goodBody(0, entries) + strings.Repeat("%$§ nonsense here\n", 50))
		}, "unreadable: 50 of 250 entries", api.FeedRefused},
		{"truncated", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100000")
				_, _ = io.WriteString(w, goodBody(0, entries))
			}
		}, "truncated: ", api.FeedRefused},
		{"broken chunk", func(t *testing.T) http.HandlerFunc {
			return hijack(t, func(c net.Conn) {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n192.0.2.1\n")
			})
		}, "truncated: ", api.FeedRefused},
		{"truncated gzip", func(*testing.T) http.HandlerFunc {
			half := zipped(1 << 20)
			half = half[:len(half)/2]
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(half)
			}
		}, "truncated: ", api.FeedRefused},
		{"gzip bomb", func(*testing.T) http.HandlerFunc {
			bomb := zipped(16 << 20)
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(bomb)
			}
		}, "maxBytes", api.FeedFailed},
		{"10 GB", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				line := []byte(strings.Repeat("192.0.2.1\n", 1000))
				for range 1 << 20 {
					if _, err := w.Write(line); err != nil {
						return
					}
				}
			}
		}, "maxBytes", api.FeedFailed},
		{"slow drip", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				for {
					if _, err := io.WriteString(w, "1"); err != nil {
						return
					}
					w.(http.Flusher).Flush()
					select {
					case <-r.Context().Done():
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
		}, "", api.FeedFailed},
		{"never answers", func(*testing.T) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		}, "", api.FeedFailed},
		{"connection closed", func(t *testing.T) http.HandlerFunc { return hijack(t, func(net.Conn) {}) }, "", api.FeedFailed},
		{"404", func(*testing.T) http.HandlerFunc { return http.NotFound }, "404", api.FeedFailed},
		{"204", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		}, "204", api.FeedFailed},
		{"206", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, goodBody(0, entries))
			}
		}, "206", api.FeedFailed},
		{"304 without validators", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }
		}, "304", api.FeedFailed},
		{"a redirect to 169.254.169.254", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
			}
		}, "169.254.169.254", api.FeedFailed},
		{"a redirect to file:", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "file:///etc/passwd")
				w.WriteHeader(http.StatusFound)
			}
		}, "", api.FeedFailed},
		{"a redirect loop", func(*testing.T) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
			}
		}, "redirect", api.FeedFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.serve(send(goodBody(0, entries)))
			x := newFixture(t, t.TempDir())
			f := feedAt(s.URL + "/feed")
			f.Spec.MaxBytes = 8 << 20
			x.set(f)
			if st := x.refresh("bad"); st.Entries != entries {
				t.Fatalf("%+v", st)
			}
			before, good := x.Snapshot().Digest(), x.Status()[0].LastSuccess
			x.now = x.now.Add(time.Hour)
			s.serve(c.handler(t))
			st := x.refresh("bad")
			if st.State != c.state || st.Error == "" || !strings.Contains(st.Error, c.says) || st.Entries != entries || !st.LastSuccess.Equal(good) {
				t.Errorf("state %s, %d entries, last success %v, error %q; want %s and %q", st.State, st.Entries, st.LastSuccess, st.Error, c.state, c.says)
			}
			t.Logf("%s: %s", st.State, st.Error)
			if x.Snapshot().Digest() != before {
				t.Error("another snapshot is in force")
			}
			if next := st.NextAttempt.Sub(x.now); next <= 0 || next > time.Hour {
				t.Errorf("it is asked again in %v", next)
			}
			left, err := filepath.Glob(filepath.Join(x.dir, "feeds", "bad", incoming+"*"))
			if err != nil || len(left) > 0 {
				t.Error("left behind:", left, err)
			}
			s.serve(send(goodBody(10, entries)))
			if st := x.refresh("bad"); st.State != api.FeedCurrent || st.Added != 10 || st.Removed != 10 {
				t.Errorf("good again: %+v", st)
			}
		})
	}
}

// TestFlapping: a feed that is good and bad in turn never loses what it listed, and asks
// less often the more fails in a row.
func TestFlapping(t *testing.T) {
	s := newServer(t)
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL))
	for i := range 10 {
		s.serve(send(goodBody(i, 200)))
		if st := x.refresh("bad"); st.State != api.FeedCurrent || st.Entries != 200 {
			t.Fatalf("%+v", st)
		}
		s.serve(send(""))
		if st := x.refresh("bad"); st.State != api.FeedRefused || st.Entries != 200 {
			t.Fatalf("%+v", st)
		}
		if !x.Snapshot().ContainsAddr(netip.AddrFrom4([4]byte{203, 0, byte(i) + 100, 1})) {
			t.Fatal("it is out of force")
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := newServer(t)
	s.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7200")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL))
	if st := x.refresh("bad"); st.NextAttempt.Sub(x.now) < 2*time.Hour || s.asked.Load() != 1 {
		t.Errorf("asked %d times; %+v", s.asked.Load(), st)
	}
}

// TestAccept is the way out for a feed that shrank for good.
func TestAccept(t *testing.T) {
	s := newServer(t)
	s.serve(send(goodBody(0, 1000)))
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL))
	x.refresh("bad")
	s.serve(send(goodBody(0, 100)))
	if st := x.refresh("bad"); st.State != api.FeedRefused {
		t.Fatalf("%+v", st)
	}
	st, err := x.Refresh(t.Context(), "bad", true)
	if err != nil || st.State != api.FeedCurrent || st.Entries != 100 {
		t.Fatalf("%+v %v", st, err)
	}
	s.serve(send(""))
	if st, err := x.Refresh(t.Context(), "bad", true); err != nil || st.State != api.FeedRefused {
		t.Errorf("an empty feed was accepted: %+v %v", st, err)
	}
}

// TestBadCertificate: expired, from the wrong authority, for another name.
func TestBadCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(send("192.0.2.1\n"))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "feeds.example"}, DNSNames: []string{"feeds.example"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL))
	st := x.refresh("bad")
	if st.State != api.FeedFailed || !strings.Contains(st.Error, "certificate") {
		t.Errorf("%+v", st)
	}
}

// TestFeedBlocksTheHostItComesFrom: pi-hole 5571.
func TestFeedBlocksTheHostItComesFrom(t *testing.T) {
	s := newServer(t)
	s.text("203.0.113.1\nfeeds.example\nexample\n192.0.2.53\n198.51.100.0/24\n")
	x := newFixture(t, t.TempDir(),
		guard.Place{Prefix: netip.MustParsePrefix("192.0.2.53/32"), Why: "a DNS server"},
		guard.Place{Prefix: netip.MustParsePrefix("198.51.100.10/32"), Why: "the API server"})
	other := feedAt("https://feeds.example/list")
	other.Name = "other"
	x.set(feedAt(s.URL), other)
	st := x.refresh("bad")
	equal(t, x.lists("203.0.113.1", "feeds.example", "192.0.2.53", "198.51.100.10"), []string{"203.0.113.1"})
	if st.Guarded != 4 || len(st.Left) != 4 || !strings.HasPrefix(st.Left[0].Reason, api.GuardProtected) {
		t.Errorf("%+v", st.Left)
	}
}

// TestSecretsAreNotShown: a value that is sent is nowhere in what is written or said.
func TestSecretsAreNotShown(t *testing.T) {
	const canary = "canary-3f9a"
	t.Setenv("PAVISE_FEED_KEY", canary)
	s := newServer(t)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != canary {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		http.Error(w, "I know your key "+canary, http.StatusTeapot)
	})
	f := feedAt(s.URL + "/list?key=" + canary)
	f.Spec.Headers = []api.FeedHeader{{Name: "X-Key", ValueFrom: &api.ValueSource{Env: "PAVISE_FEED_KEY"}}}
	x := newFixture(t, t.TempDir())
	x.set(f)
	st := x.refresh("bad")
	if !strings.Contains(st.Error, "418") {
		t.Fatalf("the key did not arrive: %+v", st)
	}
	if strings.Contains(fmt.Sprintf("%+v", st), canary) {
		t.Errorf("%+v", st)
	}
	err := filepath.WalkDir(x.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(canary)) {
			t.Errorf("%s has it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilledWhileRefreshing kills a process that does nothing but refresh two versions of
// a feed in turn, at random moments: what is left opens, and is one of the two.
func TestKilledWhileRefreshing(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 10
	}
	dir, lists := t.TempDir(), t.TempDir()
	versions := map[string]string{"a": goodBody(0, 300) + "only-a.example\n", "b": goodBody(5, 300) + "only-b.example\n"}
	list := filepath.Join(lists, "list")
	for v, text := range versions {
		if err := os.WriteFile(filepath.Join(lists, v), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i := range kills {
		cmd := exec.Command(self, "-test.run=^TestRefreshForEver$")
		cmd.Env = append(os.Environ(), "PAVISE_TEST_STATE="+dir, "PAVISE_TEST_LISTS="+lists)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it has begun
			t.Fatal(err)
		}
		var random [1]byte
		_, _ = rand.Read(random[:])
		time.Sleep(time.Duration(random[0]) * 250 * time.Microsecond) // the moment to kill it
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s, err := snapshot.Open(filepath.Join(dir, snapshotName))
		if err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
		a, b := s.ContainsDomain("only-a.example"), s.ContainsDomain("only-b.example")
		if a == b {
			t.Fatalf("after kill %d: neither version, or both: %v %v", i, a, b)
		}
		seen[fmt.Sprint(a)]++
		f := Feed{Name: "list", Spec: api.ThreatFeedSpec{URL: "file://" + list}}
		for _, st := range ReadStatus(dir, []Feed{f}, time.Now()) {
			if st.State != api.FeedCurrent && st.State != api.FeedStale || st.Entries != 301 {
				t.Fatalf("after kill %d: %+v", i, st)
			}
		}
	}
	t.Logf("a: %d, b: %d", seen["true"], seen["false"])
}

// TestRefreshForEver is the process that is killed.
func TestRefreshForEver(t *testing.T) {
	dir, lists := os.Getenv("PAVISE_TEST_STATE"), os.Getenv("PAVISE_TEST_LISTS")
	if dir == "" {
		t.Skip("it is run by TestKilledWhileRefreshing")
	}
	x := newFixture(t, dir)
	list := filepath.Join(lists, "list")
	f := Feed{Name: "list", Spec: api.ThreatFeedSpec{URL: "file://" + list, Refresh: api.FeedRefresh{Interval: &metav1.Duration{Duration: time.Hour}}}}
	x.set(f)
	for i := 0; ; i++ {
		temp := list + ".new"
		text, err := os.ReadFile(filepath.Join(lists, []string{"a", "b"}[i%2]))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(temp, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temp, list); err != nil {
			t.Fatal(err)
		}
		x.now = time.Now()
		if st := x.refresh("list"); st.Error != "" {
			t.Fatalf("%+v", st)
		}
		if i == 0 {
			fmt.Print("!")
		}
	}
}
