package main

import (
	"os"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/feeds/replica"
)

// proveCommandName is what an agent starts itself with, in a process of its own, to prove a
// snapshot and to apply deltas: what comes from elsewhere then cannot take the agent along.
const proveCommandName = "prove-snapshot"

func proveCommand() *cobra.Command {
	return &cobra.Command{
		Use:    proveCommandName,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if code := replica.Work(os.Stdin, os.Stdout); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
}
