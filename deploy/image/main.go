// Command image makes the images of Pavise without a container engine: a folder of the OCI
// image layout and an archive for `ctr images import`, for each of control-plane and sidecar,
// with a list of what is inside (SPDX 2.3, JSON) beside them and in them.
//
//	go run ./deploy/image --out DIR [--version V]
//
// The images hold our binaries, the authorities of this machine's ca-certificates, and for the
// sidecar Envoy with the C library that it links to, and nothing else: no shell, no package
// manager. The same inputs give the same digests. It has to run on Linux with glibc, gcc and
// dpkg, for the architecture of the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"pavise.dev/pavise/internal/envoy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	out := f.String("out", "", "folder for the images")
	version := f.String("version", "0.1.0", "version, and tag, of the images")
	envoyPath := f.String("envoy", "", "Envoy to put in; default as for pavise agent")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *out == "" || f.NArg() > 0 {
		return fmt.Errorf("usage: image --out DIR [--version V] [--envoy FILE]")
	}
	proxy, err := envoy.Find(*envoyPath)
	if err != nil {
		return err
	}
	build, err := os.MkdirTemp("", "pavise-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(build)
	in, err := compile(ctx, build, *version)
	if err != nil {
		return err
	}
	in.envoy = proxy
	for _, plan := range []func(inputs) (contents, error){controlPlane, sidecar} {
		c, err := plan(in)
		if err != nil {
			return err
		}
		if err := write(*out, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// inputs are what the images are made of: paths of files.
type inputs struct {
	version               string
	full, sidecar, module string
	envoy                 string
}

// compile builds our binaries as a release has them.
func compile(ctx context.Context, dir, version string) (inputs, error) {
	in := inputs{version: version, full: filepath.Join(dir, "full"), sidecar: filepath.Join(dir, "sidecar"), module: filepath.Join(dir, "libpavise.so")}
	flags := "-s -w -X main.version=" + version
	for _, b := range []struct {
		cgo  string
		args []string
	}{
		{"0", []string{"-ldflags", flags, "-o", in.full, "./cmd/pavise"}},
		{"0", []string{"-ldflags", flags, "-tags", "sidecar", "-o", in.sidecar, "./cmd/pavise"}},
		{"1", []string{"-ldflags", "-s -w", "-buildmode=c-shared", "-o", in.module, "./proxy/module"}},
	} {
		cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-buildvcs=false"}, b.args...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return in, fmt.Errorf("go build %v (run it from the root of the repository): %w", b.args, err)
		}
	}
	return in, nil
}
