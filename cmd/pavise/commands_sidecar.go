//go:build sidecar

package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func clusterCommands() []*cobra.Command { return []*cobra.Command{statusCommand()} }

// clusterFlows is what only the whole binary has.
func clusterFlows(*pflag.FlagSet, *flowsOptions) {}

// clusterAnomalies is what only the whole binary has.
func clusterAnomalies(*pflag.FlagSet, *anomaliesOptions) {}

// clusterExplain is what only the whole binary has.
func clusterExplain(*pflag.FlagSet, *explainOptions) {}

// clusterStatus is what only the whole binary has.
func clusterStatus(*cobra.Command, *statusOptions) {}
