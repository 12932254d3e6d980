package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The names are those of the cases that have broken systems like this one.

const list = "192.0.2.1\n192.0.2.2\n"

// says writes a body with headers given as name, value, name, value.
func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestSlowDrip(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Timeouts.Window, o.Timeouts.Least = 200*time.Millisecond, 1024 })
	drip := func(conn net.Conn, every string) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(conn, every); err != nil {
				return
			}
		}
	}
	u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("a", 2000))
		drip(conn, "a")
	})
	if e := l.failure(Source{URL: u}, Slow, "less than 1024 octets in 200ms"); !e.Temporary {
		t.Error("it may be faster the next time")
	}
	// What stops altogether is found as well, and after a good beginning.
	u = raw(t, aPublic, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("a", 9000))
		hangUp(conn)
	})
	l.fails(Source{URL: u}, Slow, "less than")

	// The headers have their own time.
	l = newLab(t, func(o *Options) { o.Timeouts.Header = 200 * time.Millisecond })
	u = raw(t, aPublic, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: ")
		drip(conn, "a")
	})
	l.fails(Source{URL: u}, Timeout, "did not answer")
}

func TestNeverAnswering(t *testing.T) {
	silent := func(conn net.Conn, _ *http.Request) { hangUp(conn) }
	l := newLab(t, func(o *Options) { o.Timeouts.Header, o.Timeouts.Handshake = 100*time.Millisecond, 100*time.Millisecond })
	l.fails(Source{URL: raw(t, aPublic, silent)}, Timeout, "took the request and did not answer")
	// The whole has a time, too, and the caller can end it.
	l = newLab(t)
	e := l.failure(Source{URL: raw(t, aPublic, silent), Timeout: 100 * time.Millisecond}, Timeout, "as a whole")
	if !errors.Is(e, context.DeadlineExceeded) {
		t.Error("a time that is up is not told as such")
	}
	ctx, cancel := context.WithCancel(t.Context())
	u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) { cancel(); hangUp(conn) })
	if _, err := l.c.Fetch(ctx, Source{URL: u}, Validators{}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCloseEndsFetches(t *testing.T) {
	l := newLab(t)
	arrived := make(chan struct{})
	u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) { close(arrived); hangUp(conn) })
	got := make(chan error, 1)
	go func() {
		_, err := l.c.Fetch(context.Background(), Source{URL: u}, Validators{}, io.Discard)
		got <- err
	}()
	<-arrived
	l.c.Close()
	for range 2 { // the one under way, and one that comes too late
		err := <-got
		if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != Closed {
			t.Errorf("%v", err)
		}
		_, err = l.c.Fetch(context.Background(), Source{URL: u}, Validators{}, io.Discard)
		got <- err
	}
}

func TestEndlessBody(t *testing.T) {
	l := newLab(t)
	u := serve(t, aPublic, func(w http.ResponseWriter, _ *http.Request) {
		for b := bytes.Repeat([]byte("192.0.2.1\n"), 1000); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	if e := l.failure(Source{URL: u, MaxBytes: 1 << 20}, OverLimit, "1048576 octets"); e.Temporary {
		t.Error("it does not get smaller by asking again")
	}
}

func TestAnswersThatAreNoFeed(t *testing.T) {
	l := newLab(t)
	for status, want := range map[int]struct {
		kind      Kind
		says      string
		temporary bool
	}{
		204: {Status, "204 No Content: there is no feed", false},
		206: {Protocol, "206 Partial Content: a part", false},
		300: {Protocol, "300 Multiple Choices", false},
		302: {Protocol, "302 Found", false}, // without a Location
		304: {Protocol, "without a condition", true},
		401: {Status, "look at headers", false},
		403: {Status, "403 Forbidden", false},
		404: {Status, "404 Not Found: the feed is not there", false},
		410: {Status, "410 Gone", false},
		429: {Status, "raise refresh.interval", true},
		499: {Status, "answered 499: it does not like", false},
		500: {Status, "500 Internal Server Error", true},
		503: {Status, "503 Service Unavailable", true},
	} {
		var times atomic.Int32
		u := serve(t, aPublic, func(w http.ResponseWriter, _ *http.Request) {
			times.Add(1)
			w.WriteHeader(status)
			if status != 204 && status != 304 {
				_, _ = io.WriteString(w, canary)
			}
		})
		e := l.failure(Source{URL: u}, want.kind, want.says)
		if e.Status != status || e.Temporary != want.temporary {
			t.Errorf("%d: %+v", status, e)
		}
		if n := times.Load(); n != 1 {
			t.Errorf("%d: asked %d times", status, n)
		}
	}
	// Empty is an answer. What it means is for the guards.
	if res := l.gives(Source{URL: serve(t, aPublic, says(200, ""))}, ""); res.Bytes != 0 || res.NotModified {
		t.Errorf("%+v", res)
	}
}

func TestRetryAfterIsReturnedAndNotHammered(t *testing.T) {
	l := newLab(t)
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	l.c.now = func() time.Time { return now }
	for value, want := range map[string]time.Duration{
		"120": 2 * time.Minute,
		now.Add(time.Hour).Format(http.TimeFormat): time.Hour,
		"99999999999999999999999":                  24 * time.Hour,
		"soon":                                     0,
	} {
		for _, status := range []int{429, 503} {
			var times atomic.Int32
			u := serve(t, aPublic, func(w http.ResponseWriter, _ *http.Request) {
				times.Add(1)
				w.Header().Set("Retry-After", value)
				w.WriteHeader(status)
			})
			if e := l.failure(Source{URL: u}, Status, ""); e.RetryAfter != want || times.Load() != 1 {
				t.Errorf("%q: %s, asked %d times", value, e.RetryAfter, times.Load())
			}
		}
		u := serve(t, aPublic, says(200, list, "Retry-After", value))
		if res := l.gives(Source{URL: u}, list); res.RetryAfter != want {
			t.Errorf("%q with the feed: %s", value, res.RetryAfter)
		}
	}
}

func TestFlapping(t *testing.T) {
	l := newLab(t)
	var n atomic.Int32
	u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) {
		switch n.Add(1) % 3 {
		case 1: // broken before an answer: tried again at once
			cut(conn)
		case 2:
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n%s", list)
		case 0:
			_, _ = io.WriteString(conn, "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}
	})
	for range 3 {
		l.gives(Source{URL: u}, list)
		l.fails(Source{URL: u}, Status, "500")
	}
	if n.Load() != 9 {
		t.Errorf("asked %d times for 6 fetches", n.Load())
	}
	// One that always breaks is left alone after two more tries.
	var tries atomic.Int32
	u = raw(t, aPublic, func(conn net.Conn, _ *http.Request) { tries.Add(1); cut(conn) })
	if e := l.failure(Source{URL: u}, Connect, "broke the connection off"); !e.Temporary || tries.Load() != 3 {
		t.Errorf("%+v after %d tries", e, tries.Load())
	}
}

func TestHeadersOfTenMegabytes(t *testing.T) {
	l := newLab(t)
	u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
		for range 10_000 {
			if _, err := io.WriteString(conn, "X-Filler: "+strings.Repeat("a", 1000)+"\r\n"); err != nil {
				return
			}
		}
	})
	l.fails(Source{URL: u}, Protocol, "headers of more than 64 KiB")
}

func TestWhatIsNoHTTPIsNotEchoed(t *testing.T) {
	l := newLab(t)
	for _, line := range []string{
		canary + " what you sent\r\n\r\n",
		"HTTP/1.1 " + canary + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n",
		"SSH-2.0-OpenSSH_9.9\r\n",
	} {
		u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, line) })
		l.fails(Source{URL: u}, Protocol, "did not answer in proper HTTP")
	}
	l.fails(Source{URL: strings.Replace(serve(t, aPublic, says(200, list)), "http:", "https:", 1)}, Protocol, "not https")
}

func TestNobodyThere(t *testing.T) {
	l := newLab(t)
	ln, err := net.Listen("tcp", aPublic+":0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	l.fails(Source{URL: "http://" + ln.Addr().String()}, Connect, "refused the connection")
	l.fails(Source{URL: "http://nowhere.test"}, Connect, "there is no host nowhere.test")
}

func TestAWriterThatFails(t *testing.T) {
	l := newLab(t)
	full := errors.New("no space left")
	_, err := l.c.Fetch(t.Context(), Source{URL: serve(t, aPublic, says(200, list))}, Validators{}, writerFunc(func([]byte) (int, error) { return 0, full }))
	if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != Write || !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
