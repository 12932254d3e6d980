package feeds

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// keptAs writes changes a second apart; the first is a first fetch.
func keptAs(t *testing.T, n int) (dir string, files []string) {
	t.Helper()
	dir = t.TempDir()
	for i := range n {
		c := Change{
			Time: time.Unix(1000+int64(i), 0).UTC(), From: fmt.Sprint("d", i-1), To: fmt.Sprint("d", i),
			Added: 2, Removed: 1, Entries: int64(10 + i), AddedEntries: []string{"a.example", "b.example"}, RemovedEntries: []string{"c.example"},
		}
		if i == 0 {
			c.From = ""
		}
		if err := writeChange(dir, "f", c); err != nil {
			t.Fatal(err)
		}
	}
	files, err := changeFiles(dir, "f")
	if err != nil {
		t.Fatal(err)
	}
	return dir, files
}

// TestChanges: all that is kept in order, with counts, and entries of the last alone.
func TestChanges(t *testing.T) {
	if list, err := Changes(t.TempDir(), "f"); list != nil || err != nil {
		t.Errorf("of a feed that was never fetched: %v, %v", list, err)
	}
	for _, name := range []string{"..", "../f", "/etc", "a/b", ""} {
		if _, err := Changes(t.TempDir(), name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
	dir, _ := keptAs(t, 70)
	list, err := Changes(dir, "f")
	if err != nil || len(list) != keptChanges {
		t.Fatal(len(list), err)
	}
	for i, c := range list {
		if n := int64(i + 6); c.Time.Unix() != 1000+n || c.Entries != 10+n || c.Added != 2 || c.Removed != 1 || c.To != fmt.Sprint("d", n) {
			t.Errorf("%d: %+v", i, c)
		}
		if last := i == len(list)-1; last != (len(c.AddedEntries) == 2 && len(c.RemovedEntries) == 1) || !last && (c.AddedEntries != nil || c.RemovedEntries != nil) {
			t.Errorf("%d has the entries %q and %q", i, c.AddedEntries, c.RemovedEntries)
		}
	}
}

// TestChangesOfABody: what a Manager writes has the entries that were in the body.
func TestChangesOfABody(t *testing.T) {
	s := newServer(t)
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL))
	for _, body := range []string{"192.0.2.1\n192.0.2.2\n192.0.2.9\n", "192.0.2.2\n192.0.2.3\n192.0.2.9\na.example\n", "192.0.2.2\n192.0.2.9\n"} {
		s.text(body)
		if st := x.refresh("bad"); st.Error != "" {
			t.Fatal(st.Error)
		}
		x.now = x.now.Add(time.Hour)
	}
	list, err := Changes(x.dir, "bad")
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	var got []string
	for _, c := range list {
		got = append(got, fmt.Sprintf("%d +%d -%d %t", c.Entries, c.Added, c.Removed, c.From == ""))
	}
	equal(t, got, []string{"3 +3 -0 true", "4 +2 -1 false", "2 +0 -2 false"})
	equal(t, list[2].RemovedEntries, []string{"192.0.2.3", "a.example"})
}

// TestDamagedChanges: one of the middle is left out and said, one of the end is all that is said,
// and nothing is read without a bound.
func TestDamagedChanges(t *testing.T) {
	long := `{"time":"2026-01-01T00:00:00Z","to":"` + strings.Repeat("d", 2*maxHead) + `"}` + "\n"
	for name, text := range map[string]string{
		"empty": "", "no JSON": "\x00\n", "half of one": `{"time":"2026-01-01T0`, "a list": "[]\n", "no time": `{"to":"d"}` + "\n",
		"below zero": `{"time":"2026-01-01T00:00:00Z","to":"d","added":-1}` + "\n", "a long line": long,
	} {
		dir, files := keptAs(t, 5)
		damage := func(i int) {
			t.Helper()
			if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		damage(1)
		damage(3)
		list, err := Changes(dir, "f")
		if len(list) != 3 || err == nil || !strings.Contains(err.Error(), files[1]) || !strings.Contains(err.Error(), files[3]) {
			t.Errorf("%s in the middle: %d, %v", name, len(list), err)
		}
		if !slices.IsSortedFunc(list, func(a, b Change) int { return a.Time.Compare(b.Time) }) || len(list) > 0 && list[len(list)-1].To != "d4" {
			t.Errorf("%s in the middle: %+v", name, list)
		}
		if name == "a long line" {
			continue // of the newest all is read
		}
		damage(4)
		if list, err := Changes(dir, "f"); list != nil || err == nil || !strings.Contains(err.Error(), files[4]) {
			t.Errorf("%s at the end: %v, %v", name, list, err)
		}
	}
	// The entries of the newest only are looked at.
	dir, files := keptAs(t, 3)
	f, err := os.OpenFile(files[1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("nonsense\n" + strings.Repeat("x", 1<<17)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if list, err := Changes(dir, "f"); err != nil || len(list) != 3 {
		t.Error(list, err)
	}
}

// TestChangesWhileOnesAreForgotten: a Manager that writes meanwhile is no damage.
func TestChangesWhileOnesAreForgotten(t *testing.T) {
	dir, _ := keptAs(t, keptChanges)
	done := make(chan error, 1)
	go func() {
		var err error
		for i := range 200 {
			if err = writeChange(dir, "f", Change{Time: time.Unix(2000+int64(i), 0), To: "d"}); err != nil {
				break
			}
		}
		done <- err
	}()
	for {
		if list, err := Changes(dir, "f"); err != nil || len(list) == 0 {
			t.Error(len(list), err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
