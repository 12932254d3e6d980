package story

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pavise.dev/pavise/internal/freeport"
)

// patience bounds what is waited for; a script that meets it has failed.
const patience = 30 * time.Second

type serversKey struct{}

// servers are what a script has started, by the names of their variables.
type servers struct{ by map[string]*server }

type server struct {
	http    *http.Server
	address string
}

func (s *servers) close() {
	for _, one := range s.by {
		_ = one.http.Close()
	}
}

func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func check(ts *testscript.TestScript, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

// port NAME: a free port of loopback.
func port(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "port NAME")
	p, err := freeport.Find("127.0.0.1", 1)
	check(ts, err)
	ts.Setenv(args[0], strconv.Itoa(p[0]))
}

// serve NAME [DIR]: a server at loopback, whose address is in NAME: it serves the files of the
// folder, or else says OK to everything. One that was taken away comes back where it was.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && (len(args) == 1 || len(args) == 2), "serve NAME [DIR]")
	all, _ := ts.Value(serversKey{}).(*servers)
	at := "127.0.0.1:0"
	if before := all.by[args[0]]; before != nil {
		at = before.address
	}
	l, err := net.Listen("tcp", at)
	check(ts, err)
	handler := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK\n") }))
	if len(args) == 2 {
		handler = http.FileServer(http.Dir(ts.MkAbs(args[1])))
	}
	s := &server{&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, l.Addr().String()}
	go func() { _ = s.http.Serve(l) }()
	all.by[args[0]] = s
	ts.Setenv(args[0], s.address)
}

// away NAME: the server goes.
func away(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "away NAME")
	all, _ := ts.Value(serversKey{}).(*servers)
	check(ts, all.by[args[0]].http.Close())
}

// fill FILE…: $NAME in a file is replaced by the variable, in one step.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "fill FILE…")
	for _, name := range args {
		path := ts.MkAbs(name)
		b, err := os.ReadFile(path)
		check(ts, err)
		text := os.Expand(string(b), ts.Getenv)
		check(ts, os.WriteFile(path+".new", []byte(text), 0o600))
		check(ts, os.Rename(path+".new", path))
	}
}

// request [-s SOURCE] [-x PROXY] METHOD URL [HEADER…]: what the answer was, status and headers
// first. It fails unless the answer is a good one; with ! it has to be another.
func request(ts *testscript.TestScript, neg bool, args []string) {
	answer, good := ask(ts, args)
	_, _ = io.WriteString(ts.Stdout(), answer)
	if good == neg {
		ts.Fatalf("%s: %s", strings.Join(args, " "), answer)
	}
}

// ask sends a request. What keeps it from being answered is the answer.
func ask(ts *testscript.TestScript, args []string) (answer string, good bool) {
	source, proxy := "127.0.0.1", ""
	for len(args) > 1 && (args[0] == "-s" || args[0] == "-x") {
		if args[0] == "-s" {
			source = args[1]
		} else {
			proxy = args[1]
		}
		args = args[2:]
	}
	need(ts, len(args) >= 2, "request [-s SOURCE] [-x PROXY] METHOD URL [HEADER…]")
	req, err := http.NewRequest(args[0], args[1], http.NoBody)
	check(ts, err)
	for _, h := range args[2:] {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}).DialContext}
	if proxy != "" {
		tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})
	}
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(req)
	if err != nil {
		return err.Error(), false
	}
	defer resp.Body.Close()
	var b strings.Builder
	fmt.Fprintln(&b, resp.StatusCode)
	_ = resp.Header.Write(&b)
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	check(ts, err)
	fmt.Fprintf(&b, "\n%s", body)
	return b.String(), resp.StatusCode < 300
}

// capture NAME REGEXP: the first group of the expression in what was printed last.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "capture NAME REGEXP")
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("there is no %s in what was printed last", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// eventually REGEXP COMMAND…: repeats a command, or a request, until it succeeds and prints
// that; with ! it has to fail and print that.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) >= 2, "eventually REGEXP COMMAND…")
	want := regexp.MustCompile("(?m)" + args[0])
	deadline := time.Now().Add(patience)
	for {
		var said string
		var good bool
		if args[1] == "request" {
			said, good = ask(ts, args[2:])
		} else {
			good = ts.Exec(args[1], args[2:]...) == nil
			said = ts.ReadFile("stdout") + ts.ReadFile("stderr")
		}
		if good != neg && want.MatchString(said) {
			if args[1] == "request" {
				_, _ = io.WriteString(ts.Stdout(), said)
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: not within %s; last: %s", strings.Join(args[1:], " "), patience, said)
		}
		time.Sleep(250 * time.Millisecond) // between two looks
	}
}
