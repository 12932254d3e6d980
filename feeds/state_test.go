package feeds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/api"
)

// TestStateOnDiskIsNotTrusted: what cannot be read is fetched again, and a name of a body
// that leads elsewhere is never opened.
func TestStateOnDiskIsNotTrusted(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.1\n")
	f := feedAt(s.URL)
	for name, text := range map[string]string{
		"empty":       "",
		"cut short":   `{"origin": "`,
		"another":     `[]`,
		"path upward": `{"origin": "` + f.origin() + `", "body": "body-/../../../../etc/passwd"}`,
		"odd body":    `{"origin": "` + f.origin() + `", "body": "state.json"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(dirOf(dir, "bad"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dirOf(dir, "bad"), stateName), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if st := ReadStatus(dir, []Feed{f}, time.Now())[0]; !strings.Contains(st.Error, stateName) {
				t.Errorf("status: %+v", st)
			}
			x := newFixture(t, dir)
			x.set(f)
			x.compile()
			if st := x.refresh("bad"); st.State != api.FeedCurrent {
				t.Errorf("%+v", st)
			}
			equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"})
		})
	}
}

// TestLeftoversAreRemoved: bodies that nothing names, and those that were being fetched.
func TestLeftoversAreRemoved(t *testing.T) {
	s := newServer(t)
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL))
	for i := range 3 {
		s.text(goodBody(i, 10))
		x.refresh("bad")
		if err := os.WriteFile(filepath.Join(dirOf(x.dir, "bad"), incoming+"123"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.text(goodBody(3, 10))
	x.refresh("bad")
	files, err := os.ReadDir(dirOf(x.dir, "bad"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.SplitN(f.Name(), "-", 2)[0])
	}
	equal(t, names, []string{"body", changesName, stateName})
}

// TestChangesAreForgotten: of a feed that changes all the time the last are kept.
func TestChangesAreForgotten(t *testing.T) {
	dir := t.TempDir()
	start := time.Unix(1000, 0)
	for i := range keptChanges + 5 {
		if err := writeChange(dir, "f", Change{Time: start.Add(time.Duration(i) * time.Second), From: "a", To: "b", AddedEntries: []string{"x"}}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := changeFiles(dir, "f")
	if err != nil || len(files) != keptChanges {
		t.Fatal(len(files), err)
	}
	since, exact, err := Since(dir, "f", "never-seen.example")
	if err != nil || exact || !since.Equal(start.Add(5*time.Second)) {
		t.Error(since, exact, err)
	}
	if since, exact, _ := Since(dir, "f", "x"); !exact || !since.Equal(start.Add((keptChanges+4)*time.Second)) {
		t.Error(since, exact)
	}
}

// TestSlipInTheSettings: a body that was read well stays in force as it was read, when it
// can't be read by new settings, through a restart and a failed fetch too; and is read by
// new settings at once when they fit.
func TestSlipInTheSettings(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.1\nevil.example\n")
	x := newFixture(t, t.TempDir())
	good := feedAt(s.URL)
	x.set(good)
	x.refresh("bad")
	slip := good
	slip.Spec.Format, slip.Spec.JSON = api.FeedJSON, &api.FeedJSONOptions{Path: "$.no[*]"}
	ask := []string{"192.0.2.1", "evil.example"}
	for range 2 {
		x.set(slip)
		x.compile()
		equal(t, x.lists(ask...), ask)
		if st := x.Status()[0]; st.State != api.FeedRefused || st.Entries != 2 || !strings.Contains(st.Error, "settings have changed") {
			t.Errorf("%+v", st)
		}
		if st := x.refresh("bad"); st.Error == "" || st.Entries != 2 {
			t.Errorf("%+v", st)
		}
		equal(t, x.lists(ask...), ask)
		x.reopen(slip)
	}
	x.set(good)
	x.refresh("bad")
	if st := x.Status()[0]; st.State != api.FeedCurrent || st.Error != "" {
		t.Errorf("%+v", st)
	}
	// Settings that fit count at once, without a fetch.
	narrow := good
	narrow.Spec.Content = api.FeedAddresses
	narrow.Spec.Guards.MaxUnreadable = ptr(int32(100))
	x.set(narrow)
	x.compile()
	if st := x.Status()[0]; st.Entries != 1 || st.Unreadable != 1 || st.State != api.FeedCurrent {
		t.Errorf("%+v", st)
	}
	equal(t, x.lists(ask...), ask[:1])
}

func ptr[T any](v T) *T { return &v }
