package api

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeRules writes a folder of files with policies of ten rules each, seven lines
// a rule.
func writeRules(tb testing.TB, files, policies int) string {
	tb.Helper()
	dir := tb.TempDir()
	for f := range files {
		var b strings.Builder
		for p := range policies {
			fmt.Fprintf(&b, "---\napiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata:\n  name: f%d-p%d\n  namespace: ns%d\n"+
				"spec:\n  selector:\n    matchLabels:\n      app: web-%d\n  ingress:\n", f, p, f%10, p)
			for r := range 10 {
				fmt.Fprintf(&b, "  - name: r%d\n    action: Allow\n    from:\n    - cidrs: [10.%d.0.0/16]\n    http:\n"+
					"    - methods: [GET, POST]\n      paths: [{exact: /api/v1/%d/%d}]\n", r, f%250, p, r)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%03d.yaml", f)), []byte(b.String()), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// BenchmarkLoad is a first read: 10,000 and 100,000 rules in 100 files.
func BenchmarkLoad(b *testing.B) {
	for _, policies := range []int{10, 100} {
		b.Run(fmt.Sprintf("rules=%d", 100*policies*10), func(b *testing.B) {
			dir := writeRules(b, 100, policies)
			b.ReportAllocs()
			for b.Loop() {
				if _, problems := new(Loader).Load(dir); len(problems) > 0 {
					b.Fatal(problems[0])
				}
			}
		})
	}
}

// BenchmarkReload is a read of 10,000 rules in 100 files after one file changed.
func BenchmarkReload(b *testing.B) {
	dir := writeRules(b, 100, 10)
	path := filepath.Join(dir, "f050.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var l Loader
	l.Load(dir)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := os.WriteFile(path, append(data, fmt.Sprintf("# %d\n", i)...), 0o644); err != nil {
			b.Fatal(err)
		}
		l.Load(dir)
	}
}
