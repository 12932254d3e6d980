package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// memory is what the module and an agent hold, and what two sidecars share.
func memory(ctx context.Context, l *lab) (string, error) {
	none := &contender{name: "none", asks: nobody}
	one, two := &contender{name: "one", asks: moduleTarget}, &contender{name: "two", asks: moduleTarget}
	cs := []*contender{none, one, two}
	if err := l.start(cs...); err != nil {
		return "", err
	}
	for _, c := range cs {
		script, denied := l.hits, true
		if c == none {
			script = l.unruly
		}
		if err := errors.Join(c.load(ctx, l.duration, l.misses, false), c.load(ctx, l.duration, script, denied), c.load(ctx, l.duration, l.misses, false)); err != nil {
			return "", err
		}
	}
	maps := make([]map[string]mapping, len(cs))
	for i, c := range cs {
		var err error
		if maps[i], err = readMaps(c.pid()); err != nil {
			return "", err
		}
	}
	own := func(i int) float64 { return total(maps[i]).private - of(maps[i], isSnapshot).private }
	module := (own(1)+own(2))/2 - own(0)
	first, second := of(maps[1], isSnapshot), of(maps[2], isSnapshot)
	library := of(maps[1], isLibrary)
	fmt.Printf("Envoy's private memory without the module        %8.1f MiB\n", own(0)/1024)
	fmt.Printf("  what the module adds                           %8.1f MiB, of which its library's mappings have %.1f\n", module/1024, library.private/1024)
	fmt.Printf("the snapshot in two Envoys: resident             %8.1f and %.1f MiB\n", first.rss/1024, second.rss/1024)
	fmt.Printf("  their shares of it (PSS)                       %8.1f and %.1f MiB; private to one %.1f and %.1f\n", first.pss/1024, second.pss/1024, first.private/1024, second.private/1024)
	agent, err := l.agent(ctx)
	if err != nil {
		return "", fmt.Errorf("agent: %w", err)
	}
	a, snap := total(agent), of(agent, isSnapshot)
	fmt.Printf("an agent: resident                               %8.1f MiB, of which the snapshot's pages %.1f\n", a.rss/1024, snap.rss/1024)
	fmt.Printf("  without those                                  %8.1f MiB, of which private %.1f\n", (a.rss-snap.rss)/1024, (a.private-snap.private)/1024)
	return fmt.Sprintf("module_private_mib=%.1f library_private_mib=%.1f snapshot_rss_mib=%.1f snapshot_pss_mib=%.1f/%.1f agent_rss_mib=%.1f agent_private_mib=%.1f",
		module/1024, library.private/1024, first.rss/1024, first.pss/1024, second.pss/1024, (a.rss-snap.rss)/1024, (a.private-snap.private)/1024), nil
}

// feed is one ThreatFeed of all entries.
const feed = `---
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: bench}
spec: {url: "http://%s/list.txt", action: Deny}
`

// agent runs a control plane with the sets and an agent of it, and returns the agent's
// mappings once it is ready and has settled.
func (l *lab) agent(ctx context.Context) (map[string]mapping, error) {
	at := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", firstPort+100+n) }
	dir := filepath.Join(l.dir, "agent")
	config := filepath.Join(dir, "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		return nil, err
	}
	source, err := l.serveList(ctx, dir)
	if err != nil {
		return nil, err
	}
	text := policyFolder(firstPort+100, l.upstream) + fmt.Sprintf(feed, source)
	if err := errors.Join(os.WriteFile(filepath.Join(config, "bench.yaml"), []byte(text), 0o600), certificates(dir, "bench/app")); err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	if _, err := l.launch(l.pavise, "control-plane", "--config", config, "--listen", at(1), "--listen-feeds", at(2), "--run-dir", file("c"), "--state", file("cs"),
		"--tls-cert", file("server.pem"), "--tls-key", file("server.key"), "--client-ca", file("ca.pem"), "--log-level", "warn"); err != nil {
		return nil, err
	}
	if err := reachable(ctx, "tcp", at(1)); err != nil {
		return nil, err
	}
	pid, err := l.launch(l.pavise, "agent", "--node", "bench/app", "--control-plane", at(1), "--feeds-url", "https://"+at(2),
		"--ca", file("ca.pem"), "--cert", file("client.pem"), "--key", file("client.key"), "--run-dir", file("a"), "--state", file("as"),
		"--dns", at(3), "--dns-upstream", at(4), "--metrics", at(5), "--ready", at(6), "--concurrency", "1", "--decisions", "denied", "--log-level", "warn")
	if err != nil {
		return nil, err
	}
	if err := ready(ctx, "http://"+at(6)+"/healthz/ready", file(filepath.Join("as", "feeds"))); err != nil {
		return nil, err
	}
	settle := &contender{name: "agent", port: firstPort + 100, pid: func() int { return pid }}
	if err := settle.load(ctx, l.duration, l.misses, false); err != nil {
		return nil, err
	}
	// Ten seconds are what its garbage, and the check of the snapshot, are gone after.
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(10 * time.Second):
	}
	return readMaps(pid)
}

// serveList serves the entries as a feed and returns the address.
func (l *lab) serveList(ctx context.Context, dir string) (string, error) {
	addresses, names, err := l.sets.lists(dir, false)
	if err != nil {
		return "", err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "text/plain")
		out := bufio.NewWriter(w)
		defer out.Flush()
		for _, path := range []string{addresses, names} {
			f, err := os.Open(path)
			if err != nil {
				panic(http.ErrAbortHandler) // a list that is cut off is no list
			}
			_, err = io.Copy(out, f)
			if f.Close(); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	})}
	l.group.Go(func() error {
		defer context.AfterFunc(l.ctx, func() { _ = srv.Close() })()
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return listener.Addr().String(), nil
}

// ready waits until an agent is, and has the snapshot with the entries: a first one may
// have none.
func ready(ctx context.Context, url, feeds string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		said := ""
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // for the message only
			_ = resp.Body.Close()
			info, err := os.Stat(filepath.Join(feeds, "feeds.snapshot"))
			if resp.StatusCode == http.StatusOK && err == nil && info.Size() > 1<<20 {
				return nil
			}
			said = strings.TrimSpace(string(b))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %s: %w", said, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
