package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/feeds"
)

func feedsHistoryCommand() *cobra.Command {
	var from feedsFrom
	var output string
	cmd := &cobra.Command{
		Use:   "history NAME --config DIR",
		Short: "Show how a feed changed, refresh by refresh",
		Long: `History lists the refreshes that changed a feed, as far back as 64 of them, the oldest
first: when, how many entries there were then, and how many it added and removed. The
entries of the last are in ` + "`pavise feeds diff`" + `.

Exit codes: 0 done, 1 the folder has errors, 2 usage, 3 some of what is kept cannot be
read; the rest is shown.`,
		Example: `  pavise feeds history botnets --config ./policies`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := from.one(args[0])
			if err != nil {
				return err
			}
			list, damage := feeds.Changes(from.state, f.Name)
			if damage != nil && list == nil {
				return failed(damage)
			}
			if err := writeHistory(cmd.OutOrStdout(), output, f.Name, list); err != nil {
				return failed(err)
			}
			return failed(damage)
		},
	}
	from.flags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

type historyReport struct {
	Feed string `json:"feed"`
	// Changes are the oldest first.
	Changes []feeds.Change `json:"changes"`
}

func writeHistory(w io.Writer, output, name string, list []feeds.Change) error {
	if output == "json" {
		return writeJSON(w, historyReport{name, append([]feeds.Change{}, list...)})
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(w, "%s was not fetched yet\n", name)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tENTRIES\tADDED\tREMOVED\tDIGEST\tNOTE")
	for i := range list {
		c := &list[i]
		entries, note := "-", "-"
		if c.Entries > 0 {
			entries = strconv.FormatInt(c.Entries, 10)
		}
		switch {
		case c.From == "":
			note = "a first fetch"
		case c.Cut:
			note = "too many to list all"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\n", c.Time.Format(time.RFC3339), entries, c.Added, c.Removed, short(strings.TrimPrefix(c.To, "sha256:")), note)
	}
	return t.Flush()
}
