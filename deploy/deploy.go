// Package deploy holds what brings Pavise into a cluster: the Helm chart, the custom
// resources and the dashboard, embedded. [Chart] gives them laid out as Helm sees the chart.
//
// Package install renders and applies them without Helm; deploy/image makes the images. The
// plain manifests in deploy/manifests are what the chart gives with createNamespace, and a
// test keeps them equal.
package deploy

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

// One pattern for the folders chart and crds: the second is generated.
//
//go:embed all:c* grafana
var files embed.FS

// mounts is where folders beside the chart lie in it, where the tree has symbolic links.
var mounts = map[string]string{"crds": "chart/files/crds", "grafana": "chart/files/grafana"}

// Chart gives the files of the chart by their path in it. It is safe for use by many; what it
// returns is the caller's.
func Chart() (map[string][]byte, error) {
	out := map[string][]byte{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		top, rest, _ := strings.Cut(name, "/")
		if to, ok := mounts[top]; ok {
			name = path.Join(to, rest)
		}
		out[strings.TrimPrefix(name, "chart/")] = content
		return nil
	})
	return out, err
}
