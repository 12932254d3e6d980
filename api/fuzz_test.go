package api

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzParse reads anything. There must be no panic, and each problem has to be of
// use: a known code, one line of text, a line that exists.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"testdata/bad", "testdata/good"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.y*ml"))
		if err != nil || len(files) == 0 {
			f.Fatal(dir, err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if len(data) < 4096 {
				f.Add(data)
			}
		}
	}
	known := map[string]Severity{}
	for _, c := range Codes() {
		known[c.Code] = c.Severity
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, problems := Parse("f.yaml", data)
		lineCount := bytes.Count(data, []byte("\n")) + 1
		for _, p := range problems {
			if known[p.Code] != p.Severity || p.File != "f.yaml" || p.Message == "" {
				t.Errorf("not a known problem: %+v", p)
			}
			// Other line ends than \n count for the parser only.
			if p.Line > lineCount && !bytes.ContainsAny(data, "\r\u0085\u2028\u2029") {
				t.Errorf("line %d of %d: %s", p.Line, lineCount, p)
			}
			if strings.ContainsFunc(p.String(), func(c rune) bool { return c < ' ' || c == 0x7f }) {
				t.Errorf("not one line of text: %q", p.String())
			}
		}
		if _, again := Parse("f.yaml", data); !slices.Equal(problems, again) {
			t.Errorf("problems differ the second time:\n%s\n%s", lines(problems), lines(again))
		}
		for _, o := range s.AccessPolicies {
			if file, line := s.Position(KindAccessPolicy, o.Namespace, o.Name, "spec.ingress[0].http[0]"); file == "" || line == 0 || o.Namespace == "" {
				t.Errorf("%s/%s is at %q:%d", o.Namespace, o.Name, file, line)
			}
		}
	})
}
