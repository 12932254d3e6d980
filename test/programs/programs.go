// Package programs builds what end-to-end tests run: the binary, and the module for Envoy.
package programs

import (
	"fmt"
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
	for _, b := range []struct {
		cgo  string
		args []string
	}{
		{"0", []string{"build", "-trimpath", "-o", p.Pavise, "./cmd/pavise"}},
		{"1", []string{"build", "-trimpath", "-buildmode=c-shared", "-ldflags", "-s -w", "-o", p.Module, "./proxy/module"}},
	} {
		cmd := exec.Command("go", b.args...)
		cmd.Dir = filepath.Join(filepath.Dir(here), "../..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("go %v: %w\n%s", b.args, err, out)
		}
	}
	return p, nil
}
