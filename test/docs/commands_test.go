package docs

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds"
)

const commandsPage = "docs/commands.md"

// pavise runs the binary in the root and returns both outputs and the exit code.
func pavise(t *testing.T, args ...string) (output string, exit int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, "bin", "pavise"), args...)
	cmd.Dir = root
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal("pavise did not run")
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// sections are the parts of the page, by command.
func sections(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, part := range strings.Split(read(t, commandsPage), "\n## ")[1:] {
		if name, ok := strings.CutPrefix(part, "pavise "); ok {
			name, _, _ = strings.Cut(name, "\n")
			out[name] = part
		}
	}
	return out
}

// TestCommandsAreListed compares commands and flags with what --help says.
func TestCommandsAreListed(t *testing.T) {
	help, _ := pavise(t, "--help")
	_, list, _ := strings.Cut(help, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	documented := sections(t)
	for line := range strings.Lines(list) {
		name := strings.Fields(line)[0]
		if name == "help" || name == "completion" {
			continue
		}
		section, ok := documented[name]
		if !ok {
			t.Errorf("%s has nothing about pavise %s", commandsPage, name)
			continue
		}
		delete(documented, name)
		help, _ := pavise(t, name, "--help")
		_, flags, _ := strings.Cut(help, "\nFlags:\n")
		var want, got []string
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`).FindAllStringSubmatch(flags, -1) {
			if m[1] != "--help" {
				want = append(want, m[1])
			}
		}
		for _, row := range strings.Split(section, "\n") {
			if strings.HasPrefix(row, "| `-") {
				cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
				got = append(got, regexp.MustCompile(`--[a-z-]+`).FindAllString(cell, -1)...)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("pavise %s has the flags %v, the page %v", name, want, got)
		}
	}
	for name := range documented {
		t.Errorf("%s has pavise %s, which is not there", commandsPage, name)
	}
}

// TestExitCodes runs a command for each exit code that does not need a process.
func TestExitCodes(t *testing.T) {
	const quickstart = "examples/quickstart/config"
	dir := shortDir(t)
	for _, x := range []struct {
		want int
		args []string
	}{
		{0, []string{"version"}},
		{0, []string{"check", quickstart}},
		{1, []string{"check", filepath.Join(dir, "missing")}},
		{1, []string{"explain", "--config", filepath.Join(dir, "missing"), "GET", "http://a/"}},
		{1, []string{"run", "--config", filepath.Join(dir, "missing"), "--run-dir", dir}},
		{2, []string{"nonsense"}},
		{2, []string{"check"}},
		{2, []string{"check", quickstart, "--fail-on", "x"}},
		{2, []string{"check", quickstart, "-o", "x"}},
		{2, []string{"run"}},
		{2, []string{"explain", "--config", quickstart, "GET", "http://a/"}},
		{3, []string{"status", "--run-dir", dir}},
		{3, []string{"explain", "--run-dir", dir, "GET", "http://a/"}},
		{3, []string{"run", "--config", quickstart, "--run-dir", dir, "--envoy", filepath.Join(dir, "missing")}},
		{0, []string{"explain", "--config", quickstart, "--workload", "shop/web", "GET", "http://a/"}},
		{4, []string{"explain", "--config", quickstart, "--workload", "shop/web", "--exit-code", "GET", "http://a/"}},
		{0, []string{"explain", "--config", quickstart, "--workload", "shop/web", "--exit-code", "GET", "http://a/healthz"}},
	} {
		if out, got := pavise(t, x.args...); got != x.want {
			t.Errorf("pavise %s ends with %d, want %d:\n%s", strings.Join(x.args, " "), got, x.want, out)
		}
	}
}

// fieldsOf are the JSON names of a struct, those of embedded ones among them.
func fieldsOf(v any) []string {
	var out []string
	typ := reflect.TypeOf(v)
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && f.Anonymous {
			out = append(out, fieldsOf(reflect.New(f.Type).Elem().Interface())...)
		} else {
			out = append(out, name)
		}
	}
	return out
}

// TestFieldsAreListed compares the tables of JSON fields with the types.
func TestFieldsAreListed(t *testing.T) {
	for _, x := range []struct {
		page, comment string
		value         any
	}{
		{commandsPage, "fields: decision", xds.Decision{}},
		{commandsPage, "fields: problem", api.Problem{}},
		{commandsPage, "fields: explanation", admin.Explanation{}},
		{"docs/admin.md", "fields: query", admin.Query{}},
	} {
		want := fieldsOf(x.value)
		var got []string
		for _, r := range table(t, x.page, x.comment) {
			got = append(got, codes(r.cells[0])...)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s, %s: the type has %v, the page %v", x.page, x.comment, want, got)
		}
	}
}

// TestStatusFieldsAreListed looks for the fields of status, whose type is the command's
// own, in its source.
func TestStatusFieldsAreListed(t *testing.T) {
	_, source, _ := strings.Cut(read(t, "cmd/pavise/standalone.go"), "type standaloneStatus struct {")
	source, _, _ = strings.Cut(source, "\n}")
	var want []string
	for _, m := range regexp.MustCompile("json:\"(\\w+)").FindAllStringSubmatch(source, -1) {
		if m[1] != "envoy" {
			want = append(want, m[1])
		}
	}
	for _, f := range fieldsOf(xds.Status{}) {
		want = append(want, "envoy."+f)
	}
	var got []string
	for _, r := range table(t, commandsPage, "fields: status") {
		got = append(got, codes(r.cells[0])...)
	}
	got = slices.DeleteFunc(got, func(s string) bool { return s == "check" })
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the type has %v, the page %v", want, got)
	}
}

// TestVersionFieldsAreListed does the same for version.
func TestVersionFieldsAreListed(t *testing.T) {
	out, _ := pavise(t, "version", "-o", "json")
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	words := codes(sections(t)["version"])
	for name := range v {
		if !slices.Contains(words, name) {
			t.Errorf("%s does not name %s of version", commandsPage, name)
		}
	}
}
