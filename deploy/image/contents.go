package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// authorities is where Debian's ca-certificates has its bundle.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// Users of the images: the control plane's, and the one that proxy/redirect exempts.
const (
	nonroot = "65532"
	agent   = "1337"
)

// file is one of an image, from a path or from text.
type file struct {
	path, from, text string
	mode             int64
}

// contents are an image's: layers, those that change least first.
type contents struct {
	name, version, user string
	env                 []string
	layers              [][]file
	parts               []part
}

// part is a line of the list of what is inside.
type part struct{ name, version, origin string }

func base() []file {
	return []file{
		{path: "etc/passwd", text: "root:x:0:0::/:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\npavise:x:1337:1337::/:/sbin/nologin\n", mode: 0o644},
		{path: "etc/group", text: "root:x:0:\nnonroot:x:65532:\npavise:x:1337:\n", mode: 0o644},
		{path: "etc/nsswitch.conf", text: "hosts: files dns\n", mode: 0o644},
		{path: authorities[1:], from: authorities, mode: 0o644},
	}
}

func controlPlane(in inputs) (contents, error) {
	c := contents{name: "control-plane", version: in.version, user: nonroot, layers: [][]file{
		base(), {{path: "usr/bin/pavise", from: in.full, mode: 0o755}},
	}}
	packages, err := debian([]string{authorities})
	if err != nil {
		return c, err
	}
	modules, err := modulesOf(in.full)
	c.parts = slices.Concat(packages, modules)
	return c, err
}

func sidecar(in inputs) (contents, error) {
	c := contents{name: "sidecar", version: in.version, user: agent}
	c.env = []string{"PAVISE_ENVOY=/usr/bin/envoy"}
	libraries, err := closure(in.envoy, in.module)
	if err != nil {
		return c, err
	}
	var libs []file
	for _, l := range libraries {
		libs = append(libs, file{path: l[1:], from: l, mode: 0o755})
	}
	c.layers = [][]file{
		base(), libs,
		{{path: "usr/bin/envoy", from: in.envoy, mode: 0o755}},
		// Beside pavise, which is where it is looked for.
		{{path: "usr/bin/libpavise.so", from: in.module, mode: 0o755}, {path: "usr/bin/pavise", from: in.sidecar, mode: 0o755}},
	}
	if c.parts, err = debian(append(libraries, authorities)); err != nil {
		return c, err
	}
	version, err := envoyVersion(in.envoy)
	if err != nil {
		return c, err
	}
	c.parts = append(c.parts, part{"envoy", version, "github.com/envoyproxy/envoy"})
	for _, binary := range []string{in.sidecar, in.module} {
		modules, err := modulesOf(binary)
		if err != nil {
			return c, err
		}
		c.parts = append(c.parts, modules...)
	}
	return c, nil
}

// envoyVersion asks the binary.
func envoyVersion(path string) (string, error) {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	return parseVersion(string(out))
}

// parseVersion reads "PATH  version: COMMIT/VERSION/STATE/TYPE/TLS". The path has slashes too.
func parseVersion(out string) (string, error) {
	_, rest, _ := strings.Cut(out, " version: ")
	words := strings.Split(strings.TrimSpace(rest), "/")
	if len(words) != 5 || words[1] == "" {
		return "", fmt.Errorf("envoy --version says %.200q; right is COMMIT/VERSION/STATE/TYPE/TLS", out)
	}
	return words[1], nil
}

// closure is the libraries that the files load at run time, and the loader, by the paths under
// which it looks for them, sorted.
func closure(paths ...string) ([]string, error) {
	seen := map[string]bool{}
	for _, p := range paths {
		out, err := exec.Command("ldd", p).Output()
		if err != nil {
			return nil, fmt.Errorf("ldd %s: %w", p, err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "not found") {
				return nil, fmt.Errorf("%s needs a library that this machine does not have: %s", p, strings.TrimSpace(line))
			}
			for _, word := range strings.Fields(line) {
				if filepath.IsAbs(word) {
					seen[word] = true
					break
				}
			}
		}
	}
	if len(seen) == 0 {
		return nil, errors.New("ldd names no library at all")
	}
	var out []string
	for p := range seen {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

// debian is the packages that the files come from.
func debian(paths []string) ([]part, error) {
	seen := map[string]bool{}
	for _, p := range paths {
		name := "ca-certificates" // its bundle is made at installation, and no package's
		if p != authorities {
			target, err := filepath.EvalSymlinks(p)
			if err != nil {
				return nil, err
			}
			// A machine with merged /usr has files under other names than its packages say.
			out, err := exec.Command("dpkg", "-S", target).Output()
			if err != nil {
				out, err = exec.Command("dpkg", "-S", strings.TrimPrefix(target, "/usr")).Output()
			}
			if err != nil {
				return nil, fmt.Errorf("dpkg -S %s: no package has it: %w", target, err)
			}
			name, _, _ = strings.Cut(string(out), ": ")
		}
		seen[name] = true
	}
	var parts []part
	for name := range seen {
		version, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", name).Output()
		if err != nil {
			return nil, fmt.Errorf("dpkg-query -W %s: %w", name, err)
		}
		parts = append(parts, part{name, string(version), "Debian"})
	}
	return parts, nil
}

func read(f file) ([]byte, error) {
	if f.from == "" {
		return []byte(f.text), nil
	}
	return os.ReadFile(f.from)
}
