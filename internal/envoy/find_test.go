package envoy

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// program writes an executable shell script.
func program(t *testing.T, path, script string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindOrder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PAVISE_CACHE", filepath.Join(dir, "cache"))
	t.Setenv(PathVariable, "")

	_, err := Find("")
	wantContains(t, err, PinnedVersion, "run make envoy", "--envoy")

	cached := program(t, filepath.Join(dir, "cache", "envoy-"+PinnedVersion, "envoy"), "")
	named := program(t, filepath.Join(dir, "named"), "")
	flag := program(t, filepath.Join(dir, "flag"), "")
	for _, step := range []struct{ explicit, variable, want string }{
		{"", "", cached},
		{"", named, named},
		{flag, named, flag},
		{flag, "", flag},
	} {
		t.Setenv(PathVariable, step.variable)
		if got, err := Find(step.explicit); err != nil || got != step.want {
			t.Errorf("%+v: got %s, %v", step, got, err)
		}
	}

	// No falling back from a wrong name to another Envoy.
	t.Setenv(PathVariable, filepath.Join(dir, "missing"))
	_, err = Find("")
	wantContains(t, err, "$PAVISE_ENVOY", "missing")
	_, err = Find(dir)
	wantContains(t, err, "--envoy")

	t.Setenv(PathVariable, "")
	if err := os.Chmod(cached, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Find("")
	wantContains(t, err, cached, "permission denied")
}

func TestFindMakesPathsAbsolute(t *testing.T) {
	dir := t.TempDir()
	want := program(t, filepath.Join(dir, "sub", "envoy"), "")
	t.Chdir(dir)
	if got, err := Find("./sub/envoy"); err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	t.Setenv("PATH", filepath.Join(dir, "sub"))
	if got, err := Find("envoy"); err != nil || got != want {
		t.Errorf("in $PATH: got %s, %v; want %s", got, err, want)
	}
}

func TestCacheDir(t *testing.T) {
	for _, row := range []struct{ cache, xdg, home, want string }{
		{"/c", "/x", "/h", "/c"},
		{"", "/x", "/h", "/x/pavise"},
		{"", "", "/h", "/h/.cache/pavise"},
	} {
		t.Setenv("PAVISE_CACHE", row.cache)
		t.Setenv("XDG_CACHE_HOME", row.xdg)
		t.Setenv("HOME", row.home)
		if got, err := CacheDir(); err != nil || got != row.want {
			t.Errorf("%+v: got %s, %v", row, got, err)
		}
	}
	t.Setenv("PAVISE_CACHE", "cache")
	_, err := CacheDir()
	wantContains(t, err, "not absolute")
	t.Setenv("PAVISE_CACHE", "")
	t.Setenv("HOME", "")
	_, err = CacheDir()
	wantContains(t, err, "set $PAVISE_CACHE")
}

func TestVersion(t *testing.T) {
	path := envoyPath(t)
	got, err := Version(t.Context(), path)
	if err != nil || !regexp.MustCompile(`^1\.\d+\.\d+$`).MatchString(got) {
		t.Errorf("got %q, %v", got, err)
	}
	if os.Getenv(PathVariable) == "" && got != PinnedVersion {
		t.Errorf("the cache has %s where %s belongs", got, PinnedVersion)
	}

	dir := t.TempDir()
	for script, want := range map[string]string{
		"echo; echo 'envoy  version: 0e/1.41.0-dev/Clean/RELEASE/BoringSSL'": "1.41.0-dev",
		"echo 'version: /1.2.3/Modified/DEBUG/BoringSSL'":                    "1.2.3",
	} {
		if got, err := Version(t.Context(), program(t, filepath.Join(dir, "envoy"), script)); err != nil || got != want {
			t.Errorf("%s: got %q, %v", script, got, err)
		}
	}
	_, err = Version(t.Context(), program(t, filepath.Join(dir, "envoy"), "echo nginx version: 1.2.3"))
	wantContains(t, err, "is not an Envoy", "nginx")
	_, err = Version(t.Context(), program(t, filepath.Join(dir, "envoy"), "exit 3"))
	wantContains(t, err, "exit status 3")
	_, err = Version(t.Context(), filepath.Join(dir, "missing"))
	wantContains(t, err, "no such file")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Version(ctx, path)
	wantContains(t, err, "context canceled")
}

// The first version in versions.txt is what `make envoy` fetches.
func TestPinnedVersionIsTheOneFetched(t *testing.T) {
	text, err := os.ReadFile("../../deploy/envoy/versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	first := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if !regexp.MustCompile(`^\S+ (x86_64 |aarch64) [0-9a-f]{64}\n$`).MatchString(line) {
			t.Errorf("odd line: %q", line)
		}
		if first == "" {
			first = fields[0]
		}
	}
	if first != PinnedVersion {
		t.Errorf("versions.txt begins with %q, PinnedVersion is %q", first, PinnedVersion)
	}
}
