package replica

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/feeds/snapshot"
)

// liar says that something else is in force, and sends what it likes.
type liar struct {
	document string
	snapshot http.HandlerFunc
	delta    http.HandlerFunc
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == currentPath:
		_, _ = io.WriteString(w, l.document)
	case strings.HasPrefix(r.URL.Path, deltaPath) && l.delta != nil:
		l.delta(w, r)
	case strings.HasPrefix(r.URL.Path, snapshotPath) && l.snapshot != nil:
		l.snapshot(w, r)
	default:
		http.NotFound(w, r)
	}
}

func send(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

// TestLies: a server lies in every way; what is in force stays, what it is counted as and
// the words say what happened, nothing is left of it, and the truth is believed after it.
func TestLies(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "next")
	read := func(c content) ([]byte, snapshot.Info) {
		info := build(t, path, c)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b, info
	}
	old, oldInfo := read(content{n: 3000})
	loop, loopInfo := read(content{n: 3000, lists: []string{"127.0.0.1"}})
	next, info := read(content{n: 3010})
	doc := func(d snapshot.Digest, size int64, deltas ...string) string {
		return fmt.Sprintf(`{"digest":%q,"size":%d,"deltas":[%s]}`, d, size, strings.Join(deltas, ","))
	}
	offer := func(size int) string {
		return fmt.Sprintf(`{"from":%q,"to":%q,"size":%d}`, oldInfo.Digest, info.Digest, size)
	}
	truth := doc(info.Digest, info.Size)
	spoilt := append([]byte{}, next...)
	spoilt[len(spoilt)-1] ^= 1
	// The last octets are of the filter: names are no more listed, and the checksum is right,
	// as what is altered is a multiple of the polynomial of CRC-32C (RFC 3720, appendix B.4).
	forged := append([]byte{}, next...)
	for i := range 33 {
		if bit := 0x11edc6f41 >> (32 - i) & 1; bit != 0 {
			forged[len(forged)-16+i/8] ^= 1 << (i % 8)
		}
	}
	endless := func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	never := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	status := func(code int, head ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(head); i += 2 {
				w.Header().Set(head[i], head[i+1])
			}
			w.WriteHeader(code)
		}
	}
	for _, c := range []struct {
		name string
		lie  http.Handler
		kind Kind
		says string
	}{
		{"HTML with 200", send([]byte("<!DOCTYPE html><html>")), Protocol, "no such document"},
		{"an endless document", http.HandlerFunc(endless), Protocol, "longer"},
		{"a document that drips", http.HandlerFunc(drip), Timeout, "did not answer"},
		{"never answers", http.HandlerFunc(never), Timeout, "did not answer"},
		{"huge headers", status(200, "X", strings.Repeat("x", 40<<10)), Connect, "cannot be asked"},
		{"gzip", status(200, "Content-Encoding", "gzip"), Protocol, "compressed"},
		{"404", http.NotFoundHandler(), Status, "404"},
		{"204", status(204), Status, "204"},
		{"206", status(206), Status, "206"},
		{"500", status(500), Busy, "500"},
		{"a redirect to 169.254.169.254", status(302, "Location", "http://169.254.169.254/latest"), Redirect, "not followed"},
		{"a redirect to itself", status(307, "Location", "/feeds/current"), Redirect, "not followed"},
		{"no such digest", &liar{document: doc(snapshot.Digest{1}, 100), snapshot: send(next)}, OverLimit, "more than it announced"},
		{"the digest of another", &liar{document: doc(snapshot.Digest{1}, info.Size), snapshot: send(next)}, Digest, "not sha256:01"},
		{"octets spoilt", &liar{document: truth, snapshot: send(spoilt)}, Digest, "checksum"},
		{"octets spoilt under the same checksum", &liar{document: truth, snapshot: send(forged)}, Digest, "its digest is not"},
		{"a page for a snapshot", &liar{document: doc(info.Digest, 6), snapshot: send([]byte("<html>"))}, Digest, "header"},
		{"the old one for the new", &liar{document: doc(info.Digest, oldInfo.Size), snapshot: send(old)}, Digest, "not " + info.Digest.String()},
		{"a gigabyte too much is announced", &liar{document: doc(info.Digest, 1<<50)}, OverLimit, "MaxBytes"},
		{"an endless snapshot", &liar{document: truth, snapshot: endless}, OverLimit, "more than it announced"},
		{"another length", &liar{document: doc(info.Digest, info.Size+1), snapshot: send(next)}, Truncated, "1 octets less"},
		{"another length, and says so", &liar{document: doc(info.Digest, 3), snapshot: send([]byte("<html>"))}, Protocol, "sends 6 octets, and announced 3"},
		{"a snapshot that drips", &liar{document: truth, snapshot: drip}, Slow, "less than"},
		{"a snapshot that never begins", &liar{document: truth, snapshot: never}, Slow, "less than"},
		{"a snapshot elsewhere", &liar{document: truth, snapshot: status(302, "Location", "http://127.0.0.1/")}, Redirect, "not followed"},
		{"a part for the whole", &liar{document: truth, snapshot: status(206, "Content-Range", "bytes 0-0/1")}, Status, "206"},
		{"loopback is listed", &liar{document: doc(loopInfo.Digest, loopInfo.Size), snapshot: send(loop)}, Refused, "127.0.0.1"},
		{"a delta of noise", &liar{document: doc(info.Digest, info.Size, offer(300)), delta: send(next[1000:1300])}, Delta, ""},
		{"a delta that is none", &liar{document: doc(info.Digest, info.Size, offer(6)), delta: send([]byte("<html>"))}, Delta, ""},
		{"a delta without an end", &liar{document: doc(info.Digest, info.Size, offer(300)), delta: endless}, OverLimit, ""},
		{"a delta elsewhere", &liar{document: doc(info.Digest, info.Size, offer(300)), delta: status(301, "Location", "file:///etc/passwd")}, Redirect, ""},
		{"a delta that drips", &liar{document: doc(info.Digest, info.Size, offer(300)), delta: drip}, Slow, "less than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newLab(t, func(c *Config) { c.Patience = 300 * time.Millisecond })
			x.good(x.publish(content{n: 3000}))
			x.f.remote.close() // or the server's first answer is to a connection it had
			x.lies(c.lie.ServeHTTP)
			err := x.round()
			if err == nil {
				t.Fatal("it was believed")
			}
			x.holds(oldInfo)
			s := x.f.Status()
			if s.Failed[c.kind] == 0 || !strings.Contains(s.Error, c.says) || s.Failures != 1 {
				t.Errorf("%v: %s", s.Failed, s.Error)
			}
			t.Log(s.Error)
			asked := x.asked.Load()
			again := x.round()
			if again == nil {
				t.Error("it was believed the second time")
			}
			if c.kind == Refused && x.asked.Load() != asked+1 {
				t.Error("what was refused is fetched again")
			}
			x.lies(nil)
			x.c.Patience = 5 * time.Second
			good := x.publish(content{n: 3020})
			x.good(good)
			x.alone()
			if s := x.f.Status(); s.Deltas != 1 || s.Wholes != 1 || s.Error != "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestLyingResume: what was there before the break is not what comes after it.
func TestLyingResume(t *testing.T) {
	x := newLab(t)
	info := x.publish(content{n: 3000})
	x.start()
	part := x.f.temp("%s", hexOf(info.Digest))
	for name, c := range map[string]struct {
		part []byte
		lie  http.HandlerFunc
		kind Kind
	}{
		"a part of another file": {make([]byte, 1000), nil, Digest},
		"another part": {make([]byte, 1000), func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != currentPath {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", info.Size-996, info.Size))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(make([]byte, info.Size-1000))
				return
			}
			x.handler.ServeHTTP(w, r)
		}, Protocol},
		"all of another file": {make([]byte, info.Size), nil, Digest},
		"more than all":       {make([]byte, info.Size+1), nil, ""},
		"no range":            {make([]byte, 1000), func(w http.ResponseWriter, r *http.Request) { r.Header.Del("Range"); x.handler.ServeHTTP(w, r) }, ""},
		"the range is not there": {make([]byte, 1000), func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != currentPath {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			x.handler.ServeHTTP(w, r)
		}, Status},
	} {
		x.lies(c.lie)
		_ = os.Remove(x.f.path)
		if err := os.WriteFile(part, c.part, 0o600); err != nil {
			t.Fatal(err)
		}
		x.start()
		if err := x.round(); c.kind != "" && kindOf(err) != c.kind || c.kind == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		x.lies(nil)
		if err := x.round(); err != nil {
			t.Errorf("%s, then the truth: %v", name, err)
		}
		x.holds(info)
	}
	// A name that leads elsewhere is not followed.
	victim := filepath.Join(x.files, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(x.f.path)
	if err := os.Symlink(victim, part); err != nil {
		t.Fatal(err)
	}
	x.start()
	_ = x.round()
	if b, err := os.ReadFile(victim); string(b) != "mine" {
		t.Errorf("%q %v", b, err)
	}
}

// TestRetryAfter: the wish of a server is heard, within bounds.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "1e9": 0, "99999999999": 0, "soon": 0,
		"Tue, 24 Nov 2026 12:01:00 GMT": time.Minute, "Tue, 24 Nov 2020 12:01:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	x := newLab(t, func(c *Config) { c.Backoff.Max = 300 * time.Millisecond })
	x.publish(content{n: 10})
	asked := make(chan time.Time, 100)
	x.lies(func(w http.ResponseWriter, _ *http.Request) {
		asked <- time.Now()
		w.Header().Set("Retry-After", "31536000")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	f, err := New(x.c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx, cancel := contextOf(t)
	go func() { done <- f.Run(ctx) }()
	first, second := <-asked, <-asked
	if wait := second.Sub(first); wait < 300*time.Millisecond || wait > 10*time.Second {
		t.Errorf("a year was asked for and 300 ms are the bound: it came back after %v", wait)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWorkers: a worker that dies, says nothing, or takes all memory changes nothing.
func TestWorkers(t *testing.T) {
	x := newLab(t)
	info := x.publish(content{n: 3000})
	x.good(info)
	next := x.publish(content{n: 3010})
	shell := func(do string) []string { return []string{"/bin/sh", "-c", "read task; " + do} }
	for name, c := range map[string]struct {
		command []string
		says    string
	}{
		"crashes":         {worker("crash"), "as a reader would"},
		"is not there":    {[]string{"/nowhere/pavise"}, "start the worker"},
		"says nothing":    {shell("true"), "cannot be read"},
		"says too much":   {shell("yes | head -c 1000000"), "cannot be read"},
		"says no digest":  {shell("echo '{}'"), "64 hexadecimal"},
		"says what it is": {shell(`echo '{"kind":"Refused","error":"no"}'`), "no"},
	} {
		x.f.c.Worker = c.command
		err := x.round()
		if want := map[bool]Kind{true: Refused, false: Worker}[name == "says what it is"]; kindOf(err) != want || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		x.f.refused = nil
		x.holds(info)
	}
	// What a worker left that was ended in the middle of a file.
	if err := os.WriteFile(filepath.Join(x.c.Dir, ".pavise-snapshot-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.f.c.Worker = worker("work")
	x.good(next)
	x.alone()

	// That it cannot be proven does not make the file on disk a bad one, and it is in force as
	// soon as it can, without a server.
	x.lies(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	x.c.Worker = worker("crash")
	loaded := len(x.loaded)
	x.start()
	if err := x.round(); kindOf(err) != Connect || len(x.loaded) != loaded {
		t.Fatal(err, x.loaded)
	}
	if s := x.f.Status(); s.Failed[Damaged] != 0 || s.Failed[Worker] != 2 || s.Digest != "" {
		t.Errorf("%+v", s)
	}
	x.f.c.Worker = worker("work")
	_ = x.round()
	x.holds(next)
	x.f.c.Worker = worker("crash")
	if err := os.Chmod(x.f.path, 0o640); err != nil {
		t.Fatal(err)
	}
	_ = x.round()
	x.holds(next)
}
