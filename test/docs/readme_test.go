package docs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// patience bounds one command of a page.
const patience = 30 * time.Second

// TestConsole runs every command of the blocks ```console, in the order of the page, and
// compares what it prints, on either output, with what follows it. A line ... stands for
// any number of lines. What starts a server is in blocks ```sh, which nobody runs.
func TestConsole(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, f := range fences(t, page) {
			if f.kind != "console" {
				continue
			}
			command, line, want := "", 0, []string(nil)
			check := func() {
				if command != "" {
					n++
					compare(t, f.page, line, command, want, shell(t, command))
				}
			}
			for i, l := range f.lines {
				if c, ok := strings.CutPrefix(l, "$ "); ok {
					check()
					command, line, want = c, f.line+i, nil
					continue
				}
				want = append(want, l)
			}
			check()
		}
	}
	if n < 5 {
		t.Errorf("%d commands were run; there were more", n)
	}
}

func shell(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = root
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}

// volatile is what differs from one run to the next: times and digests.
var volatile = regexp.MustCompile(`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z|\b\d{2}:\d{2}:\d{2}\b|\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b`)

func normal(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimRight(volatile.ReplaceAllString(l, "…"), " ")
	}
	return out
}

func compare(t *testing.T, page string, line int, command string, want []string, output string) {
	t.Helper()
	got := normal(strings.Split(strings.TrimRight(output, "\n"), "\n"))
	if output == "" {
		got = nil
	}
	if !fits(normal(want), got) {
		t.Errorf("%s:%d: %s\nprints\n%s\nand the page says\n%s", page, line, command, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// fits compares lines, of which ... among the wanted ones stands for any number.
func fits(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == "..." {
		for i := range len(got) + 1 {
			if fits(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && got[0] == want[0] && fits(want[1:], got[1:])
}

func TestFits(t *testing.T) {
	for _, x := range []struct {
		want, got string
		fits      bool
	}{
		{"a b", "a b", true},
		{"a", "a b", false},
		{"a b", "a", false},
		{"...", "", true},
		{"... b", "a a b", true},
		{"a ...", "a b", true},
		{"... b", "a b c", false},
		{"a ... a", "a", false},
	} {
		if got := fits(strings.Fields(x.want), strings.Fields(x.got)); got != x.fits {
			t.Errorf("%q fits %q: %v", x.want, x.got, got)
		}
	}
}

// TestPoliciesOnPages reads and compiles every policy on a page, with the workloads of the
// quickstart around it. Those of the README are taken from the quickstart as they are.
func TestPoliciesOnPages(t *testing.T) {
	around := read(t, "examples/quickstart/config/workloads.yaml")
	quickstart := read(t, "examples/quickstart/config/policies.yaml") + read(t, "examples/quickstart/config/feeds.yaml")
	n := 0
	for _, page := range pages(t) {
		for _, f := range fences(t, page) {
			text := strings.Join(f.lines, "\n") + "\n"
			if f.kind != "yaml" || !strings.Contains(text, "apiVersion:") {
				continue
			}
			if strings.HasPrefix(page, "docs/recipes/") && !strings.Contains(text, api.APIVersion) {
				continue // somebody else's objects
			}
			n++
			set, problems := api.Parse(f.String(), []byte(text+"---\n"+around))
			if !api.HasErrors(problems) {
				_, more := policy.Compile(set)
				problems = append(problems, more...)
			}
			for _, p := range problems {
				t.Error(p)
			}
			if page == "README.md" && !strings.Contains(quickstart, text) {
				t.Errorf("%s is not in the quickstart as it is on the page", f)
			}
		}
	}
	if n == 0 {
		t.Error("there is no policy on any page")
	}
}

// TestTableOfRequests compares the shortened table of the README with the requests that
// `make run` sends and the verdicts that it expects of them.
func TestTableOfRequests(t *testing.T) {
	var requests []struct{ Says, Expect, Reason string }
	if err := yaml.Unmarshal([]byte(read(t, "examples/quickstart/requests.yaml")), &requests); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range fences(t, "README.md") {
		for i, line := range f.lines {
			cells := regexp.MustCompile(` {2,}`).Split(line, -1)
			if cells[0] != "ok" {
				continue
			}
			n++
			found := false
			for _, r := range requests {
				found = found || len(cells) == 5 && r.Says == cells[1] && r.Expect == cells[3] && r.Reason == strings.Split(cells[4], " [")[0]
			}
			if !found {
				t.Errorf("%s: line %d is no request of the quickstart: %q", f, i+1, cells)
			}
		}
	}
	if n < 3 {
		t.Errorf("the table has %d rows", n)
	}
}

// TestEnvoysAreThoseTested holds the README to deploy/envoy/versions.txt.
func TestEnvoysAreThoseTested(t *testing.T) {
	_, section, _ := strings.Cut(read(t, "README.md"), "\n## Envoys\n")
	section, _, _ = strings.Cut(section, "\n## ")
	named := regexp.MustCompile(`\d+\.\d+\.\d+`).FindAllString(section, -1)
	var pinned []string
	for line := range strings.Lines(read(t, "deploy/envoy/versions.txt")) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] != "#" && (len(pinned) == 0 || pinned[len(pinned)-1] != fields[0]) {
			pinned = append(pinned, fields[0])
		}
	}
	if strings.Join(named, " ") != strings.Join(pinned, " ") {
		t.Errorf("the README names %v, tested are %v", named, pinned)
	}
}

// TestFoldersExist holds the README's list of folders to the repository.
func TestFoldersExist(t *testing.T) {
	text := read(t, "README.md")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllStringSubmatch(text, -1) {
		if st, err := os.Stat(filepath.Join(root, m[1])); err != nil || !st.IsDir() {
			t.Errorf("there is no folder %s", m[1])
		}
	}
	_, later, _ := strings.Cut(text, "Still to come:")
	later, _, _ = strings.Cut(later, ".")
	for _, name := range codes(later) {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil && name != "deploy" {
			t.Errorf("%s is there; it is no longer to come", name)
		}
	}
}
