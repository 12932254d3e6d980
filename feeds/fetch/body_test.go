package fetch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func zstded(s string) string {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	return string(w.EncodeAll([]byte(s), nil))
}

func brotlied(s string) string {
	var b bytes.Buffer
	w := brotli.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func TestCompression(t *testing.T) {
	l := newLab(t)
	for name, c := range map[string]struct{ coding, body, is string }{
		"plain":                {"", list, ""},
		"identity":             {"identity", list, ""},
		"gzip":                 {"gzip", gzipped(list), "gzip"},
		"x-gzip":               {"X-GZip", gzipped(list), "gzip"},
		"gzip in two members":  {"gzip", gzipped("192.0.2.1\n") + gzipped("192.0.2.2\n"), "gzip"},
		"zstd":                 {"zstd", zstded(list), "zstd"},
		"br":                   {"br", brotlied(list), "br"},
		"a .gz without coding": {"", gzipped(list), "gzip"},
		"a .zst likewise":      {"", zstded(list), "zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			l.t = t
			u := serve(t, aPublic, says(200, c.body, "Content-Encoding", c.coding, "Content-Type", "Application/Octet-Stream; a=b"))
			res := l.gives(Source{URL: u + "/list.gz"}, list)
			if res.Bytes != int64(len(list)) || res.Wire != int64(len(c.body)) || res.Encoding != c.is || res.Pages != 1 ||
				res.ContentType != "application/octet-stream" || res.Final != u+"/list.gz" || res.OpenEnded ||
				res.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(list))) {
				t.Errorf("%+v", res)
			}
		})
	}
}

func TestBombs(t *testing.T) {
	const size = 32 << 20
	zeros := strings.Repeat("\x00", size)
	for coding, bomb := range map[string]string{"gzip": gzipped(zeros), "zstd": zstded(zeros), "br": brotlied(zeros), "": zeros} {
		t.Run("a bomb of "+coding, func(t *testing.T) {
			l := newLab(t)
			u := serve(t, aPublic, says(200, bomb, "Content-Encoding", coding))
			w := &limit{most: 1 << 20}
			_, err := l.c.Fetch(t.Context(), Source{URL: u, MaxBytes: 1 << 20}, Validators{}, w)
			if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != OverLimit || !strings.Contains(e.Error(), "maxBytes") {
				t.Errorf("%v", err)
			}
			// Exactly as large as the limit is no larger than the limit.
			if coding != "" {
				l.gives(Source{URL: u, MaxBytes: size}, zeros)
			}
		})
	}
}

func TestBodiesThatAreNotWhole(t *testing.T) {
	big := gzipped(strings.Repeat(list, 1000))
	for name, c := range map[string]struct {
		sends string
		reset bool
		kind  Kind
		says  string
	}{
		"wrong length, too short":             {"Content-Length: 100\r\n\r\n" + list, false, Truncated, "broke off after 20 octets"},
		"connection reset mid-body":           {"Content-Length: 100\r\n\r\n" + list, true, Truncated, "broke off"},
		"truncated chunk":                     {"Transfer-Encoding: chunked\r\n\r\n14\r\n192.0.2", false, Truncated, "broke off"},
		"no last chunk":                       {"Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n", false, Truncated, "broke off"},
		"a chunk that is none":                {"Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\nzz\r\n", false, Truncated, "broke off"},
		"truncated gzip":                      {fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(big)-9, big[:len(big)-9]), false, Truncated, "middle of its gzip"},
		"truncated gzip without length":       {"Content-Encoding: gzip\r\n\r\n" + big[:len(big)/2], false, Truncated, "middle of its gzip"},
		"truncated gzip by magic":             {"\r\n" + big[:len(big)/2], false, Truncated, "middle of its gzip"},
		"truncated gzip header":               {"Content-Encoding: gzip\r\n\r\n" + big[:5], false, Truncated, "middle of its gzip"},
		"a second gzip member that is cut":    {"Content-Encoding: gzip\r\n\r\n" + big + big[:7], false, Truncated, "middle of its gzip"},
		"truncated zstd":                      {"Content-Encoding: zstd\r\n\r\n" + zstded(list)[:15], false, Truncated, "middle of its zstd"},
		"truncated br":                        {"Content-Encoding: br\r\n\r\n" + brotlied(list)[:10], false, Truncated, "middle of its br"},
		"compressed, and empty":               {"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", false, Truncated, "is empty"},
		"no gzip at all":                      {"Content-Encoding: gzip\r\n\r\n<html>hello</html>", false, Encoding, "no proper gzip"},
		"a gzip with a wrong checksum":        {"Content-Encoding: gzip\r\n\r\n" + big[:len(big)-8] + "\x00\x00\x00\x00" + big[len(big)-4:], false, Encoding, "no proper gzip"},
		"no zstd at all":                      {"Content-Encoding: zstd\r\n\r\n<html>hello</html>", false, Encoding, "no proper zstd"},
		"more after the br":                   {"Content-Encoding: br\r\n\r\n" + brotlied(list) + "more", false, Encoding, "no proper br"},
		"compressed twice":                    {"Content-Encoding: gzip\r\n\r\n" + gzipped(gzipped(list)), false, Encoding, "twice"},
		"compressed twice, and said so":       {"Content-Encoding: gzip, br\r\n\r\n" + gzipped(list), false, Encoding, "more than once"},
		"compressed twice in two lines":       {"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n" + gzipped(list), false, Encoding, "more than once"},
		"an unknown encoding":                 {"Content-Encoding: " + canary + "\r\n\r\n" + list, false, Encoding, "not asked for"},
		"a zstd window of 128 MiB":            {"Content-Encoding: zstd\r\n\r\n\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00", false, Encoding, "window of more than 8 MiB"},
		"a length over the limit":             {"Content-Length: 99999999999\r\n\r\n", false, OverLimit, "maxBytes"},
		"gzip members of nothing without end": {"Content-Encoding: gzip\r\n\r\n" + strings.Repeat(gzipped(""), 100_000), false, OverLimit, "maxBytes"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+c.sends)
				if c.reset {
					cut(conn)
				}
			})
			e := l.failure(Source{URL: u, MaxBytes: 1 << 20}, c.kind, c.says)
			if c.kind == Truncated && !e.Temporary {
				t.Error("a body that broke off may be whole the next time")
			}
		})
	}
}

func TestAnEndThatNobodyTells(t *testing.T) {
	for sends, open := range map[string]bool{
		"\r\n" + list: true,
		"Content-Encoding: gzip\r\n\r\n" + gzipped(list):                          false,
		"Transfer-Encoding: chunked\r\n\r\n14\r\n" + list + "\r\n0\r\n\r\n":       false,
		"Connection: close\r\nContent-Length: 20\r\n\r\n" + list + "and the rest": false,
	} {
		l := newLab(t)
		u := raw(t, aPublic, func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+sends) })
		if res := l.gives(Source{URL: u}, list); res.OpenEnded != open {
			t.Errorf("%.40q: open-ended is %t", sends, res.OpenEnded)
		}
	}
}
