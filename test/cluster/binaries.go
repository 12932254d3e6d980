package cluster

import (
	"fmt"
	"os/exec"
	"path/filepath"

	"pavise.dev/pavise/internal/envoy"
)

// Version is the Kubernetes that tests run. testdata/modules pins it by checksum.
const Version = "1.37.2"

// binary returns the path of a program in the cache folder, or an error that says how to build it.
func binary(name string) (string, error) {
	cache, err := envoy.CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "kubernetes-"+Version, name)
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("no %s of Kubernetes %s (%w): run test/cluster/build", name, Version, err)
	}
	return path, nil
}

// controlPlane is what [Control] needs.
var controlPlane = []string{"etcd", "kube-apiserver", "kubectl"}

// Available returns why [Control] can't run here, such as programs that were not built yet, or nil.
func Available() error {
	for _, name := range controlPlane {
		if _, err := binary(name); err != nil {
			return err
		}
	}
	return nil
}
