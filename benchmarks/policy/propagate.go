package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// latency of a save, in milliseconds.
type latency struct{ p50, p99 float64 }

const (
	files        = 100
	rulesPerFile = 100
	savePort     = 19500
)

// propagate runs the real binary on a folder of 100 files with 100 rules each, saves one
// of them again and again with one rule changed, and asks over one connection until
// the change decides.
func propagate(ctx context.Context, dir string, saves int) (latency, error) {
	config := filepath.Join(dir, "c")
	if err := os.MkdirAll(config, 0o700); err != nil {
		return latency{}, err
	}
	binary := filepath.Join(dir, "pavise")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/pavise").CombinedOutput(); err != nil {
		return latency{}, fmt.Errorf("build: %w: %s", err, out)
	}
	workload := fmt.Sprintf("apiVersion: pavise.dev/v1alpha1\nkind: Workload\nmetadata: {name: app, namespace: bench}\nspec:\n  inbound:\n    - {name: http, port: %d, upstream: \"127.0.0.1:%d\"}\n", savePort, savePort+1)
	if err := os.WriteFile(filepath.Join(config, "workload.yaml"), []byte(workload), 0o600); err != nil {
		return latency{}, err
	}
	for i := range files {
		if err := save(config, i, "start"); err != nil {
			return latency{}, err
		}
	}
	srv := &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", savePort+1), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = srv.ListenAndServe() }()
	defer srv.Close()
	cmd := exec.CommandContext(ctx, binary, "run", "--config", config, "--run-dir", filepath.Join(dir, "r"), "--concurrency", "1", "--decisions", "none", "--log-level", "error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return latency{}, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	if _, err := until(ctx, "start", time.Now()); err != nil {
		return latency{}, err
	}
	var took []float64
	for i := range saves {
		word := fmt.Sprintf("word%d", i)
		start := time.Now()
		if err := save(config, i%files, word); err != nil {
			return latency{}, err
		}
		d, err := until(ctx, word, start)
		if err != nil {
			return latency{}, err
		}
		took = append(took, float64(d.Microseconds())/1000)
		if err := save(config, i%files, "start"); err != nil { // and back, so that each save changes one rule
			return latency{}, err
		}
		if _, err := until(ctx, "start", time.Now()); err != nil {
			return latency{}, err
		}
	}
	slices.Sort(took)
	l := latency{took[len(took)/2], took[len(took)*99/100]}
	fmt.Printf("save to enforcement, %d rules in %d files, %d saves: median %.0f ms, p99 %.0f ms, longest %.0f ms\n", files*rulesPerFile, files, saves, l.p50, l.p99, took[len(took)-1])
	return l, nil
}

// save writes the file of one policy as an editor does, beside it and renamed. Its last
// rule allows /changed/WORD.
func save(config string, i int, word string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p%d, namespace: bench}\nspec:\n  ingress:\n", i)
	for j := range rulesPerFile - 1 {
		fmt.Fprintf(&b, "    - name: r%d\n      action: Allow\n      http:\n        - methods: [GET]\n          paths: [{prefix: /p%d/resource-%d}]\n", j, i, j)
	}
	fmt.Fprintf(&b, "    - name: last\n      action: Allow\n      http:\n        - paths: [{exact: /changed/%s}]\n", word)
	name := filepath.Join(config, fmt.Sprintf("p%d.yaml", i))
	if err := os.WriteFile(filepath.Join(config, ".new"), []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(filepath.Join(config, ".new"), name)
}

// until asks for /changed/WORD until it is allowed.
func until(ctx context.Context, word string, start time.Time) (time.Duration, error) {
	var conn net.Conn
	var r *bufio.Reader
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for ctx.Err() == nil && time.Since(start) < time.Minute {
		if conn == nil {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", savePort))
			if err != nil {
				time.Sleep(10 * time.Millisecond) // it is starting
				continue
			}
			conn, r = c, bufio.NewReader(c)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintf(conn, "GET /changed/%s HTTP/1.1\r\nHost: bench\r\n\r\n", word); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0, err
		}
		_, _ = bufio.NewReader(resp.Body).WriteTo(discard{})
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return time.Since(start), nil
		}
		time.Sleep(500 * time.Microsecond) // leave the processor to what is measured
	}
	return 0, fmt.Errorf("/changed/%s was never allowed", word)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
