package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pavise.dev/pavise/xds"
)

const (
	// moduleFile is how Envoy finds the module in a folder, by its name.
	moduleFile = "lib" + xds.Module + ".so"
	// moduleVariable names the file for all commands.
	moduleVariable = "PAVISE_MODULE"
)

// findModule is the path of the module: the one that is named, else $PAVISE_MODULE, else
// the one beside this binary. Only the last may be missing, and then is empty.
func findModule(named string) (string, error) {
	source := "--module"
	if named == "" {
		named, source = os.Getenv(moduleVariable), "$"+moduleVariable
	}
	if named == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("where this binary is: %w", err)
		}
		path := filepath.Join(filepath.Dir(self), moduleFile)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return path, nil
	}
	if filepath.Base(named) != moduleFile {
		return "", fmt.Errorf("%s %s: Envoy finds the module by its name, which is %s", source, named, moduleFile)
	}
	if _, err := os.Stat(named); err != nil {
		return "", fmt.Errorf("%s: %w; `make build` builds it", source, err)
	}
	return filepath.Abs(named)
}

// moduleEnvironment tells Envoy where the module is, and the module where the snapshot of
// the feeds and the names of addresses are: files of this machine are no affair of a
// control plane.
//
// Without a module the place is a folder that has none and that only we can write to: Envoy
// would look in the working directory instead.
func moduleEnvironment(module, runDir, snapshot, names string) []string {
	place := runDir
	if module != "" {
		place = filepath.Dir(module)
	}
	return []string{
		"ENVOY_DYNAMIC_MODULES_SEARCH_PATH=" + place,
		"PAVISE_FEEDS=" + snapshot,
		"PAVISE_NAMES=" + names,
	}
}
