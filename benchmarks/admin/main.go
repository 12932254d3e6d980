// Command admin measures what it costs traffic that somebody looks: `pavise run` with one
// Envoy worker, loaded by wrk at 16 connections with random paths, while nobody asks the admin
// endpoint, while a person does, and while a script does. The three take turns, so that a ratio
// compares neighbours in time, and each ratio is the median of the rounds.
//
// A person has the page of flows and the overview reloaded each second, follows what is denied,
// and has one request explained a second. A script asks for a page of 1,000 flows, for metrics
// and for an explanation, 20 times a second each.
//
// Nothing is pinned: who asks takes processor time of the machine that Envoy runs on, as in a pod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds   int
	duration time.Duration
	pavise   string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 15, "how often each of the three is measured")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long each measurement takes, in whole seconds")
	flag.StringVar(&o.pavise, "pavise", "bin/pavise", "the binary")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-admin:", err)
		os.Exit(1)
	}
}

// viewer asks once; it is called at intervals.
type viewer struct {
	name  string
	every time.Duration // 0 is never
	paths []string
	// follows keeps a stream of decisions open.
	follows bool
}

const explain = `{"workload":"shop/web","source":"127.0.0.1","method":"GET","url":"http://shop.example/open/x"}`

var viewers = []viewer{
	{name: "nobody"},
	{name: "person", every: time.Second, paths: []string{"/", "/flows", "/api/v1/explain"}, follows: true},
	{name: "script", every: time.Second / 20, paths: []string{"/api/v1/flows?limit=1000", "/api/v1/metrics", "/api/v1/explain"}},
}

func bench(ctx context.Context, o options) error {
	l, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer l.stop()
	rates := map[string][]float64{}
	for round := range o.rounds + 1 {
		for _, v := range viewers {
			stop := l.look(ctx, v)
			r, err := l.load(ctx, o.duration)
			if serr := stop(); err == nil {
				err = serr
			}
			if err != nil {
				return err
			}
			if round > 0 { // the first warms up
				rates[v.name] = append(rates[v.name], r)
			}
		}
	}
	ratio := func(name string) float64 {
		var rs []float64
		for i, r := range rates[name] {
			rs = append(rs, r/rates["nobody"][i])
		}
		return median(rs)
	}
	fmt.Printf("requests a second: nobody looks %.0f, a person %.0f (%.3f of it), a script %.0f (%.3f)\n",
		median(rates["nobody"]), median(rates["person"]), ratio("person"), median(rates["script"]), ratio("script"))
	fmt.Printf("RESULT bench-admin rounds=%d rps_nobody=%.0f ratio_person=%.3f ratio_script=%.3f asked=%d\n",
		o.rounds, median(rates["nobody"]), ratio("person"), ratio("script"), l.asked)
	return nil
}

func median(s []float64) float64 {
	s = slices.Clone(s)
	slices.Sort(s)
	return s[len(s)/2]
}

// lab is a running Pavise, its upstream, and a folder for their files.
type lab struct {
	dir      string
	run      *exec.Cmd
	upstream *http.Server
	port     int    // of the listener
	admin    string // address
	asked    int
}

const policies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop}
spec: {inbound: [{name: http, port: %d, upstream: "%s"}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec: {ingress: [{name: open, action: Allow, http: [{paths: [{prefix: /open}]}]}]}
`

// paths makes every tenth request one that is denied.
const script = `
local n = 0
request = function()
  n = n + 1
  local at = n % 10 == 0 and "/closed/" or "/open/"
  return wrk.format("GET", at .. math.random(1000000))
end
`

func start(ctx context.Context, o options) (l *lab, err error) {
	l = &lab{}
	if l.dir, err = os.MkdirTemp("", "pavise-bench-admin-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.stop()
		}
	}()
	up, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.upstream = &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	go func() { _ = l.upstream.Serve(up) }()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.port = free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	config := filepath.Join(l.dir, "config")
	if err := errors.Join(
		os.Mkdir(config, 0o700),
		os.WriteFile(filepath.Join(config, "policies.yaml"), []byte(fmt.Sprintf(policies, l.port, up.Addr())), 0o600),
		os.WriteFile(filepath.Join(l.dir, "paths.lua"), []byte(script), 0o600),
	); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(l.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	l.run = exec.CommandContext(ctx, o.pavise, "run", "--config", config, "--concurrency", "1", "--decisions", "none",
		"--run-dir", filepath.Join(l.dir, "run"), "--state", filepath.Join(l.dir, "state"), "--admin", "127.0.0.1:0")
	l.run.Stdout, l.run.Stderr = log, log
	l.run.Cancel = func() error { return l.run.Process.Signal(syscall.SIGTERM) }
	if err := l.run.Start(); err != nil {
		return nil, err
	}
	err = l.await(ctx)
	return l, err
}

var adminAt = regexp.MustCompile(`msg="admin endpoint".* address=(\S+)`)

// await waits until requests are answered, and finds where the admin endpoint is.
func (l *lab) await(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(l.dir, "log"))
		if err != nil {
			return err
		}
		if m := adminAt.FindSubmatch(text); m != nil {
			l.admin = string(m[1])
		}
		if l.admin != "" && l.get(ctx, fmt.Sprintf("http://127.0.0.1:%d/open/x", l.port), "") == nil {
			return nil
		}
	}
	text, _ := os.ReadFile(filepath.Join(l.dir, "log"))
	return fmt.Errorf("pavise run does not answer; it said: %s", text)
}

func (l *lab) stop() {
	if l.run != nil && l.run.Process != nil {
		_ = l.run.Process.Signal(syscall.SIGTERM)
		_ = l.run.Wait()
	}
	if l.upstream != nil {
		_ = l.upstream.Close()
	}
	_ = os.RemoveAll(l.dir)
}

// look has a viewer ask until the returned function is called, which gives its first error.
func (l *lab) look(ctx context.Context, v viewer) func() error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 2)
	running := 0
	if v.follows {
		running++
		go func() {
			err := l.get(ctx, "http://"+l.admin+"/api/v1/follow?verdict=deny", "")
			if ctx.Err() != nil {
				err = nil
			}
			done <- err
		}()
	}
	if v.every > 0 {
		running++
		go func() { done <- l.ask(ctx, v) }()
	}
	return func() (err error) {
		cancel()
		for range running {
			err = errors.Join(err, <-done)
		}
		return err
	}
}

func (l *lab) ask(ctx context.Context, v viewer) error {
	tick := time.NewTicker(v.every)
	defer tick.Stop()
	for {
		for _, path := range v.paths {
			body := ""
			if strings.HasSuffix(path, "/explain") {
				body = explain
			}
			if err := l.get(ctx, "http://"+l.admin+path, body); err != nil && ctx.Err() == nil {
				return err
			}
			l.asked++
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// get asks, by POST where there is a body, and reads the answer to its end.
func (l *lab) get(ctx context.Context, url, body string) error {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

var wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// load runs wrk and returns the requests a second.
func (l *lab) load(ctx context.Context, d time.Duration) (float64, error) {
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c16", fmt.Sprintf("-d%ds", max(1, int(d.Seconds()))), "-s", filepath.Join(l.dir, "paths.lua"),
		fmt.Sprintf("http://127.0.0.1:%d", l.port)).CombinedOutput()
	m := wrkRate.FindSubmatch(out)
	if err != nil || m == nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
