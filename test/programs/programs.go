// Package programs builds what end-to-end tests run: the binary, and the module for Envoy.
package programs

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Programs are paths of files in one folder.
type Programs struct{ Pavise, Module string }

// Build builds into a folder that is there.
func Build(dir string) (p Programs, err error) {
	p = Programs{filepath.Join(dir, "pavise"), filepath.Join(dir, "libpavise.so")}
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "../..")
	if err := look(root); err != nil {
		return p, err
	}
	for _, b := range []struct {
		cgo  string
		args []string
	}{
		{"0", []string{"build", "-trimpath", "-o", p.Pavise, "./cmd/pavise"}},
		{"1", []string{"build", "-trimpath", "-buildmode=c-shared", "-ldflags", "-s -w", "-o", p.Module, "./proxy/module"}},
	} {
		cmd := exec.Command("go", b.args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("go %v: %w\n%s", b.args, err, out)
		}
	}
	return p, nil
}

// look reads the folders that programs are built of: what a test has looked at, go test knows,
// and so it does not take a result from its cache that is of other programs.
func look(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return fs.SkipDir
		}
		return err
	})
}
