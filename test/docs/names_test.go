package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources calls do with every Go file of the repository.
func sources(t *testing.T, do func(name, text string)) {
	t.Helper()
	repository := filepath.Join("..", "..")
	err := filepath.WalkDir(repository, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == repository {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() || filepath.Ext(p) != ".go" {
			return nil
		}
		data, err := os.ReadFile(p)
		if err == nil {
			rel, _ := filepath.Rel(repository, p) // below it
			do(filepath.ToSlash(rel), string(data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNamedThingsExist looks for every test, file, folder and make target that a page
// names.
func TestNamedThingsExist(t *testing.T) {
	tests := map[string]bool{}
	sources(t, func(name, text string) {
		if strings.HasSuffix(name, "_test.go") {
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllStringSubmatch(text, -1) {
				tests[m[1]] = true
			}
		}
	})
	makefile := read(t, "Makefile")
	file := regexp.MustCompile(`^[\w.-]+(/[\w.-]+)+/?$`)
	for _, page := range pages(t) {
		text := prose(t, page)
		for _, f := range fences(t, page) {
			text += "\n" + strings.Join(f.lines, "\n")
		}
		for _, m := range regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`).FindAllString(text, -1) {
			if !tests[m] {
				t.Errorf("%s names %s, and there is no such test", page, m)
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^\s*make ([a-z][a-z0-9-]*)`).FindAllStringSubmatch(codeIn(t, page), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names make %s, and there is no such target", page, m[1])
			}
		}
		for _, c := range codes(prose(t, page)) {
			first, _, _ := strings.Cut(c, "/")
			if st, err := os.Stat(filepath.Join(root, first)); !file.MatchString(c) || err != nil || !st.IsDir() {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, c)); err != nil {
				t.Errorf("%s names %s, and there is no such file", page, c)
			}
		}
	}
}

// codeIn is what stands on a page in backquotes or in blocks.
func codeIn(t *testing.T, page string) string {
	t.Helper()
	out := strings.Join(codes(prose(t, page)), "\n")
	for _, f := range fences(t, page) {
		out += "\n" + strings.Join(f.lines, "\n")
	}
	return out
}

// anchors are what the headings of a page are called in links.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(prose(t, page), -1) {
		out[regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")] = true
	}
	for a := range out {
		out[strings.ReplaceAll(a, " ", "-")] = true
	}
	return out
}

// TestLinks follows every link to a file or heading of the repository.
func TestLinks(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(prose(t, page), -1) {
			target := m[1]
			if strings.Contains(target, "://") {
				t.Errorf("%s links to %s: nothing here should depend on what others serve", page, target)
				continue
			}
			n++
			name, anchor, _ := strings.Cut(target, "#")
			name = path.Join(path.Dir(filepath.ToSlash(page)), name)
			if strings.HasPrefix(target, "#") {
				name = page
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, target)
				continue
			}
			if anchor != "" && !anchors(t, name)[anchor] {
				t.Errorf("%s links to %s, and there is no such heading", page, target)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d links were found; there were more", n)
	}
}

// TestLinksInSources: a comment or a message that names a page has to name one that is
// there.
func TestLinksInSources(t *testing.T) {
	sources(t, func(name, text string) {
		for _, m := range regexp.MustCompile(`\bdocs/[\w./-]+\.md\b`).FindAllString(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m)); err != nil {
				t.Errorf("%s names %s, which is not there", name, m)
			}
		}
	})
}

// TestLines holds pages to lines that a terminal shows, tables and blocks apart, and to
// paths that exist on every machine.
func TestLines(t *testing.T) {
	for _, page := range pages(t) {
		if page == filepath.Join("docs", "problems.md") {
			continue // made for a browser
		}
		for i, line := range strings.Split(read(t, page), "\n") {
			if len([]rune(line)) > 150 && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "$ ") && !strings.HasPrefix(line, "ok ") {
				t.Errorf("%s:%d has %d characters", page, i+1, len([]rune(line)))
			}
			if line != strings.TrimRight(line, " \t") {
				t.Errorf("%s:%d ends with a space", page, i+1)
			}
			if regexp.MustCompile(`(^|[\s"'=(])/(root|home|work|tmp)\b`).MatchString(line) {
				t.Errorf("%s:%d has a path of one machine", page, i+1)
			}
		}
	}
}
