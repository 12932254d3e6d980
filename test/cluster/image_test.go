package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Would catch an image without the libraries of its program, and one that differs from run to run.
func TestImage(t *testing.T) {
	ls, err := exec.LookPath("ls")
	if err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("ldd"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	image := Image{Name: "pavise.dev/test/ls:1", Files: map[string]string{"/bin/ls": ls, "/etc/doc.go": "doc.go"}, Entrypoint: []string{"/bin/ls"}}
	var archives [][]byte
	for _, name := range []string{"a.tar", "b.tar"} {
		if err := image.Write(t.Context(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, content)
	}
	if !slices.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same image differ")
	}
	out, err := exec.Command("sh", "-c", "tar -xOf "+filepath.Join(dir, "a.tar")+" --wildcards '*.tar.gz' | tar -tz").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bin/ls\n", "etc/doc.go\n", "libc.so.6\n", "ld-linux"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the layer has no %q:\n%s", want, out)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.layer"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestImageErrors(t *testing.T) {
	for _, test := range []struct {
		image Image
		want  string
	}{
		{Image{Name: "app"}, "app"}, // would be docker.io/library/app:latest, and be pulled
		{Image{Name: "pavise.dev/a:1", Files: map[string]string{"a": "doc.go"}}, `"a": its path in the image has to be absolute`},
		{Image{Name: "pavise.dev/a:1", Files: map[string]string{"/a": "missing"}}, "missing"},
		{Image{Name: "pavise.dev/a:1", Files: map[string]string{"/a": "testdata"}}, "testdata"},
	} {
		err := test.image.Write(t.Context(), filepath.Join(t.TempDir(), "a.tar"))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.image, err, test.want)
		}
	}
}
