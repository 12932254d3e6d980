package replica

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pavise.dev/pavise/feeds/snapshot"
)

// answer asks a handler over its connection, following nothing.
func answer(t *testing.T, method, url string, head ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

func TestHandler(t *testing.T) {
	x := newLab(t)
	resp, _ := answer(t, "GET", x.url+currentPath)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Error("nothing is published:", resp.StatusCode, resp.Header)
	}
	old := x.publish(content{n: 2000})
	now := x.publish(content{n: 2010})
	file, err := os.ReadFile(x.files + "/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	whole, delta := urlOf(now.Digest), step{from: old.Digest, to: now.Digest}
	const forever = "public, max-age=31536000, immutable"
	for _, c := range []struct {
		request string // method, path, headers
		status  int
		want    string // header=value, or length of the body
	}{
		{"GET /feeds/current", 200, "Cache-Control=no-cache"},
		{"GET /feeds/current", 200, "Etag=" + weakTag(now.Digest)},
		{"GET /feeds/current", 200, "Content-Type=application/json"},
		{"HEAD /feeds/current", 200, "0"},
		{"GET /feeds/current If-None-Match " + weakTag(now.Digest), 304, "0"},
		{"GET /feeds/current If-None-Match " + strongTag(now.Digest), 304, "0"},
		{"GET /feeds/current If-None-Match \"a\"," + weakTag(now.Digest), 304, "0"},
		{"GET /feeds/current If-None-Match *", 304, "0"},
		{"GET /feeds/current If-None-Match " + weakTag(old.Digest), 200, ""},
		{"GET /feeds/current?wait=30 If-None-Match " + weakTag(old.Digest), 200, ""}, // which is no reason to wait
		{"GET /feeds/current?wait=30", 200, ""},
		{"GET /feeds/current?wait=x", 400, ""},
		{"GET /feeds/current?wait=-1", 400, ""},
		{"GET /feeds/current?wait=99999999999999999999", 400, ""},
		{"GET " + whole, 200, fmt.Sprint(now.Size)},
		{"GET " + whole, 200, "Cache-Control=" + forever},
		{"GET " + whole, 200, "Etag=" + strongTag(now.Digest)},
		{"GET " + whole, 200, "X-Content-Type-Options=nosniff"},
		{"HEAD " + whole, 200, fmt.Sprintf("Content-Length=%d", now.Size)},
		{"GET " + whole + " Range bytes=100-199", 206, "100"},
		{"GET " + whole + " Range bytes=100-199", 206, fmt.Sprintf("Content-Range=bytes 100-199/%d", now.Size)},
		{"GET " + whole + " Range bytes=99999999-", 416, ""},
		{"GET " + whole + " Range bytes=0-1,3-4,6-7", 200, fmt.Sprint(now.Size)},
		{"GET " + whole + " If-None-Match " + strongTag(now.Digest), 304, "0"},
		{"GET " + urlOf(old.Digest), 200, fmt.Sprint(old.Size)},
		{"GET " + delta.url(), 200, "Cache-Control=" + forever},
		{"GET " + step{from: now.Digest, to: old.Digest}.url(), 404, "Cache-Control=no-store"},
		{"GET " + urlOf(snapshot.Digest{}), 404, "Cache-Control=no-store"},
		{"GET /feeds/snapshot/", 404, ""},
		{"GET /feeds/snapshot/../../../etc/passwd", 404, ""},
		{"GET /feeds/snapshot/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, ""},
		{"GET /feeds/snapshot/" + strings.ToUpper(hexOf(now.Digest)), 404, ""},
		{"GET /feeds", 404, ""},
		{"GET /", 404, ""},
		{"POST /elsewhere", 404, ""},
		{"POST /feeds/current", 405, "Allow=GET, HEAD"},
		{"DELETE " + whole, 405, "Allow=GET, HEAD"},
		{"OPTIONS " + delta.url(), 405, "Allow=GET, HEAD"},
	} {
		parts := strings.SplitN(c.request, " ", 4)
		resp, body := answer(t, parts[0], x.url+parts[1], parts[2:]...)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s", c.request, resp.Status)
		}
		if name, value, ok := strings.Cut(c.want, "="); ok {
			if got := resp.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q, not %q", c.request, name, got, value)
			}
		} else if c.want != "" && c.want != fmt.Sprint(len(body)) {
			t.Errorf("%s: %d octets, not %s", c.request, len(body), c.want)
		}
		if resp.StatusCode == 200 && parts[0] == "GET" && parts[1] == whole && string(body) != string(file) {
			t.Errorf("%s: other octets", c.request)
		}
	}
	if s := x.handler.Served(); s.Busy != 1 || s.NotFound != 9 || s.Sending != 0 || s.Waiting != 0 || s.NotModified != 4 {
		t.Errorf("%+v", s)
	}
}

// TestWait: who waits is told of a change, and of none when the time is up; more than the
// bound are answered at once.
func TestWait(t *testing.T) {
	const n = 20
	x := newLab(t)
	x.handler.waiters = make(chan struct{}, n)
	now := x.publish(content{n: 200})
	ask := func(seconds int) (int, time.Duration) {
		start := time.Now()
		resp, _ := answer(t, "GET", fmt.Sprintf("%s%s?wait=%d", x.url, currentPath, seconds), "If-None-Match", weakTag(now.Digest))
		return resp.StatusCode, time.Since(start)
	}
	if code, took := ask(1); code != 304 || took < time.Second || took > 10*time.Second {
		t.Errorf("%d after %v", code, took)
	}
	var all sync.WaitGroup
	codes := make(chan int, n)
	for range n {
		all.Go(func() { code, _ := ask(60); codes <- code })
	}
	eventually(t, "all wait", func() bool { return x.handler.Served().Waiting == n })
	if code, took := ask(60); code != 304 || took > 10*time.Second {
		t.Errorf("beyond the bound: %d after %v", code, took)
	}
	x.publish(content{n: 201})
	all.Wait()
	for range n {
		if code := <-codes; code != 200 {
			t.Error("after a change:", code)
		}
	}
	// The end of the server is the end of the wait.
	now.Digest = offered(t, x.store).digest
	all.Go(func() { code, _ := ask(60); codes <- code })
	eventually(t, "one waits", func() bool { return x.handler.Served().Waiting == 1 })
	x.handler.Close()
	all.Wait()
	if code := <-codes; code != 304 {
		t.Error("after the end:", code)
	}
	if code, took := ask(60); code != 304 || took > 10*time.Second {
		t.Errorf("after the end: %d after %v", code, took)
	}
}

// TestDeltaIsThereWhenItIsAnnounced: those that wait for a change find a delta to it, or
// they would all take the whole at once.
func TestDeltaIsThereWhenItIsAnnounced(t *testing.T) {
	x := newLab(t)
	x.publish(content{n: 2000})
	before := x.store.current.Load()
	found := make(chan int, 1)
	go func() {
		<-before.changed
		o, err := parseOffer(x.store.current.Load().document)
		if err != nil {
			panic(err)
		}
		found <- len(o.path(before.digest, o.size))
	}()
	x.publish(content{n: 2020})
	if n := <-found; n != 1 {
		t.Errorf("%d deltas", n)
	}
}

// raw sends octets and returns what comes until the connection ends.
func raw(t *testing.T, url, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal("the connection did not end:", err)
	}
	return string(b)
}

func TestHostileClients(t *testing.T) {
	// Each has a server of its own, with a snapshot that no socket buffers whole.
	start := func(t *testing.T, change func(*Handler)) (*lab, snapshot.Info) {
		x := newLab(t)
		change(x.handler)
		now := x.publish(content{n: 200_000})
		return x, now
	}
	hasty := func(h *Handler) { h.grace, h.c.Rate = 500*time.Millisecond, 1<<40 }
	t.Run("a body that never comes", func(t *testing.T) {
		x, _ := start(t, hasty)
		got := raw(t, x.url, "GET /feeds/current HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%q", got)
		}
	})
	t.Run("huge headers", func(t *testing.T) {
		x, _ := start(t, hasty)
		got := raw(t, x.url, "GET /feeds/current HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 30<<10)+"\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 431") {
			t.Errorf("%q", got)
		}
	})
	t.Run("a slow reader", func(t *testing.T) {
		x, now := start(t, hasty)
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(x.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", urlOf(now.Digest))
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		// It takes nothing more: what is being sent is given up, and the place is free again.
		eventually(t, "it is given up", func() bool { return x.handler.Served().Sending == 0 })
	})
	t.Run("a reader that takes its time", func(t *testing.T) {
		x, now := start(t, func(h *Handler) { h.grace = 300 * time.Millisecond })
		x.handler.c.Rate = now.Size / 20 // 20 s for it
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(x.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(256 << 10)
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", urlOf(now.Digest))
		time.Sleep(600 * time.Millisecond) // what it takes beside the others
		if n, err := io.Copy(io.Discard, c); n < now.Size {
			t.Errorf("%d octets of %d came: %v", n, now.Size, err)
		}
	})
	t.Run("more than are served", func(t *testing.T) {
		x, now := start(t, func(h *Handler) {
			h.transfers = make(chan struct{}, 1)
			h.transfers <- struct{}{}
		})
		resp, _ := answer(t, "GET", x.url+urlOf(now.Digest))
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Error(resp.Status, resp.Header)
		}
		if resp, _ := answer(t, "GET", x.url+currentPath); resp.StatusCode != 200 {
			t.Error("what is in force is not said any more:", resp.Status)
		}
	})
	t.Run("a thousand at once", func(t *testing.T) {
		x, now := start(t, func(*Handler) {})
		var all sync.WaitGroup
		failures := make(chan string, 1000)
		for i := range 1000 {
			path := []string{currentPath, urlOf(now.Digest), "/feeds/snapshot/x", deltaPath}[i%4]
			all.Go(func() {
				c, err := net.Dial("tcp", strings.TrimPrefix(x.url, "http://"))
				if err != nil {
					failures <- err.Error()
					return
				}
				defer c.Close()
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n", path)
				line, err := bufio.NewReader(c).ReadString('\n')
				if err != nil || strings.HasPrefix(line, "HTTP/1.1 5") && !strings.HasPrefix(line, "HTTP/1.1 503") {
					failures <- fmt.Sprint(line, err)
				}
			})
		}
		all.Wait()
		if n := len(failures); n > 0 {
			t.Errorf("%d failed, such as %s", n, <-failures)
		}
		eventually(t, "all places are free", func() bool { return x.handler.Served().Sending == 0 })
	})
}
