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
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/internal/decisions"
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
		if name == "feeds" {
			continue // has commands of its own: TestFlagsOfFeedsAreListed
		}
		want, got := flagsOf(t, name), []string(nil)
		if name == "redirect" { // its set has those of check, and one more
			want = flagsOf(t, name, "set")
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

// flagsOf are the flags that --help shows for a command.
func flagsOf(t *testing.T, command ...string) (flags []string) {
	t.Helper()
	help, _ := pavise(t, append(command, "--help")...)
	_, list, _ := strings.Cut(help, "\nFlags:\n")
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`).FindAllStringSubmatch(list, -1) {
		if m[1] != "--help" {
			flags = append(flags, m[1])
		}
	}
	return flags
}

// TestFlagsOfFeedsAreListed does for the commands of `pavise feeds` what
// TestCommandsAreListed does for the others: each is on the page, and the table of flags
// says rightly whose each is.
func TestFlagsOfFeedsAreListed(t *testing.T) {
	help, _ := pavise(t, "feeds", "--help")
	_, list, _ := strings.Cut(help, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	section := sections(t)["feeds"]
	want := map[string][]string{}
	var commands []string
	for line := range strings.Lines(list) {
		name := strings.Fields(line)[0]
		commands = append(commands, name)
		if !strings.Contains(section, "| `feeds "+name) {
			t.Errorf("%s has nothing about pavise feeds %s", commandsPage, name)
		}
		help, _ := pavise(t, "feeds", name, "--help")
		_, flags, _ := strings.Cut(help, "\nFlags:\n")
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`).FindAllStringSubmatch(flags, -1) {
			if m[1] != "--help" {
				want[m[1]] = append(want[m[1]], name)
			}
		}
	}
	if len(commands) < 5 {
		t.Fatalf("the commands of feeds: %v", commands)
	}
	got := map[string][]string{}
	for _, row := range strings.Split(section, "\n") {
		if !strings.HasPrefix(row, "| `-") {
			continue
		}
		cells := strings.Split(strings.Trim(row, "|"), "|")
		of := codes(cells[1])
		if strings.HasPrefix(strings.TrimSpace(cells[1]), "all") {
			of = slices.DeleteFunc(slices.Clone(commands), func(c string) bool { return slices.Contains(codes(cells[1]), c) })
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(cells[0], -1) {
			got[flag] = of
		}
	}
	for flag, of := range want {
		slices.Sort(of)
		if !slices.Equal(of, slices.Sorted(slices.Values(got[flag]))) {
			t.Errorf("%s is of %v, and on the page of %v", flag, of, got[flag])
		}
		delete(got, flag)
	}
	for flag := range got {
		t.Errorf("%s has %s of feeds, which is not there", commandsPage, flag)
	}
}

// TestExitCodes runs a command for each exit code that does not need a process.
func TestExitCodes(t *testing.T) {
	const quickstart = "examples/quickstart/config"
	dir := shortDir(t)
	hosts, compiled := filepath.Join(dir, "hosts.txt"), filepath.Join(dir, "snapshot")
	write(t, hosts, "0.0.0.0 evil.example\n")
	write(t, filepath.Join(dir, "feed.yaml"), "{apiVersion: pavise.dev/v1alpha1, kind: ThreatFeed, metadata: {name: f}, spec: {url: \"file:gone.txt\"}}\n")
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
		{2, []string{"feeds"}},
		{2, []string{"feeds", "list"}},
		{2, []string{"feeds", "show", "nobody", "--config", quickstart, "--state", filepath.Join(dir, "state")}},
		{2, []string{"feeds", "compile", hosts}},
		{2, []string{"lookup"}},
		{0, []string{"feeds", "list", "--config", quickstart, "--state", filepath.Join(dir, "state")}},
		{1, []string{"feeds", "list", "--config", filepath.Join(dir, "missing"), "--state", filepath.Join(dir, "state")}},
		{1, []string{"feeds", "fetch", "--config", dir, "--state", filepath.Join(dir, "state")}},
		{3, []string{"feeds", "compile", filepath.Join(dir, "missing"), "--out", compiled}},
		{3, []string{"lookup", "--snapshot", filepath.Join(dir, "missing"), "a.example"}},
		{3, []string{"lookup", "--state", filepath.Join(dir, "missing"), "a.example"}},
		{0, []string{"feeds", "compile", hosts, "--out", compiled}},
		{2, []string{"lookup", "--snapshot", compiled, "10.0.0.0/8"}},
		{0, []string{"lookup", "--snapshot", compiled, "evil.example"}},
		{0, []string{"lookup", "--snapshot", compiled, "--exit-code", "good.example"}},
		{4, []string{"lookup", "--snapshot", compiled, "--exit-code", "good.example", "evil.example"}},
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
		{commandsPage, "fields: decision", decisions.Record{}},
		{commandsPage, "fields: problem", api.Problem{}},
		{commandsPage, "fields: explanation", admin.Explanation{}},
		{commandsPage, "fields: feed", feeds.Status{}},
		{commandsPage, "fields: change", feeds.Change{}},
		{commandsPage, "fields: hit", feeds.Listed{}},
		{"docs/admin.md", "fields: query", admin.Query{}},
	} {
		want := slices.DeleteFunc(fieldsOf(x.value), func(f string) bool {
			// What a feed's status shares with the object's is in docs/feeds.md.
			return f == "-" || x.comment == "fields: feed" && slices.Contains(fieldsOf(api.ThreatFeedStatus{}), f)
		})
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
	_, embedded, _ := strings.Cut(read(t, "cmd/pavise/folder.go"), "type folderState struct {")
	embedded, _, _ = strings.Cut(embedded, "\n}")
	source += embedded
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

// TestOtherFieldsAreListed looks on the page for the fields of what some commands print,
// whose types are the commands' own too.
func TestOtherFieldsAreListed(t *testing.T) {
	for _, x := range [][]string{
		{"version"},
		{"feeds", "compile", "examples/quickstart/feeds/botnets.txt", "--out", filepath.Join(t.TempDir(), "snapshot")},
		{"feeds", "diff", "botnets", "--config", "examples/quickstart/config", "--state", t.TempDir()},
	} {
		out, _ := pavise(t, append(x, "-o", "json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		words := codes(sections(t)[x[0]])
		for name := range v {
			if !slices.Contains(words, name) {
				t.Errorf("%s does not name %s of %v", commandsPage, name, x)
			}
		}
	}
}
