package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
)

// listed asks the state directory, as lookup does.
func (p *process) listed(what string) bool {
	p.t.Helper()
	s, err := snapshot.Open(filepath.Join(p.s.state, "snapshot"))
	if err != nil {
		return false
	}
	a, err := feeds.Lookup(s, p.s.state, what)
	if err != nil {
		p.t.Fatal(err)
	}
	return len(a.Hits) > 0
}

func TestFeedsOfARunningProcess(t *testing.T) {
	p := startProcess(t)
	if s := p.status(); s.Feeds != nil || s.FeedTrouble != "" {
		t.Errorf("the status without feeds: %+v", s)
	}
	if _, err := os.Stat(p.s.state); err == nil {
		t.Error("there is a state directory without feeds")
	}

	t.Run("a saved feed is fetched and in force", func(t *testing.T) {
		p.save("list.txt", "192.0.2.1\n0.0.0.0/0\n")
		p.save("feeds.yaml", oneFeed)
		p.eventually("the feed lists", func() bool { return p.listed("192.0.2.1") })
		s := p.status()
		if len(s.Feeds) != 1 || s.Feeds[0].State != api.FeedCurrent || s.Feeds[0].Guarded != 1 || s.FeedTrouble != "" {
			t.Errorf("status: %+v", s.Feeds)
		}
		out, said, code := command(t, "status", "--run-dir", p.runDir)
		if code != exitOK || !strings.Contains(out, "list: Current, 1 entry, last confirmed 2") {
			t.Errorf("exit code %d, %s%s", code, out, said)
		}
	})

	t.Run("its past is known", func(t *testing.T) {
		list, err := p.s.FeedChanges("list")
		if err != nil || len(list) != 1 || list[0].Entries != 1 || list[0].From != "" || p.s.FeedDir() != p.s.state || len(p.s.FeedList()) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
		if in := p.s.Sidecars(); len(in) != 1 {
			t.Errorf("sidecars: %+v", in)
		}
	})

	t.Run("a broken folder keeps the feeds", func(t *testing.T) {
		p.save("feeds.yaml", strings.Replace(oneFeed, "url", "ulr", 1))
		p.eventually("status says broken", func() bool { return p.status().Broken })
		if s := p.status(); len(s.Feeds) != 1 || s.Feeds[0].State != api.FeedCurrent || !p.listed("192.0.2.1") {
			t.Errorf("the last good is gone: %+v", s.Feeds)
		}
	})

	t.Run("a feed that is gone lists nothing, one that fails is shown", func(t *testing.T) {
		p.save("feeds.yaml", strings.NewReplacer("list}", "other}", "list.txt", "missing.txt").Replace(oneFeed))
		p.eventually("it lists nothing", func() bool { return !p.listed("192.0.2.1") })
		p.eventually("the other has failed", func() bool {
			s := p.status()
			return len(s.Feeds) == 1 && s.Feeds[0].Name == "other" && s.Feeds[0].State == api.FeedFailed
		})
		out, _, code := command(t, "status", "--run-dir", p.runDir)
		if code != exitProblem || !strings.Contains(out, "other: Failed, 0 entries; there is no file") {
			t.Errorf("exit code %d, %s", code, out)
		}
	})

	t.Run("nobody else refreshes them", func(t *testing.T) {
		_, said, code := command(t, "feeds", "fetch", "--config", p.config, "--state", p.s.state)
		if code != exitFailed || !strings.Contains(said, "in use by another process") {
			t.Errorf("exit code %d, %s", code, said)
		}
	})
}
