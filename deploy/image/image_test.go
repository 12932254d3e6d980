package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSameInputSameDigest: times, orders of maps or owners of this machine in an image.
func TestSameInputSameDigest(t *testing.T) {
	dir := t.TempDir()
	digest := func(mtime time.Time, reverse bool) string {
		files := []file{}
		for _, n := range []string{"a", "b", "c"} {
			p := filepath.Join(dir, n)
			if err := os.WriteFile(p, []byte(n), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(p, mtime, mtime); err != nil {
				t.Fatal(err)
			}
			files = append(files, file{path: "x/" + n, from: p, mode: 0o644})
		}
		c := contents{name: "test", version: "1", user: nonroot, parts: []part{{"p", "1", "o"}, {"q", "2", "o"}}}
		if reverse {
			slices.Reverse(files)
			slices.Reverse(c.parts)
		}
		c.layers = [][]file{base()[:3], files}
		img, _, err := assemble(c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	if a, b := digest(time.Unix(1, 0), false), digest(time.Unix(1e9, 0), true); a != b {
		t.Errorf("%s and %s", a, b)
	}
}

// TestClosureRuns: a library or the loader that is missing in the image. The program is started
// in a root of its own, with nothing but its closure.
func TestClosureRuns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a root of its own takes root")
	}
	program := "/bin/true"
	libraries, err := closure(program)
	if err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	for _, p := range append(libraries, program) {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chroot", root, program).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestBillNamesParts: a list that is empty or holds a part twice.
func TestBillNamesParts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := modulesOf(self)
	if err != nil {
		t.Fatal(err)
	}
	list, err := bill(contents{name: "x", version: "1", parts: append(parts, parts...)})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(list, []byte(`"github.com/google/go-containerregistry"`)); n != 1 {
		t.Errorf("the library is named %d times", n)
	}
	if !strings.Contains(string(list), "SPDX-2.3") {
		t.Error("no version of the format")
	}
}

// TestEnvoyVersion: a folder of Envoy's path in the list of what is inside.
func TestEnvoyVersion(t *testing.T) {
	for out, want := range map[string]string{
		"\n/a/b-1.2.3/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n\n": "1.40.0",
		"/a/b/c/envoy: cannot": "", "": "", "x version: 1/2": "",
	} {
		if got, err := parseVersion(out); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", out, got, err)
		}
	}
}
