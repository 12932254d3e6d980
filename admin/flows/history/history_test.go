package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, c Config) *File {
	t.Helper()
	if c.Now == nil {
		c.Now = func() time.Time { return noon }
	}
	f, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func flow(i int, last time.Time) flows.Flow {
	return flows.Flow{
		ID: fmt.Sprintf("%016x", i+1), First: last.Add(-time.Second), Last: last, Count: uint64(i + 1),
		Key:     flows.Key{Workload: fmt.Sprintf("shop/w%d", i%7), Verdict: policy.Denied, Reason: "default-deny:shop/web", Path: "/p"},
		Example: decisions.Record{Time: last, Listener: "l", Verdict: policy.Denied, Reason: "default-deny:shop/web", Path: "/p/1", Detail: strings.Repeat("d", 200)},
	}
}

func everything(t *testing.T, f *File, filter flows.Filter, limit int) (all []flows.Flow) {
	t.Helper()
	for after := ""; ; {
		some, next, err := f.Query(filter, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, some...); next == "" {
			return all
		}
		after = next
	}
}

// TestWhatIsWrittenIsThereAgain after the file was closed, newest first, on pages.
func TestWhatIsWrittenIsThereAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows.db")
	f := open(t, Config{Path: path})
	var want []flows.Flow
	for i := range 50 {
		want = append(want, flow(i, noon.Add(-time.Duration(i)*time.Minute)))
	}
	if err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	want[30].Last, want[30].Count = noon.Add(time.Second), 1000 // it goes on
	if err := f.Write(want[30:31]); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = open(t, Config{Path: path})
	slices.SortFunc(want, func(a, b flows.Flow) int { return b.Last.Compare(a.Last) })
	if got := everything(t, f, flows.Filter{}, 7); !slices.Equal(got, want) {
		t.Errorf("got %d flows, want %d:\n%+v\n%+v", len(got), len(want), got[0], want[0])
	}
	if got := everything(t, f, flows.Filter{Workload: "shop/w3", Since: noon.Add(-20 * time.Minute)}, 100); len(got) != 3 {
		t.Errorf("%d flows of one workload since then", len(got))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// TestTheFileIsBounded writes ten times what fits.
func TestTheFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flows.db")
	f := open(t, Config{Path: path, MaxBytes: 4 << 20})
	f.db.NoSync = true // of the test's patience
	const n = 30_000
	for i := 0; i < n; i += batch {
		var some []flows.Flow
		for j := range batch {
			fl := flow(i+j, noon.Add(time.Duration(i+j)*time.Millisecond))
			if i%5000 == 0 && j%4 == 0 {
				fl.Reason = strings.Repeat("r", 50*j) // up to 25,000 octets
			}
			some = append(some, fl)
		}
		if err := f.Write(some); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	st, serr := f.Stats()
	if err != nil || serr != nil || info.Size() > 4<<20 || st.Flows < 1500 || st.TooMuch != uint64(n-st.Flows) {
		t.Errorf("%d octets: %+v %v %v", info.Size(), st, err, serr)
	}
	got, _, err := f.Query(flows.Filter{}, "", 1)
	if err != nil || got[0].Count != n {
		t.Errorf("the newest is %+v, %v", got, err)
	}
	t.Logf("%d octets: %+v", info.Size(), st)
}

func TestWhatIsOldGoes(t *testing.T) {
	f := open(t, Config{Path: filepath.Join(t.TempDir(), "flows.db"), MaxAge: time.Hour})
	if err := f.Write([]flows.Flow{flow(0, noon.Add(-2*time.Hour)), flow(1, noon)}); err != nil {
		t.Fatal(err)
	}
	st, err := f.Stats()
	if got := everything(t, f, flows.Filter{}, 10); len(got) != 1 || got[0].Count != 2 || err != nil || st.TooOld != 1 || st.Flows != 1 {
		t.Errorf("%+v %+v %v", got, st, err)
	}
}

// TestADamagedFileIsMovedAside, however it is damaged, and the next one works.
func TestADamagedFileIsMovedAside(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no database":       func([]byte) []byte { return []byte(strings.Repeat("hello\n", 2000)) },
		"a few octets":      func([]byte) []byte { return []byte("x") },
		"half of it":        func(b []byte) []byte { return b[:len(b)/2] },
		"pages of zeros":    func(b []byte) []byte { clear(b[4*4096:]); return b },
		"pages of noise":    func(b []byte) []byte { noise(b[3*4096:]); return b },
		"both metas broken": func(b []byte) []byte { noise(b[:2*4096]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "flows.db")
			f := open(t, Config{Path: path})
			for i := range 20 {
				var some []flows.Flow
				for j := range 50 {
					some = append(some, flow(50*i+j, noon.Add(time.Duration(50*i+j)*time.Second)))
				}
				if err := f.Write(some); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(b)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			f = open(t, Config{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
			aside, err := os.ReadFile(f.MovedAside())
			if err != nil || !bytes.Equal(aside, damaged) {
				t.Errorf("aside are %d octets of %d, %v", len(aside), len(damaged), err)
			}
			if !strings.Contains(log.String(), "damaged") || !strings.Contains(log.String(), path) {
				t.Errorf("the log says %q", &log)
			}
			if err := f.Write([]flows.Flow{flow(1, noon)}); err != nil || len(everything(t, f, flows.Filter{}, 10)) != 1 {
				t.Errorf("the new one does not work: %v", err)
			}
		})
	}
}

func noise(b []byte) {
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
}

func TestRunWritesOnceMoreAtTheEnd(t *testing.T) {
	f := open(t, Config{Path: filepath.Join(t.TempDir(), "flows.db"), Every: time.Hour, Now: time.Now})
	s, err := flows.New(flows.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * batch {
		s.Add(&decisions.Record{Workload: fmt.Sprintf("shop/w%d", i), Verdict: policy.Denied, Reason: "default-deny:shop/web"})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Run(ctx, s); err != nil {
		t.Fatal(err)
	}
	got := everything(t, f, flows.Filter{}, 1000)
	if len(got) != 2*batch {
		t.Fatalf("%d flows", len(got))
	}
	if one, ok := s.Get(got[7].ID); !ok || one != got[7] {
		t.Errorf("in memory %+v\non disk   %+v", one, got[7])
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken.db")
	open(t, Config{Path: taken})
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{}, "it needs a path"},
		{Config{Path: "x", MaxBytes: 1}, "at least 4 MiB (not 1 octets)"},
		{Config{Path: filepath.Join(dir, "none", "x.db")}, "no such file or directory"},
		{Config{Path: dir}, "is a directory"},
		{Config{Path: taken}, "another process has it open"},
	} {
		if _, err := Open(c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.c, err)
		}
	}
	if _, err := os.Stat(taken + ".damaged"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file that another has was moved aside")
	}
}

func TestQueryRefuses(t *testing.T) {
	f := open(t, Config{Path: filepath.Join(t.TempDir(), "flows.db")})
	for _, c := range []struct {
		after, field string
		limit        int
	}{{"", "limit", 0}, {"", "limit", 1001}, {"zz", "cursor", 1}, {"00", "cursor", 1}} {
		_, _, err := f.Query(flows.Filter{}, c.after, c.limit)
		if fe := (*flows.FieldError)(nil); !errors.As(err, &fe) || fe.Field != c.field {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := f.Write([]flows.Flow{{ID: "x"}}); err == nil {
		t.Error("a flow without an id was written")
	}
}
