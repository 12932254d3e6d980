package api

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// netset is a document with one NetworkSet.
func netset(name string) string {
	return "apiVersion: pavise.dev/v1alpha1\nkind: NetworkSet\nmetadata:\n  name: " + name + "\n"
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// names lists the network sets of a set in order.
func names(s *Set) string {
	var list []string
	for _, n := range s.NetworkSets {
		list = append(list, n.Name)
	}
	return strings.Join(list, " ")
}

// expect compares problems with lines of CODE FILE:LINE, the file below dir.
func expect(t *testing.T, dir string, problems []Problem, want ...string) {
	t.Helper()
	var got []string
	for _, p := range problems {
		rel, err := filepath.Rel(dir, p.File)
		if err != nil {
			rel = p.File
		}
		got = append(got, fmt.Sprintf("%s %s:%d", p.Code, rel, p.Line))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s\nin full:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), lines(problems))
	}
}

func TestLoadPicksFiles(t *testing.T) {
	dir := t.TempDir()
	for path, name := range map[string]string{
		"b.yaml": "b", "a.yml": "a", "sub/deep/c.yaml": "c",
		".hidden.yaml": "no", ".git/x.yaml": "no", "notes.txt": "no", "x.yaml.bak": "no", "yaml": "no",
	} {
		write(t, filepath.Join(dir, path), netset(name))
	}
	write(t, filepath.Join(dir, "empty.yaml"), "")
	write(t, filepath.Join(dir, "comments.yaml"), "# nothing\n---\n# here\n")
	s, problems := new(Loader).Load(dir)
	expect(t, dir, problems)
	if names(s) != "a b c" {
		t.Errorf("read %s", names(s))
	}
	s, problems = new(Loader).Load(filepath.Join(dir, "b.yaml"))
	expect(t, dir, problems)
	if names(s) != "b" {
		t.Errorf("of one file read %s", names(s))
	}
}

// A ConfigMap is mounted as links through a folder ..data; a key with a slash in it
// is below a link to a folder.
func TestLoadConfigMap(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "..2025_01_01/a.yaml"), netset("a"))
	write(t, filepath.Join(dir, "..2025_01_01/sub/b.yaml"), netset("b"))
	link(t, "..2025_01_01", filepath.Join(dir, "..data"))
	link(t, "..data/a.yaml", filepath.Join(dir, "a.yaml"))
	link(t, "..data/sub", filepath.Join(dir, "sub"))
	s, problems := new(Loader).Load(dir)
	expect(t, dir, problems)
	if names(s) != "a b" {
		t.Errorf("read %s", names(s))
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	_, problems := new(Loader).Load(filepath.Join(dir, "none"))
	expect(t, dir, problems, "PAV0001 none:0")
	_, problems = new(Loader).Load(dir)
	expect(t, dir, problems)

	write(t, filepath.Join(dir, "good.yaml"), netset("good"))
	link(t, "gone.yaml", filepath.Join(dir, "dangling.yaml"))
	link(t, "gone", filepath.Join(dir, "dangling"))
	link(t, ".", filepath.Join(dir, "loop"))
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, problems := new(Loader).Load(dir)
	expect(t, dir, problems, "PAV0001 dangling.yaml:0", "PAV0001 loop:0", "PAV0001 pipe.yaml:0")
	if names(s) != "good" {
		t.Errorf("read %s", names(s))
	}
	if os.Getuid() != 0 {
		if err := os.Chmod(filepath.Join(dir, "good.yaml"), 0); err != nil {
			t.Fatal(err)
		}
		_, problems := new(Loader).Load(filepath.Join(dir, "good.yaml"))
		expect(t, dir, problems, "PAV0001 good.yaml:0")
	}
}

func TestLoadLimits(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), netset("a")+"---\n"+netset("b"))
	write(t, filepath.Join(dir, "b.yaml"), netset("c"))
	write(t, filepath.Join(dir, "c/c.yaml"), "apiVersion: v1\nkind: List\nitems:\n- "+strings.ReplaceAll(strings.TrimSpace(netset("d")), "\n", "\n  ")+"\n")
	size := int64(len(netset("a")))
	for name, c := range map[string]struct {
		limits limits
		read   string
		want   []string
	}{
		"enough":        {limits{4 * size, 20 * size, 3, 2, 4}, "a b c d", nil},
		"file bytes":    {limits{2 * size, 20 * size, 3, 2, 4}, "c d", []string{"PAV0002 a.yaml:0"}},
		"total bytes":   {limits{4 * size, 2*size + 10, 3, 2, 4}, "a b", []string{"PAV0002 .:0"}},
		"total fits":    {limits{4 * size, 3*size + 4, 3, 2, 4}, "a b c", nil},
		"files":         {limits{4 * size, 20 * size, 2, 2, 4}, "a b c", []string{"PAV0002 .:0"}},
		"folders":       {limits{4 * size, 20 * size, 3, 1, 4}, "a b c", []string{"PAV0002 .:0"}},
		"documents":     {limits{4 * size, 20 * size, 3, 2, 1}, "a", []string{"PAV0002 .:0", "PAV0002 a.yaml:0"}},
		"objects":       {limits{4 * size, 20 * size, 3, 2, 3}, "a b c", []string{"PAV0002 .:0"}},
		"file fits":     {limits{2*size + 4, 20 * size, 3, 2, 4}, "a b c d", nil},
		"file one over": {limits{2*size + 3, 20 * size, 3, 2, 4}, "c d", []string{"PAV0002 a.yaml:0"}},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "total ") || strings.HasPrefix(name, "file ") {
				// The List is longer than the bounds that these are about.
				if err := os.Rename(filepath.Join(dir, "c/c.yaml"), filepath.Join(dir, "c/c.off")); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.Rename(filepath.Join(dir, "c/c.off"), filepath.Join(dir, "c/c.yaml")) }()
				c.read = strings.TrimSuffix(c.read, " d")
			}
			l := Loader{limits: &c.limits}
			s, problems := l.Load(dir)
			expect(t, dir, problems, c.want...)
			if names(s) != c.read {
				t.Errorf("read %s, want %s", names(s), c.read)
			}
		})
	}
}

// A bound that several folders exceed is reported once.
func TestLoadStops(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"a/1.yaml", "a/2.yaml", "b/1.yaml", "c/d/1.yaml"} {
		write(t, filepath.Join(dir, path), "")
	}
	for _, l := range []limits{{9, 9, 1, 9, 9}, {9, 9, 9, 1, 9}} {
		loader := Loader{limits: &l}
		_, problems := loader.Load(dir)
		expect(t, dir, problems, "PAV0002 .:0")
	}
}

func TestMoreProblems(t *testing.T) {
	doc := netset("a") + "spec:\n  cidrs:\n" + strings.Repeat("  - x\n", 3*maxProblems)
	_, problems := Parse("a.yaml", []byte(doc))
	if len(problems) != maxProblems+1 || problems[0].Code != CodeMoreProblems || !strings.HasPrefix(problems[0].Message, fmt.Sprint(2*maxProblems)) {
		t.Errorf("%d problems, first %s", len(problems), problems[0])
	}
	_, problems = Parse("a.yaml", []byte(strings.Repeat("---\n"+netset("a"), 3*maxProblems)))
	if len(problems) != maxProblems+1 || problems[0].Code != CodeMoreProblems || !strings.HasPrefix(problems[0].Message, fmt.Sprint(2*maxProblems-1)) {
		t.Errorf("%d problems, first %s", len(problems), problems[0])
	}
	_, problems = Parse("a.yaml", []byte(strings.Repeat("--- 5\n", 3*maxProblems)))
	if len(problems) != maxProblems+1 || !HasErrors(problems) {
		t.Errorf("%d problems", len(problems))
	}
}

func TestParseTooLarge(t *testing.T) {
	_, problems := Parse("-", bytes.Repeat([]byte("#"), 32<<20))
	expect(t, "", problems)
	_, problems = Parse("-", bytes.Repeat([]byte("#"), 32<<20+1))
	expect(t, "", problems, "PAV0002 -:0")
}

// TestReload shows that a file is parsed again only when its content changed.
func TestReload(t *testing.T) {
	dir := writeRules(t, 10, 1)
	var l Loader
	load := func(parses int) *Set {
		t.Helper()
		before := l.parses
		s, problems := l.Load(dir)
		expect(t, dir, problems)
		if got := l.parses - before; got != parses {
			t.Errorf("parsed %d files, want %d", got, parses)
		}
		return s
	}
	first := load(10)
	load(0)
	path := filepath.Join(dir, "f003.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "# a line more\n"+string(data))
	second := load(1)
	if first.AccessPolicies[0] != second.AccessPolicies[0] {
		t.Error("an object of a file that did not change was read again")
	}
	if _, line := second.Position(KindAccessPolicy, "ns3", "f3-p0", ""); line != 3 {
		t.Errorf("line %d after the change", line)
	}
	if _, line := first.Position(KindAccessPolicy, "ns3", "f3-p0", ""); line != 2 {
		t.Errorf("line %d in the set from before", line)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if s := load(0); len(s.AccessPolicies) != 9 {
		t.Errorf("%d policies after one file is gone", len(s.AccessPolicies))
	}
	write(t, path, string(data))
	load(1) // What is gone is not kept.
}

// Problems of a file that did not change are reported each time.
func TestReloadKeepsProblems(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), netset("A"))
	write(t, filepath.Join(dir, "b.yaml"), netset("b")+"---\n"+netset("b"))
	var l Loader
	want := []string{"PAV0101 a.yaml:4", "PAV0104 b.yaml:6"}
	for range 3 {
		_, problems := l.Load(dir)
		expect(t, dir, problems, want...)
	}
	if l.parses != 2 {
		t.Errorf("parsed %d files", l.parses)
	}
}

// TestEveryProblemAtOnce reads one folder in which each file has another problem.
func TestEveryProblemAtOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.yaml"), "a: [\n---\n"+netset("B")+"---\n"+netset("b")+"spek: {}\n")
	write(t, filepath.Join(dir, "2.yaml"), "\x00")
	write(t, filepath.Join(dir, "3.yaml"), netset("b"))
	_, problems := new(Loader).Load(dir)
	expect(t, dir, problems, "PAV0004 1.yaml:1", "PAV0101 1.yaml:6", "PAV0009 1.yaml:12", "PAV0003 2.yaml:1", "PAV0104 3.yaml:1")
}

func TestLoadAtTheSameTime(t *testing.T) {
	dir := writeRules(t, 4, 2)
	var l Loader
	done := make(chan *Set)
	for range 4 {
		go func() {
			s, _ := l.Load(dir)
			s.Position(KindAccessPolicy, "ns1", "f1-p1", "spec.ingress[3].name")
			done <- s
		}()
	}
	for range 4 {
		if s := <-done; len(s.AccessPolicies) != 8 {
			t.Errorf("%d policies", len(s.AccessPolicies))
		}
	}
}
