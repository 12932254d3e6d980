package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layer packs files, with the folders above them, owned by root and without times.
func layer(files []file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	made := map[string]bool{".": true}
	var folder func(string) error
	folder = func(dir string) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		if err := folder(path.Dir(dir)); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
	}
	for _, f := range files {
		content, err := read(f)
		if err != nil {
			return nil, err
		}
		if err := folder(path.Dir(f.path)); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	packed := b.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil })
}

// assemble makes the image, and the list of what is inside.
func assemble(c contents) (v1.Image, []byte, error) {
	list, err := bill(c)
	if err != nil {
		return nil, nil, err
	}
	img := empty.Image
	layers := append(slices.Clone(c.layers), []file{{path: "usr/share/sbom/pavise.spdx.json", text: string(list), mode: 0o644}})
	for _, files := range layers {
		l, err := layer(files)
		if err != nil {
			return nil, nil, err
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return nil, nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = "amd64", "linux"
	config.Config = v1.Config{
		User: c.user + ":" + c.user, Entrypoint: []string{"/usr/bin/pavise"}, WorkingDir: "/",
		Env: append([]string{"PATH=/usr/bin"}, c.env...),
		Labels: map[string]string{
			"org.opencontainers.image.title": "pavise " + c.name, "org.opencontainers.image.version": c.version,
			"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.url": "https://pavise.dev",
		},
	}
	img, err = mutate.ConfigFile(img, config)
	return img, list, err
}

// write puts NAME (layout), NAME.tar (archive) and NAME.spdx.json into the folder.
func write(out string, c contents) error {
	img, list, err := assemble(c)
	if err != nil {
		return err
	}
	folder := filepath.Join(out, c.name)
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	index, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	if err := index.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": c.version})); err != nil {
		return err
	}
	// A full name, as container runtimes complete short ones.
	tag, err := name.NewTag("docker.io/pavise/" + c.name + ":" + c.version)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(folder+".tar", tag, img); err != nil {
		return err
	}
	if err := os.WriteFile(folder+".spdx.json", list, 0o600); err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	size := int64(0)
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			return err
		}
		size += n
	}
	fmt.Printf("%s:%s %s %.1f MB compressed\n", c.name, c.version, digest, float64(size)/1e6)
	return nil
}
