package replica

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/feeds/snapshot"
)

// offered is what a store says now.
func offered(t *testing.T, s *Store) *offer {
	t.Helper()
	o, err := parseOffer(s.current.Load().document)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func files(t *testing.T, dir string) (snapshots, deltas int) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		switch filepath.Ext(e.Name()) {
		case snapshotSuffix:
			snapshots++
		case deltaSuffix:
			deltas++
		}
	}
	return snapshots, deltas
}

// TestStoreKeeps: the last few and a delta from each to the newest, and nothing more.
func TestStoreKeeps(t *testing.T) {
	x := newLab(t)
	var all []snapshot.Info
	for i := range 6 {
		all = append(all, x.publish(content{from: i * 20, n: 2000}))
		o := offered(t, x.store)
		want := min(i, 3)
		if o.digest != all[i].Digest || o.size != all[i].Size || len(o.deltas) != want {
			t.Fatalf("%d: %+v", i, o)
		}
		for j, d := range o.deltas {
			if d.from != all[i-1-j].Digest || d.to != all[i].Digest || d.size > all[i].Size/4 {
				t.Errorf("%d: delta %d: %+v", i, j, d)
			}
		}
		if s, d := files(t, x.store.c.Dir); s != want+1 || d != want {
			t.Errorf("%d: %d snapshots and %d deltas on disk", i, s, d)
		}
	}
	// One that was there before is the newest again.
	if again := x.publish(content{from: 80, n: 2000}); again.Digest != all[4].Digest {
		t.Fatal("another file")
	}
	if o := offered(t, x.store); o.digest != all[4].Digest || len(o.deltas) != 3 || o.deltas[0].from != all[5].Digest {
		t.Errorf("%+v", o)
	}
	before := x.store.current.Load()
	x.publish(content{from: 80, n: 2000})
	if x.store.current.Load() != before {
		t.Error("the same snapshot was announced twice")
	}
}

func TestStoreIsBounded(t *testing.T) {
	x := newLab(t)
	first := x.publish(content{n: 2000})
	x.store.c.MaxBytes = first.Size*5/2 + 1
	for i := range 5 {
		x.publish(content{from: i * 20, n: 2000})
	}
	if n := x.store.octets(); n > x.store.c.MaxBytes || len(x.store.kept) != 2 {
		t.Errorf("%d snapshots of %d octets are kept", len(x.store.kept), n)
	}
	before := offered(t, x.store)
	path := filepath.Join(x.files, "snapshot")
	build(t, path, content{n: 60_000})
	if err := x.store.Publish(t.Context(), path); err == nil || !strings.Contains(err.Error(), "MaxBytes") {
		t.Errorf("too big: %v", err)
	}
	if o := offered(t, x.store); o.digest != before.digest {
		t.Error("what is over the limit took the place of what was good")
	}
}

// TestStoreRefuses: what no follower would take is not announced (Cloudflare, 2025-11-18).
func TestStoreRefuses(t *testing.T) {
	x := newLab(t)
	good := x.publish(content{n: 200})
	path := filepath.Join(x.files, "snapshot")
	for name, make := range map[string]func(){
		"loopback is listed": func() { build(t, path, content{n: 200, lists: []string{"127.0.0.1"}}) },
		"cut short": func() {
			build(t, path, content{n: 300})
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		},
		"none": func() { os.Remove(path) },
	} {
		make()
		if err := x.store.Publish(t.Context(), path); err == nil {
			t.Errorf("%s: it was published", name)
		}
		if o := offered(t, x.store); o.digest != good.Digest {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if s, d := files(t, x.store.c.Dir); s != 1 || d != 0 {
		t.Errorf("%d snapshots and %d deltas on disk", s, d)
	}
}

// TestStoreWithoutDelta: another key, or too little in common: the whole is all there is.
func TestStoreWithoutDelta(t *testing.T) {
	x := newLab(t)
	x.publish(content{n: 500})
	x.publish(content{n: 500, key: 1})
	if o := offered(t, x.store); len(o.deltas) != 0 {
		t.Errorf("%+v", o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(x.files, "snapshot")
	info := build(t, path, content{n: 501, key: 1})
	if err := x.store.Publish(ctx, path); err != nil {
		t.Fatal(err)
	}
	if o := offered(t, x.store); o.digest != info.Digest || len(o.deltas) != 0 {
		t.Errorf("after the end: %+v", o)
	}
}

func TestStoreFolder(t *testing.T) {
	x := newLab(t)
	x.publish(content{n: 500})
	x.publish(content{n: 501})
	dir := x.store.c.Dir
	if _, err := OpenStore(StoreConfig{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second store: %v", err)
	}
	x.store.Close()
	s, err := OpenStore(StoreConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s, d := files(t, dir); s+d != 0 {
		t.Errorf("%d snapshots and %d deltas are left", s, d)
	}
	// Another file system, or a system that does not let files be linked.
	from := filepath.Join(x.files, "snapshot")
	to := filepath.Join(t.TempDir(), "copy")
	if err := copyFile(from, to, 1<<20); err != nil {
		t.Fatal(err)
	}
	if digest(t, from) != digest(t, to) {
		t.Error("the copy is another")
	}
	if err := copyFile(from, to+"2", 100); err == nil || !strings.Contains(err.Error(), "100 octets") {
		t.Error(err)
	}
	if _, err := os.Stat(to + "2"); err == nil {
		t.Error("it is there all the same")
	}
}
