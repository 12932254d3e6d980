package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/api"
)

func checkCommand() *cobra.Command {
	var output, failOn string
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Report every problem of a folder of policies",
		Long: `Check reads a folder as run does and reports everything that is wrong with it or
looks wrong: unreadable files, unknown fields, rules that are never reached, selectors
that select nothing. Each problem has a code that stays the same; docs/problems.md
says more about each.

Exit codes: 0 nothing to report, 1 problems, 2 usage. With --fail-on=warning warnings
count as problems.`,
		Example: `  pavise check ./policies
  pavise check ./policies --fail-on=warning -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if failOn != "error" && failOn != "warning" {
				return fmt.Errorf("--fail-on %q: it is error or warning", failOn)
			}
			var l api.Loader
			c := compileFolder(&l, args[0], offline, nil)
			if err := printProblems(cmd.OutOrStdout(), output, c); err != nil {
				return failed(err)
			}
			if !c.usable() || failOn == "warning" && len(c.problems) > 0 {
				return &exitError{code: exitProblem}
			}
			return nil
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringVar(&failOn, "fail-on", "error", "error or warning: the least severe problem that makes the exit code 1")
	return cmd
}

type checkReport struct {
	Digest   string        `json:"digest,omitempty"`
	Objects  int           `json:"objects"`
	Problems []api.Problem `json:"problems"`
}

func printProblems(w io.Writer, output string, c *compiled) error {
	objects := len(c.set.AccessPolicies) + len(c.set.ClusterAccessPolicies) + len(c.set.NetworkSets) + len(c.set.Workloads) + len(c.set.Namespaces) + len(c.set.ThreatFeeds)
	if output == "json" {
		r := checkReport{Objects: objects, Problems: c.problems}
		if c.model != nil {
			r.Digest = c.model.Digest
		}
		if r.Problems == nil {
			r.Problems = []api.Problem{}
		}
		return writeJSON(w, r)
	}
	counts := map[api.Severity]int{}
	for _, p := range c.problems {
		fmt.Fprintln(w, p)
		counts[p.Severity]++
	}
	_, err := fmt.Fprintf(w, "%s, %s, %s\n", plural(objects, "object"), plural(counts[api.Error], "error"), plural(counts[api.Warning], "warning"))
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
