package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// PinnedVersion is the Envoy that Pavise runs unless told otherwise, and the
// one that `make envoy` fetches. deploy/envoy/versions.txt holds its checksums.
const PinnedVersion = "1.40.0"

// PathVariable names an Envoy binary for everything that was not given one.
const PathVariable = "PAVISE_ENVOY"

// Find returns the absolute path of the Envoy to run: the explicit one (a flag),
// else the one named by $PAVISE_ENVOY, else the pinned version in [CacheDir].
// A name given by the first two must work: there is no falling back from it, so
// that nobody runs another Envoy than the one they asked for.
func Find(explicit string) (string, error) {
	if explicit != "" {
		return look(explicit, "--envoy")
	}
	if named := os.Getenv(PathVariable); named != "" {
		return look(named, "$"+PathVariable)
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "envoy-"+PinnedVersion, "envoy")
	found, err := exec.LookPath(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no Envoy %s at %s: run make envoy, or pass --envoy PATH or set $%s",
			PinnedVersion, path, PathVariable)
	}
	if err != nil {
		return "", fmt.Errorf("%s can't be used (%w): remove it and run make envoy", path, err)
	}
	return found, nil
}

func look(name, source string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("the Envoy that %s names can't be used: %w", source, err)
	}
	// The supervisor may be asked to start it again after a change of directory.
	return filepath.Abs(path)
}

// CacheDir is the folder for what is fetched and kept between builds:
// $PAVISE_CACHE, else pavise in $XDG_CACHE_HOME, else ~/.cache/pavise. The
// Makefile and deploy/envoy/fetch follow the same rule.
func CacheDir() (string, error) {
	dir := os.Getenv("PAVISE_CACHE")
	if dir == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("no cache folder: %w; set $PAVISE_CACHE", err)
			}
			base = filepath.Join(home, ".cache")
		}
		dir = filepath.Join(base, "pavise")
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("the cache folder %q is not absolute: set $PAVISE_CACHE to an absolute path", dir)
	}
	return dir, nil
}

// versionLine is what `envoy --version` prints: COMMIT/1.40.0/Clean/RELEASE/BoringSSL.
var versionLine = regexp.MustCompile(`version: [0-9a-f]*/([0-9]+\.[0-9]+\.[0-9]+[^/\s]*)/`)

// Version asks the binary at path which Envoy it is, such as "1.40.0".
func Version(ctx context.Context, path string) (string, error) {
	cmd := exec.CommandContext(ctx, path, "--version")
	// A script that leaves a child holding the pipe must not hold us as well.
	cmd.WaitDelay = time.Second
	said, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("%s --version: %w", path, explainExec(path, err))
	}
	found := versionLine.FindSubmatch(said)
	if found == nil {
		return "", fmt.Errorf("%s is not an Envoy: --version printed %q", path, clip(bytes.TrimSpace(said), 200))
	}
	return string(found[1]), nil
}

// explainExec adds the likely cause where the kernel's words mislead: it reports
// a missing loader (Envoy on a system without glibc) as a missing file.
func explainExec(path string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, statErr := os.Stat(path); statErr != nil {
		return err
	}
	return fmt.Errorf("%w (the file is there, so its loader is missing: Envoy needs glibc)", err)
}

func clip(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	return append(text[:most:most], "…"...)
}
