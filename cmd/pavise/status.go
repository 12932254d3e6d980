package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/proxy/filter"
)

func statusCommand() *cobra.Command {
	var runDir, output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running process enforces",
		Long: `Status asks the running process what is in force, and what is not and why.

Exit codes: 0 everything is in force and every feed in order, 1 not so, 2 usage, 3 no
process answers.`,
		Example: `  pavise status
  pavise status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s standaloneStatus
			if err := admin.NewClient(adminSocket(runDir)).Status(cmd.Context(), &s); err != nil {
				return failed(err)
			}
			if output == "json" {
				if err := writeJSON(cmd.OutOrStdout(), s); err != nil {
					return failed(err)
				}
			} else {
				t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintf(t, "policies\t%s, loaded %s from %s\n", short(s.Digest), s.LoadedAt.Format("15:04:05"), s.Config)
				fmt.Fprintf(t, "in force\t%v (%d resources pending)\n", s.InForce, s.Envoy.Pending)
				fmt.Fprintf(t, "envoy\tpid %d, restarts %d, refusals %d\n", s.PID, s.Restarts, s.Envoy.NACKs)
				if s.LastExit != "" {
					fmt.Fprintf(t, "last exit\t%s\n", s.LastExit)
				}
				if n := s.Envoy.NACK; n != nil {
					fmt.Fprintf(t, "refused\t%v: %s\n", n.Resources, n.Message)
				}
				fmt.Fprintf(t, "denied\t%d\n", s.Denied)
				if s.Broken {
					fmt.Fprintf(t, "folder\thas errors, the last good stays in force\n")
				}
				for _, p := range s.Problems {
					fmt.Fprintf(t, "\t%s\n", p)
				}
				if s.FeedTrouble != "" {
					fmt.Fprintf(t, "feeds\tthose of before stay: %s\n", oneLine(s.FeedTrouble))
				}
				if in := s.FeedsInForce; in != nil {
					fmt.Fprintf(t, "feeds\t%s\n", inForceLine(in))
				}
				for _, f := range s.Feeds {
					fmt.Fprintf(t, "feed\t%s\n", feedLine(f))
				}
				if err := t.Flush(); err != nil {
					return failed(err)
				}
			}
			outOfOrder := slices.ContainsFunc(s.Feeds, func(f feeds.Status) bool { return !inOrder(f.State) })
			undecided := s.FeedsInForce != nil && s.FeedsInForce.Error != ""
			if !s.InForce || s.Broken || s.FeedTrouble != "" || outOfOrder || undecided {
				return &exitError{code: exitProblem}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir(), "run directory of the process to ask")
	outputFlag(cmd, &output)
	return cmd
}

// inForceLine is what Envoy decides by.
func inForceLine(in *filter.InForce) string {
	line := "not in force in Envoy"
	if in.Digest != "" {
		line = "in force in Envoy: " + short(strings.TrimPrefix(in.Digest, "sha256:")) + ", since " + in.Since.Local().Format("15:04:05")
	}
	if in.Error != "" {
		line += "; " + oneLine(in.Error)
	}
	return line
}

// feedLine is a feed in a line.
func feedLine(f feeds.Status) string {
	line := fmt.Sprintf("%s: %s, %s", f.Name, f.State, plural(int(f.Entries), "entry"))
	if f.LastSuccess != nil {
		line += ", last confirmed " + stamp(f.LastSuccess)
	}
	if f.Error != "" {
		line += "; " + oneLine(f.Error)
	}
	return line
}
