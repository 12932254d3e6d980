package api

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// inputs returns the files of a folder of testdata, and fails for golden files
// whose input is gone.
func inputs(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	known := map[string]bool{}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".yaml" || ext == ".yml" {
			names = append(names, e.Name())
			known[strings.TrimSuffix(e.Name(), ext)] = true
		}
	}
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), ".txt"); ok && !known[base] {
			t.Errorf("testdata/%s/%s has no input", dir, e.Name())
		}
	}
	return names
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; with -update it becomes:\n%s", path, got)
	}
}

func lines(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// TestBad compares the problems of each bad file with what is expected, to the
// letter. A file is named after the code it is about.
func TestBad(t *testing.T) {
	for _, name := range inputs(t, "bad") {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata/bad", name))
			if err != nil {
				t.Fatal(err)
			}
			_, problems := Parse(name, data)
			if code, _, ok := strings.Cut(name, "-"); ok && len(code) == 4 && !strings.Contains(lines(problems), "PAV"+code) {
				t.Errorf("the file is about PAV%s, which is not reported", code)
			}
			for _, p := range problems {
				if p.Line == 0 || p.Message == "" || strings.ContainsAny(p.String(), "\n\x00\x1b") {
					t.Errorf("not a useful problem: %+v", p)
				}
			}
			golden(t, filepath.Join("testdata/bad", strings.TrimSuffix(name, ".yaml")+".txt"), lines(problems))
		})
	}
}

// TestGood reads the good files together and compares the set, which shows that no
// field was lost.
func TestGood(t *testing.T) {
	set, problems := new(Loader).Load("testdata/good")
	if len(problems) > 0 {
		t.Errorf("problems in good files:\n%s", lines(problems))
	}
	data, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good.json", string(data)+"\n")
}

// TestCodesAreTested keeps every code in some golden file, but for those that need
// a folder or a large file and have tests of their own.
func TestCodesAreTested(t *testing.T) {
	var all strings.Builder
	for _, name := range inputs(t, "bad") {
		data, err := os.ReadFile(filepath.Join("testdata/bad", strings.TrimSuffix(name, ".yaml")+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	own := map[string]bool{CodeUnreadable: true, CodeTooLarge: true, CodeMoreProblems: true, CodeTooManyFeeds: true, CodeFeedLocal: true}
	last := ""
	for _, c := range Codes() {
		if c.Code <= last || c.Title == "" || c.Explanation == "" || c.Severity == "" {
			t.Errorf("not in order, or incomplete: %+v", c)
		}
		last = c.Code
		if !own[c.Code] && !strings.Contains(all.String(), string(c.Severity)+" "+c.Code+":") {
			t.Errorf("%s is in no golden file", c.Code)
		}
	}
}
