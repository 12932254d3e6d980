//go:build !sidecar

package main

import "github.com/spf13/cobra"

// clusterCommands are those that the sidecar's binary is without, and with them the libraries
// for Kubernetes: there is one sidecar for every pod.
func clusterCommands() []*cobra.Command {
	return []*cobra.Command{controlPlaneCommand(), statusCommand(), injectCommand(), installCommand(), uninstallCommand()}
}
