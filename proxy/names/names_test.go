package names

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clock is a time since boot that tests set.
type clock struct{ at time.Duration }

func (c *clock) now() time.Duration { return c.at }

// pair is a table, a reader of it, and the clock of both.
func pair(t testing.TB, o Options) (*Table, *Reader, *clock) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "names")
	w := create(t, path, o)
	c := &clock{at: 1000 * time.Second}
	w.now = c.now
	r := open(t, path)
	r.now = c.now
	return w, r, c
}

func create(t testing.TB, path string, o Options) *Table {
	t.Helper()
	w, err := Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func open(t testing.TB, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func learn(t testing.TB, w *Table, addr, name string, ttl time.Duration) {
	t.Helper()
	if err := w.Learn(netip.MustParseAddr(addr), name, ttl); err != nil {
		t.Fatalf("%s is %s: %v", addr, name, err)
	}
}

// said is what a reader says of an address, as names.h writes it.
func said(r *Reader, addr string) string {
	return text(r.Names(nil, netip.MustParseAddr(addr)))
}

func text(names []Name) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString("," + n.Name)
	}
	if len(names) > 0 {
		b.WriteByte(',')
	}
	return b.String()
}

// TestNamesOfAnAddress would catch an address that is stored under one spelling and asked
// for under another, and a second name that takes the place of the first.
func TestNamesOfAnAddress(t *testing.T) {
	w, r, _ := pair(t, Options{})
	for _, l := range []string{
		"192.0.2.1 allowed.example", "192.0.2.1 blocked.example", "192.0.2.1 allowed.example",
		"::ffff:192.0.2.2 mapped.example", "192.0.2.2 plain.example",
		"2001:db8::1 six.example", "192.0.2.3 _srv.a-b.example", "192.0.2.4 localhost",
		":: unspecified.example", "0.0.0.0 zero.example",
	} {
		addr, name, _ := strings.Cut(l, " ")
		learn(t, w, addr, name, time.Minute)
	}
	for _, c := range []struct{ name, addr, want string }{
		{"one that is shared has both names, the last first", "192.0.2.1", ",allowed.example,blocked.example,"},
		{"a mapped address is the address", "192.0.2.2", ",plain.example,mapped.example,"},
		{"and the other way round", "::ffff:192.0.2.1", ",allowed.example,blocked.example,"},
		{"IPv6", "2001:db8::1", ",six.example,"},
		{"an underscore", "192.0.2.3", ",_srv.a-b.example,"},
		{"one label", "192.0.2.4", ",localhost,"},
		{"one that nobody asked for", "192.0.2.9", ""},
		{"an IPv6 address that ends in an IPv4 one", "::192.0.2.1", ""},
		{"all zeros, as an empty slot has", "::", ",unspecified.example,"},
		{"all zeros of IPv4", "0.0.0.0", ",zero.example,"},
	} {
		if got := said(r, c.addr); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := w.Stats(); got != (Stats{Learnt: 10}) {
		t.Errorf("%+v", got)
	}
}

// TestRefused would catch an answer that writes a second name into the text of a rule.
func TestRefused(t *testing.T) {
	w, r, _ := pair(t, Options{})
	long := strings.Repeat("a.", 126)
	for _, name := range []string{
		"", ".", "a..b", ".a", "a.", "A.example", "a,b", "a b", "a\x00b", "a\nb", "bücher.example", "*.example", "a/b", "[::1]",
		long + "aa", strings.Repeat("a", 64) + ".example",
	} {
		if err := w.Learn(netip.MustParseAddr("192.0.2.1"), name, time.Minute); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("fe80::1%eth0")} {
		if err := w.Learn(a, "a.example", time.Minute); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if got := said(r, "192.0.2.1"); got != "" {
		t.Errorf("%q was learnt all the same", got)
	}
	if got := w.Stats(); got != (Stats{Refused: 18}) {
		t.Errorf("%+v", got)
	}
	learn(t, w, "192.0.2.1", long+"a", time.Minute) // 253 octets
	_ = w.Close()
	if err := w.Learn(netip.MustParseAddr("192.0.2.1"), "a.example", time.Minute); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	_ = r.Close()
	if got := said(r, "192.0.2.1"); got != "" || !r.Stale() {
		t.Errorf("a closed reader says %q", got)
	}
}

// TestExpiry would catch a name that is over too early, or never.
func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		name      string
		ttl, life time.Duration
	}{
		{"TTL 0", 0, 6 * time.Minute},
		{"TTL of ten minutes", 10 * time.Minute, 15 * time.Minute},
		{"TTL of 2³¹ seconds", 1 << 31 * time.Second, 65 * time.Minute},
		{"a negative TTL", -time.Hour, 6 * time.Minute},
	} {
		w, r, now := pair(t, Options{})
		start := now.at
		learn(t, w, "192.0.2.1", "a.example", c.ttl)
		if now.at = start + c.life; said(r, "192.0.2.1") != ",a.example," {
			t.Errorf("%s: over before %s", c.name, c.life)
		}
		if left := r.Names(nil, netip.MustParseAddr("192.0.2.1"))[0].Left; left != time.Second {
			t.Errorf("%s: %s are left", c.name, left)
		}
		if now.at += time.Second; said(r, "192.0.2.1") != "" {
			t.Errorf("%s: not over after %s", c.name, c.life)
		}
	}
	w, r, now := pair(t, Options{MinTTL: time.Second, Grace: -1})
	learn(t, w, "192.0.2.1", "long.example", time.Hour)
	learn(t, w, "192.0.2.1", "long.example", 0)
	learn(t, w, "192.0.2.1", "short.example", 0)
	now.at += 10 * time.Second
	if got := said(r, "192.0.2.1"); got != ",long.example," {
		t.Errorf("a shorter answer took time off a longer one, or the other stayed: %q", got)
	}
	learn(t, w, "192.0.2.1", "fresh.example", 0)
	if got := said(r, "192.0.2.1"); got != ",fresh.example,long.example," {
		t.Errorf("%q", got)
	}
	now.at += 2 * time.Hour
	learn(t, w, "192.0.2.1", "later.example", 0)
	if got := w.Stats(); got != (Stats{Learnt: 5}) || said(r, "192.0.2.1") != ",later.example," {
		t.Errorf("what was over counts as pushed out: %+v, %q", got, said(r, "192.0.2.1"))
	}
}

// TestManyNames would catch a slot that is written beyond its end.
func TestManyNames(t *testing.T) {
	w, r, _ := pair(t, Options{})
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("n%d.example", i)
		learn(t, w, "192.0.2.1", name, time.Minute)
		want = append([]string{name}, want...)
	}
	if got := said(r, "192.0.2.1"); got != ","+strings.Join(want[:8], ",")+"," {
		t.Errorf("%q", got)
	}
	if got := w.Stats(); got.Displaced != 12 {
		t.Errorf("%+v", got)
	}
	long := func(c string) string { return strings.Repeat(strings.Repeat(c, 62)+".", 4)[:220] }
	for _, c := range []string{"a", "b", "c"} { // two of them fill a slot to the last octet
		learn(t, w, "192.0.2.1", long(c), time.Minute)
	}
	if got := said(r, "192.0.2.1"); got != ","+long("c")+","+long("b")+"," {
		t.Errorf("%q", got)
	}
}

// TestEviction would catch an entry that is pushed out while there is another way: one that
// is over, or an older one.
func TestEviction(t *testing.T) {
	w, r, now := pair(t, Options{Slots: 8, MinTTL: time.Second, Grace: -1})
	addr := func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }
	for i := range 8 {
		now.at += time.Second
		ttl := time.Hour
		if i == 5 {
			ttl = time.Second
		}
		learn(t, w, addr(i), "a.example", ttl)
	}
	now.at += time.Minute
	learn(t, w, addr(8), "a.example", time.Hour) // in the place of 5
	learn(t, w, addr(0), "a.example", time.Hour) // is not the oldest any more
	if got := w.Stats(); got.Evicted != 0 {
		t.Fatalf("%+v", got)
	}
	learn(t, w, addr(9), "a.example", time.Hour) // in the place of 1
	if got := w.Stats(); got.Evicted != 1 {
		t.Errorf("%+v", got)
	}
	for i := range 10 {
		if got, want := said(r, addr(i)) != "", i != 1 && i != 5; got != want {
			t.Errorf("%s: %v, want %v", addr(i), got, want)
		}
	}
}

// TestEvictionBound holds what the package's comment promises of somebody who floods.
func TestEvictionBound(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills tables of the default size")
	}
	w, r, now := pair(t, Options{})
	const victims = 1000
	for i := range victims {
		learn(t, w, fmt.Sprintf("198.51.%d.%d", i/256, i%256), "victim.example", time.Hour)
	}
	lost := func() (n int) {
		for i := range victims {
			if said(r, fmt.Sprintf("198.51.%d.%d", i/256, i%256)) == "" {
				n++
			}
		}
		return n
	}
	flood := 0
	for _, c := range []struct{ after, most int }{{1000, 2}, {4000, 100}, {8000, 650}} {
		for ; flood < c.after; flood++ {
			now.at += time.Millisecond
			learn(t, w, fmt.Sprintf("10.%d.%d.1", flood/256, flood%256), "flood.example", time.Hour)
		}
		n := lost()
		t.Logf("%d of %d are lost after %d others", n, victims, c.after)
		if n > c.most {
			t.Errorf("after %d others: %d of %d victims are lost, want %d at the most", c.after, n, victims, c.most)
		}
	}
}

// TestHash would catch a hash that is not the one whose promise is cited. The value is that
// of its authors for the input 00 … 0f.
func TestHash(t *testing.T) {
	var key, in [16]byte
	for i := range key {
		key[i], in[i] = byte(i), byte(i)
	}
	if got := siphash(&key, &in); got != 0x3f2acc7f57c29bdb {
		t.Errorf("%x", got)
	}
}

func TestLearnDoesNotAllocate(t *testing.T) {
	w, r, _ := pair(t, Options{})
	names := []string{"a.example", "b.example", "c.example"}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		_ = w.Learn(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), names[i%3], time.Minute)
	}); n != 0 {
		t.Errorf("Learn allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { r.Names(nil, netip.AddrFrom4([4]byte{192, 0, 2, 1})) }); n != 0 {
		t.Errorf("Names allocates %v times for an address without one", n)
	}
}

// TestRestart would catch an agent that forgets what its applications still connect to, or
// takes what is not to be trusted for its own.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path string)
		slots  int
		kept   bool
	}{
		{name: "as it was", kept: true},
		{name: "other size", slots: 64},
		{name: "another boot", change: patch(48, []byte("0123456789abcdef"))},
		{name: "another version", change: patch(8, []byte{9})},
		{name: "a wrong magic", change: patch(0, []byte("PAVISNAP"))},
		{name: "more slots than octets", change: patch(12, []byte{0, 1, 0, 0})},
		{name: "cut short", change: func(t *testing.T, p string) { must(t, os.Truncate(p, 5000)) }},
		{name: "empty", change: func(t *testing.T, p string) { must(t, os.Truncate(p, 0)) }},
		{name: "writable for others", change: func(t *testing.T, p string) { must(t, os.Chmod(p, 0o666)) }},
		{name: "gone", change: func(t *testing.T, p string) { must(t, os.Remove(p)) }},
		{name: "a symbolic link", change: func(t *testing.T, p string) {
			must(t, os.Rename(p, p+".real"))
			must(t, os.Symlink(p+".real", p))
		}},
		{name: "a FIFO", change: func(t *testing.T, p string) {
			must(t, os.Remove(p))
			must(t, syscall.Mkfifo(p, 0o644))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "names")
			first := create(t, path, Options{Slots: 32})
			learn(t, first, "192.0.2.1", "a.example", time.Minute)
			r := open(t, path)
			must(t, first.Close())
			if r.Stale() {
				t.Error("stale although nothing has changed")
			}
			if c.change != nil {
				c.change(t, path)
			}
			if c.slots == 0 {
				c.slots = 32
			}
			second := create(t, path, Options{Slots: c.slots})
			fresh := open(t, path)
			if got := said(fresh, "192.0.2.1") != ""; got != c.kept || second.Kept() != c.kept {
				t.Errorf("kept the name: %v, says it did: %v, want %v", got, second.Kept(), c.kept)
			}
			if r.Stale() == c.kept {
				t.Errorf("a reader from before is stale: %v", r.Stale())
			}
			learn(t, second, "192.0.2.2", "b.example", time.Minute)
			if got := said(fresh, "192.0.2.2"); got != ",b.example," {
				t.Errorf("%q", got)
			}
			info, err := os.Lstat(path)
			if must(t, err); info.Mode() != 0o644 {
				t.Errorf("its mode is %s", info.Mode())
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func patch(at int64, with []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt(with, at)
		must(t, errors.Join(err, f.Close()))
	}
}

// TestKilledWhileWriting would catch an address that nobody can read or write again.
func TestKilledWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	w := create(t, path, Options{Slots: 8})
	learn(t, w, "192.0.2.1", "a.example", time.Minute)
	must(t, w.Close())
	b, err := os.ReadFile(path)
	must(t, err)
	for at := headerSize; at < len(b); at += slotSize {
		b[at] |= 1
	}
	must(t, os.WriteFile(path, b, 0o644))
	r := open(t, path)
	if got := said(r, "192.0.2.1"); got != "" {
		t.Errorf("half a slot says %q", got)
	}
	w = create(t, path, Options{Slots: 8})
	if !w.Kept() {
		t.Error("not kept")
	}
	learn(t, w, "192.0.2.1", "b.example", time.Minute)
	if got := said(r, "192.0.2.1"); got != ",b.example," {
		t.Errorf("%q", got)
	}
}

// TestOneWriter would catch two agents that write into each other's slots.
func TestOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	w := create(t, path, Options{})
	if _, err := Create(path, Options{}); err == nil || !strings.Contains(err.Error(), "another process writes it") {
		t.Errorf("%v", err)
	}
	must(t, w.Close())
	create(t, path, Options{})
}

// TestNoRoom would catch a table that is made of a hole in a full disk, into which the
// first store ends the process.
func TestNoRoom(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small file system: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	if _, err := Create(filepath.Join(dir, "names"), Options{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Slots: 100}, "100 slots: want a power of two from 8 to 1048576"},
		{Options{Slots: 4}, "4 slots: want"},
		{Options{Slots: 2 << 20}, "2097152 slots: want"},
		{Options{MinTTL: 2 * time.Hour}, "TTL from 2h0m0s to 1h0m0s"},
		{Options{MaxTTL: 48 * time.Hour}, "want 0 ≤ least ≤ most ≤ 24h0m0s"},
		{Options{Grace: 48 * time.Hour}, "48h0m0s more"},
	} {
		if _, err := Create(filepath.Join(t.TempDir(), "names"), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none", "names"), t.TempDir()} {
		if _, err := Create(path, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FuzzCorrupt would catch a reader that leaves the slot it reads, whatever is in the file.
func FuzzCorrupt(f *testing.F) {
	slot := make([]byte, slotSize)
	copy(slot[lengthAt:], []byte{3, 0, 9})
	copy(slot[textAt:], "a.b")
	f.Add(slot)
	slot = bytes.Repeat([]byte{0xff}, slotSize)
	binary.LittleEndian.PutUint64(slot, 2)
	f.Add(slot)
	slot = bytes.Clone(slot)
	copy(slot[lengthAt:], []byte{220, 220, 1})
	f.Add(slot)
	h := header{slots: 8}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "names")
		b := make([]byte, fileSize(8))
		copy(b, h.marshal())
		for at := headerSize; at < len(b) && len(content) > 0; at += copy(b[at:], content) {
			continue
		}
		must(t, os.WriteFile(path, b, 0o644))
		r := open(t, path)
		a := [16]byte(b[headerSize+addressAt:])
		names := r.Names(nil, netip.AddrFrom16(a))
		total := 0
		for _, n := range names {
			total += len(n.Name)
			if n.Name == "" || len(n.Name) > maxName || n.Left <= 0 {
				t.Errorf("%+v", n)
			}
		}
		if len(names) > MaxNames || total > MaxOctets {
			t.Errorf("%d names of %d octets", len(names), total)
		}
		must(t, r.Close())
	})
}

func BenchmarkLearn(b *testing.B) {
	w, _, _ := pair(b, Options{})
	for i := range b.N {
		_ = w.Learn(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "some.name.example", time.Minute)
	}
}

func BenchmarkNames(b *testing.B) {
	w, r, _ := pair(b, Options{})
	for i := range 4000 {
		learn(b, w, fmt.Sprintf("10.0.%d.%d", i/256, i%256), "some.name.example", time.Minute)
	}
	b.Run("none", func(b *testing.B) {
		for i := range b.N {
			r.Names(nil, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		}
	})
	dst := make([]Name, 0, 8)
	b.Run("one", func(b *testing.B) {
		for i := range b.N {
			r.Names(dst, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8 & 7), byte(i)}))
		}
	})
}
