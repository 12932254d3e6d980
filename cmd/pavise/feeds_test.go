package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/policy"
)

// command runs one as main does.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := root()
	var out, err bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&err)
	cmd.SetArgs(args)
	code = run(context.Background(), cmd)
	return out.String(), err.String(), code
}

// feedFolder is a folder of policies and workloads with one feed in a file.
func feedFolder(t *testing.T, yaml, list string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"a.yaml": yaml, "list.txt": list} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const oneFeed = `
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: list}
spec: {url: "file:list.txt"}
---
`

// TestFetchBesideARunningProcess: two must not write one state directory, and reading it
// stays possible.
func TestFetchBesideARunningProcess(t *testing.T) {
	config, state := feedFolder(t, oneFeed, "192.0.2.1\n"), filepath.Join(t.TempDir(), "state")
	m, err := feeds.Open(feeds.Config{Dir: state})
	if err != nil {
		t.Fatal(err)
	}
	_, said, code := command(t, "feeds", "fetch", "--config", config, "--state", state)
	if code != exitFailed || !strings.Contains(said, "in use by another process") || !strings.Contains(said, "pavise feeds list") {
		t.Errorf("exit code %d and %q", code, said)
	}
	if out, said, code := command(t, "feeds", "list", "--config", config, "--state", state); code != exitOK || !strings.Contains(out, "Pending") {
		t.Errorf("list: exit code %d, %s%s", code, out, said)
	}
	k := newFeedKeeper(state, slog.New(slog.DiscardHandler))
	c := &compiled{set: loaded(t, config)}
	if err := k.set(c.set, c.model); !errors.Is(err, feeds.ErrLocked) || !strings.Contains(err.Error(), "--state") {
		t.Errorf("run: %v", err)
	}
	if list, trouble := k.status(); list != nil || !strings.Contains(trouble, "in use by another process") {
		t.Errorf("the status of run: %v, %q", list, trouble)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	// A reload tries again.
	if err := k.set(c.set, c.model); err != nil {
		t.Fatal(err)
	}
	if list, trouble := k.status(); len(list) != 1 || trouble != "" {
		t.Errorf("the status of run: %v, %q", list, trouble)
	}
	k.close()
	if _, said, code := command(t, "feeds", "fetch", "--config", config, "--state", state); code != exitOK {
		t.Errorf("when it has ended: exit code %d, %s", code, said)
	}
}

func loaded(t *testing.T, dir string) *api.Set {
	t.Helper()
	var l api.Loader
	set, problems := l.Load(dir)
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	return set
}

// TestFeedsCannotListTheWorkloads: not for a command and not for a running process, whose
// workloads may change while its feeds do not.
func TestFeedsCannotListTheWorkloads(t *testing.T) {
	workload := func(addr string) string {
		return oneFeed + `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web}
spec: {inbound: [{address: ` + addr + `, port: 80, upstream: "198.51.100.9:80"}]}
`
	}
	config := feedFolder(t, workload("198.51.100.1"), "198.51.100.1\n198.51.100.2\n198.51.100.9\n192.0.2.1\n")
	state := filepath.Join(t.TempDir(), "state")
	if _, said, code := command(t, "feeds", "fetch", "--config", config, "--state", state); code != exitOK {
		t.Fatalf("exit code %d, %s", code, said)
	}
	out, _, _ := command(t, "feeds", "show", "list", "--config", config, "--state", state)
	if strings.Count(out, "protected: ") != 2 || !strings.Contains(out, "198.51.100.1/32: a listener of web") || !strings.Contains(out, "198.51.100.9/32: where web is") {
		t.Errorf("shown: %s", out)
	}
	k := newFeedKeeper(state, slog.New(slog.DiscardHandler))
	defer k.close()
	for _, addr := range []string{"198.51.100.1", "198.51.100.2"} {
		if err := os.WriteFile(filepath.Join(config, "a.yaml"), []byte(workload(addr)), 0o600); err != nil {
			t.Fatal(err)
		}
		set := loaded(t, config)
		model, _ := policy.Compile(set)
		if err := k.set(set, model); err != nil {
			t.Fatal(err)
		}
		if err := k.get().Compile(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, asked := range []string{"198.51.100.1", "198.51.100.2"} {
			a, err := feeds.Lookup(k.get().Snapshot(), "", asked)
			if err != nil || (len(a.Hits) == 0) != (asked == addr) {
				t.Errorf("with a listener at %s, %s is listed by %v, %v", addr, asked, a.Hits, err)
			}
		}
	}
}

// TestHistoryWithDamage: what can be read is shown, what cannot is said and is in the exit code.
func TestHistoryWithDamage(t *testing.T) {
	config, state := feedFolder(t, oneFeed, ""), filepath.Join(t.TempDir(), "state")
	for _, list := range []string{"192.0.2.1\n", "192.0.2.2\n", "192.0.2.3\n192.0.2.4\n"} {
		if err := os.WriteFile(filepath.Join(config, "list.txt"), []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, said, code := command(t, "feeds", "fetch", "--config", config, "--state", state); code != exitOK {
			t.Fatalf("exit code %d, %s", code, said)
		}
	}
	files, err := filepath.Glob(filepath.Join(state, "feeds", "list", "changes", "*"))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	k := newFeedKeeper(state, slog.New(slog.DiscardHandler))
	past := feedPages{k}
	if list, err := past.FeedChanges("list"); err != nil || len(list) != 3 || len(list[2].AddedEntries) != 2 || past.FeedDir() != state {
		t.Errorf("%+v, %v", list, err)
	}
	if err := os.WriteFile(files[1], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "json", "yaml"} {
		out, said, code := command(t, "feeds", "history", "list", "--config", config, "--state", state, "-o", format)
		if code != exitFailed || !strings.Contains(said, files[1]+": it is empty") || strings.Count(out, "\n") < 3 {
			t.Errorf("%s: exit code %d, %s%s", format, code, out, said)
		}
	}
	if list, err := past.FeedChanges("list"); err == nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := os.WriteFile(files[2], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, said, code := command(t, "feeds", "history", "list", "--config", config, "--state", state); code != exitFailed || out != "" || !strings.Contains(said, files[2]) {
		t.Errorf("exit code %d, %s%s", code, out, said)
	}
}

func TestNameservers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# nameserver 192.0.2.1\nsearch example\nnameserver 192.0.2.2\n nameserver\tfe80::1%eth0 # ours\nnameserver\nnameserver x\noptions nameserver 192.0.2.3\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := nameservers(file)
	if len(got) != 2 || got[0] != netip.MustParseAddr("192.0.2.2") || got[1] != netip.MustParseAddr("fe80::1%eth0") {
		t.Errorf("nameservers: %v", got)
	}
	if got := nameservers(file + ".missing"); got != nil {
		t.Errorf("without a file: %v", got)
	}
}

func TestSpan(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Hour, "now"},
		{0, "now"},
		{90 * time.Second, "90s"},
		{119 * time.Minute, "119m"},
		{47 * time.Hour, "47h"},
		{49 * time.Hour, "2d"},
	} {
		at := metav1.NewTime(now.Add(x.d))
		if got := span(&at, now, 1); got != x.want {
			t.Errorf("in %v: %s, want %s", x.d, got, x.want)
		}
	}
	if got := span(nil, now, -1); got != "-" {
		t.Errorf("never: %s", got)
	}
}
