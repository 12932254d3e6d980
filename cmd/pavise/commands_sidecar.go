//go:build sidecar

package main

import "github.com/spf13/cobra"

func clusterCommands() []*cobra.Command { return []*cobra.Command{statusCommand()} }

// clusterStatus is what only the whole binary has.
func clusterStatus(*cobra.Command, *statusOptions) {}
