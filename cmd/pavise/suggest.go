package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/admin/suggest"
	"pavise.dev/pavise/api"
)

func suggestCommand() *cobra.Command {
	var from recorded
	var config, output string
	var o suggest.Options
	var enforce bool
	cmd := &cobra.Command{
		Use:   "suggest",
		Short: "Write policies that allow what happened lately, and no more",
		Long: `Suggest makes an AccessPolicy for each workload and direction of the flows that were
allowed, as YAML for review: each rule says which flows it covers, and what it allows beyond
them. The policies are audited, not enforced, unless --enforce is given.

Exit codes: 0 written, 1 the folder has errors, 2 usage, 3 no process answers or a file cannot
be read.`,
		Example: `  pavise suggest --config ./policies -n shop > suggested.yaml
  pavise simulate --config ./policies --enforce --presume-names suggested.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config != "" {
				set, err := inOrderSet(cmd, config)
				if err != nil {
					return err
				}
				o.Set = set
			}
			if enforce {
				o.Mode = api.ModeEnforce
			}
			list, err := from.read(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return asked(err)
			}
			suggestions, err := suggest.Policies(list, o)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if output == "json" {
				return failed(writeJSON(cmd.OutOrStdout(), suggestions))
			}
			for i := range suggestions {
				s := &suggestions[i]
				for _, l := range s.Left {
					fmt.Fprintf(cmd.ErrOrStderr(), "pavise: %s %s: %s left out: %s\n", clean(s.Workload), s.Direction, plural(l.Flows, "flow"), clean(l.Why))
				}
				if s.YAML == "" {
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "---\n%s", s.YAML); err != nil {
					return failed(err)
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "folder that says what labels workloads have; without it only what is in the flows is known")
	from.register(f)
	f.Uint64Var(&o.MinCount, "min-count", 0, "leave out flows with fewer decisions")
	f.BoolVar(&o.ServiceAccounts, "service-accounts", false, "name peers by their service accounts where they have one")
	f.BoolVar(&enforce, "enforce", false, "have the policies enforced, not audited")
	outputFlag(cmd, &output)
	return cmd
}
