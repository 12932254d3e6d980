package cluster

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// AppImage is the image of test/cluster/app, which every node has; its entrypoint is the program.
const AppImage = "pavise.dev/test/app:1"

const dnsImage = "pavise.dev/test/coredns:1"

// Image is a container image of one layer, made from files of this machine.
type Image struct {
	// Name with a registry and a tag, as in "pavise.dev/test/app:1". Nothing is ever pulled.
	Name string
	// Files are absolute paths in the image, and where the content is. Programs bring the
	// libraries that ldd names, under the names it gives them.
	Files map[string]string
	// Entrypoint is the program, and arguments that come before those of a pod.
	Entrypoint []string
	// Args of a pod that names none.
	Args []string
	// Env is in the form NAME=value.
	Env []string
	// User is a number, root by default.
	User string
}

// Write writes the image as an archive in Docker's format.
func (i Image) Write(ctx context.Context, archive string) error {
	if err := i.write(ctx, archive); err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	return nil
}

func (i Image) write(ctx context.Context, archive string) error {
	tag, err := name.NewTag(i.Name, name.StrictValidation)
	if err != nil {
		return err
	}
	files := maps.Clone(i.Files)
	for _, from := range i.Files {
		libraries, err := closure(ctx, from)
		if err != nil {
			return err
		}
		for _, library := range libraries {
			files[library] = library
		}
	}
	content := archive + ".layer"
	defer os.Remove(content)
	if err := writeLayer(content, files); err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(content, tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: i.Entrypoint, Cmd: i.Args, Env: i.Env, User: i.User}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	return tarball.WriteToFile(archive, tag, img)
}

// library is a line of ldd: "libm.so.6 => /lib/libm.so.6 (0x7f…)" or "/lib64/ld-linux-x86-64.so.2 (0x7f…)".
var library = regexp.MustCompile(`(?m)^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$`)

// closure returns the libraries that a program loads at its start, none for what is no program.
func closure(ctx context.Context, file string) ([]string, error) {
	program, err := elf.Open(file)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) || errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	defer program.Close()
	if needed, err := program.ImportedLibraries(); err != nil || len(needed) == 0 {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "ldd", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "not found") {
		return nil, fmt.Errorf("ldd %s: %w: %s", file, err, out)
	}
	var paths []string
	for _, match := range library.FindAllStringSubmatch(string(out), -1) {
		paths = append(paths, match[1])
	}
	return paths, nil
}

// writeLayer packs files, with the folders above them, owned by root and without times.
func writeLayer(to string, files map[string]string) (err error) {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	// Every container may need a folder for temporary files, and anybody may write there.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	made := map[string]bool{"/": true, "/tmp": true}
	for _, at := range slices.Sorted(maps.Keys(files)) {
		if !path.IsAbs(at) {
			return fmt.Errorf("the file %q: its path in the image has to be absolute", at)
		}
		if err := addFolders(w, path.Dir(at), made); err != nil {
			return err
		}
		if err := addFile(w, at, files[at]); err != nil {
			return err
		}
	}
	return w.Close()
}

func addFolders(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	made[dir] = true
	if err := addFolders(w, path.Dir(dir), made); err != nil {
		return err
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
}

func addFile(w *tar.Writer, at, from string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", from)
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: path.Clean(at)[1:], Size: info.Size(),
		Mode: int64(info.Mode().Perm() | 0o444), ModTime: time.Unix(0, 0),
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}

// LoadImage imports an archive of images, Docker's or OCI's, so that pods with imagePullPolicy Never or IfNotPresent find them.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	if c.node == nil {
		return errors.New("cluster: images need a node; this cluster has a control plane alone")
	}
	ctr, err := binary("ctr")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, ctr, "--address", c.path("var/pavise/containerd.sock"), "--namespace", "k8s.io",
		"images", "import", "--local", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cluster: import of %s: %w: %s", archive, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Load makes an image and imports it.
func (c *Cluster) Load(ctx context.Context, i Image) error {
	archive := c.path("image-" + filepath.Base(strings.ReplaceAll(i.Name, ":", "-")) + ".tar")
	defer os.Remove(archive)
	if err := i.Write(ctx, archive); err != nil {
		return err
	}
	return c.LoadImage(ctx, archive)
}

// loadOwn loads the images that every node has, once containerd serves.
func (c *Cluster) loadOwn(ctx context.Context) error {
	app := c.path("app")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", app, "pavise.dev/pavise/test/cluster/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building test/cluster/app: %w: %s", err, out)
	}
	dns, err := binary("coredns")
	if err != nil {
		return err
	}
	if err := c.containerdReady(ctx); err != nil {
		return err
	}
	for _, image := range []Image{
		{Name: AppImage, Files: map[string]string{"/app": app}, Entrypoint: []string{"/app"}, Args: []string{"pause"}},
		{Name: dnsImage, Files: map[string]string{"/coredns": dns}, Entrypoint: []string{"/coredns"}},
	} {
		if err := c.Load(ctx, image); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) containerdReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ctr, err := binary("ctr")
	if err != nil {
		return err
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		out, err := exec.CommandContext(ctx, ctr, "--address", c.path("var/pavise/containerd.sock"), "--connect-timeout", "1s", "version").CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd does not serve: %w: %s\n%s", err, out, c.nodeLogs())
		case <-tick.C:
		}
	}
}
