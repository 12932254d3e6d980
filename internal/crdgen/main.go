// Command crdgen writes what is generated from package api: the custom resources in
// deploy/crds and the deep copies. It is a module of its own, so that Pavise does not carry
// the generator.
//
//	cd internal/crdgen && go run .
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// root is the repository, seen from here.
const root = "../.."

func main() {
	if err := write(); err != nil {
		fmt.Fprintf(os.Stderr, "crdgen: %v\n", err)
		os.Exit(1)
	}
}

func write() error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	stale, err := strangers(root, files)
	if err != nil {
		return err
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // files of the tree
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil { //nolint:gosec // likewise
			return err
		}
	}
	return nil
}

// strangers are the resources in the tree that are not generated any more.
func strangers(root string, files map[string][]byte) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, crds, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, path := range found {
		name := filepath.ToSlash(filepath.Join(crds, filepath.Base(path)))
		if _, ok := files[name]; !ok {
			out = append(out, name)
		}
	}
	return out, nil
}
