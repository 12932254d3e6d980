package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root is a folder like that of the repository, with what is built in it: what a command
// of a page writes does not end up in the repository.
var root string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var remove func()
		var err error
		root, remove, err = makeRoot()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer remove()
		return m.Run()
	}())
}

func makeRoot() (dir string, remove func(), err error) {
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", nil, err
	}
	// A short name: unix sockets are put below it.
	if dir, err = os.MkdirTemp("", "pavise-docs-"); err != nil {
		return "", nil, err
	}
	entries, err := os.ReadDir(repository)
	for _, e := range entries {
		if e.Name() != "bin" && !strings.HasPrefix(e.Name(), ".") && err == nil {
			err = os.Symlink(filepath.Join(repository, e.Name()), filepath.Join(dir, e.Name()))
		}
	}
	if err == nil {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "bin", "pavise"), "./cmd/pavise")
		build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
		if said, berr := build.CombinedOutput(); berr != nil {
			err = fmt.Errorf("build pavise: %w\n%s", berr, said)
		}
	}
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// pages are the names of all pages, from the root.
func pages(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			rel, err := filepath.Rel(root, n)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, rel)
		}
	}
	if len(out) < 10 {
		t.Fatalf("the pages are not where they were: %v", out)
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// fence is a fenced block of a page.
type fence struct {
	page, kind string
	line       int // of the first line in it
	lines      []string
}

func (f fence) String() string { return fmt.Sprintf("%s:%d", f.page, f.line) }

func fences(t *testing.T, page string) []fence {
	t.Helper()
	var out []fence
	var in *fence
	for i, line := range strings.Split(read(t, page), "\n") {
		kind, marker := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case marker && in == nil:
			in = &fence{page: page, kind: kind, line: i + 2}
		case marker:
			out = append(out, *in)
			in = nil
		case in != nil:
			in.lines = append(in.lines, line)
		}
	}
	if in != nil {
		t.Errorf("%s: a block is not closed", in)
	}
	return out
}

// prose is a page without its fenced blocks, so that # in them is no heading.
func prose(t *testing.T, page string) string {
	t.Helper()
	var out []string
	in := false
	for _, line := range strings.Split(read(t, page), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			in = !in
			continue
		}
		if !in {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// row is a line of a table.
type row struct {
	page  string
	line  int
	cells []string
}

func (r row) String() string { return fmt.Sprintf("%s:%d", r.page, r.line) }

// table returns the rows of the table that follows a comment on the page, without its
// head.
func table(t *testing.T, page, comment string) []row {
	t.Helper()
	lines := strings.Split(read(t, page), "\n")
	for i, line := range lines {
		if line != "<!-- "+comment+" -->" {
			continue
		}
		var out []row
		for n, l := range lines[i+1:] {
			if !strings.HasPrefix(l, "|") {
				break
			}
			cells := strings.Split(strings.Trim(strings.ReplaceAll(l, `\|`, "\x00"), "|"), "|")
			for j, c := range cells {
				cells[j] = strings.TrimSpace(strings.ReplaceAll(c, "\x00", "|"))
			}
			out = append(out, row{page, i + 2 + n, cells})
		}
		if len(out) < 3 {
			t.Fatalf("%s: there is no table behind %q", page, comment)
		}
		return out[2:]
	}
	t.Fatalf("%s: there is no comment %q", page, comment)
	return nil
}

// codes returns what stands between backquotes in a cell.
func codes(cell string) []string {
	var out []string
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			out = append(out, part)
		}
	}
	return out
}

// code returns the only such part.
func code(t *testing.T, r row, cell int) string {
	t.Helper()
	list := codes(r.cells[cell])
	if len(list) != 1 {
		t.Fatalf("%s: %q is not one word in backquotes", r, r.cells[cell])
	}
	return list[0]
}
