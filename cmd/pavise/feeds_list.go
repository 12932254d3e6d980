package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/internal/printable"
)

func feedsListCommand() *cobra.Command {
	var from feedsFrom
	var output string
	cmd := &cobra.Command{
		Use:   "list --config DIR",
		Short: "List the feeds and the state of each",
		Long: `List shows what is in force of each feed of a folder, when it was last confirmed, and
what went wrong since. It reads the state directory and fetches nothing.

Exit codes: 0 every feed is current, suspended or not yet fetched, 1 one is not, or what
is known of it cannot be read, or the folder has errors, 2 usage.`,
		Example: `  pavise feeds list --config ./policies
  pavise feeds list --config ./policies -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := from.load()
			if err != nil {
				return err
			}
			return printFeeds(cmd.OutOrStdout(), output, feeds.ReadStatus(from.state, list, time.Now()), nil)
		},
	}
	from.flags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

// printFeeds prints a table, or JSON; the error says by its exit code that one of the
// feeds that matter is not in order. Nil is all of them.
func printFeeds(w io.Writer, output string, list []feeds.Status, matter []string) error {
	if output == "json" {
		if err := writeJSON(w, list); err != nil {
			return failed(err)
		}
	} else if err := writeFeeds(w, list, time.Now()); err != nil {
		return failed(err)
	}
	for _, s := range list {
		if !inOrder(s.State) && (matter == nil || slices.Contains(matter, s.Name)) {
			return &exitError{code: exitProblem}
		}
	}
	return nil
}

func inOrder(s api.FeedState) bool {
	return s == api.FeedCurrent || s == api.FeedPending || s == api.FeedSuspended
}

func writeFeeds(w io.Writer, list []feeds.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tACTION\tSTATE\tENTRIES\tADDED\tREMOVED\tLEFT OUT\tAGE\tNEXT\tERROR")
	for _, s := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", s.Name, s.Action, s.State, s.Entries, s.Added, s.Removed,
			s.Unreadable+s.Unsupported+s.Guarded, span(s.LastSuccess, now, -1), span(s.NextAttempt, now, 1), cmp.Or(oneLine(s.Error), "-"))
	}
	return t.Flush()
}

// span is the time from a moment to now (sign -1), or from now to it (1).
func span(t *metav1.Time, now time.Time, sign int) string {
	if t == nil {
		return "-"
	}
	d := t.Sub(now) * time.Duration(sign)
	switch {
	case d <= 0:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// oneLine is text for a table.
func oneLine(s string) string { return printable.Line(s) }

func feedsShowCommand() *cobra.Command {
	var from feedsFrom
	var output string
	cmd := &cobra.Command{
		Use:   "show NAME --config DIR",
		Short: "Show everything that is known of one feed",
		Long: `Show says what is in force of a feed, when it was fetched, and which entries were left
out for which reason, with their lines. It fetches nothing.

Exit codes: 0 the feed is in order, 1 it is not, or the folder has errors, 2 usage.`,
		Example: `  pavise feeds show botnets --config ./policies`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := from.one(args[0])
			if err != nil {
				return err
			}
			s := feeds.ReadStatus(from.state, []feeds.Feed{f}, time.Now())[0]
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), s)
			} else {
				err = writeFeed(cmd.OutOrStdout(), &f, s)
			}
			if err != nil {
				return failed(err)
			}
			if !inOrder(s.State) {
				return &exitError{code: exitProblem}
			}
			return nil
		},
	}
	from.flags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

func writeFeed(w io.Writer, f *feeds.Feed, s feeds.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("name", "%s", s.Name)
	if f.Spec.Description != "" {
		row("description", "%s", oneLine(f.Spec.Description))
	}
	row("action", "%s, %s", s.Action, s.Direction)
	row("state", "%s", s.State)
	if s.Error != "" {
		row("error", "%s", oneLine(s.Error))
	}
	row("format", "%s", cmp.Or(string(s.Format), "-"))
	row("entries", "%d in force; the last change added %d and removed %d", s.Entries, s.Added, s.Removed)
	row("left out", "%d unreadable, %d unsupported, %d by guards", s.Unreadable, s.Unsupported, s.Guarded)
	row("last attempt", "%s", stamp(s.LastAttempt))
	row("last success", "%s", stamp(s.LastSuccess))
	row("last change", "%s", stamp(s.LastChange))
	row("next attempt", "%s", stamp(s.NextAttempt))
	row("digest", "%s", cmp.Or(s.Digest, "-"))
	if len(s.Left) > 0 {
		fmt.Fprintln(t, "\nLINE\tLEFT OUT\tREASON")
		for _, l := range s.Left {
			fmt.Fprintf(t, "%d\t%s\t%s\n", l.Line, oneLine(l.Text), oneLine(l.Reason))
		}
	}
	return t.Flush()
}

func stamp(t *metav1.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func feedsDiffCommand() *cobra.Command {
	var from feedsFrom
	var output string
	cmd := &cobra.Command{
		Use:   "diff NAME --config DIR",
		Short: "Show what the last change of a feed added and removed",
		Long: `Diff lists what the last refresh that changed a feed added (+) and removed (-). A name
with = in front stands for itself alone, *.name for what is below it, and ! is what the
feed takes out. A first fetch lists nothing by name.

Exit codes: 0 done, 1 the folder has errors, 2 usage, 3 the state directory cannot be
read.`,
		Example: `  pavise feeds diff botnets --config ./policies`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := from.one(args[0])
			if err != nil {
				return err
			}
			c, err := feeds.LastChange(from.state, f.Name)
			if err != nil {
				return failed(err)
			}
			return failed(writeChange(cmd.OutOrStdout(), output, f.Name, c))
		},
	}
	from.flags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

type changeReport struct {
	Feed   string        `json:"feed"`
	Change *feeds.Change `json:"change"`
	Plus   []string      `json:"addedEntries,omitempty"`
	Minus  []string      `json:"removedEntries,omitempty"`
}

func writeChange(w io.Writer, output, name string, c *feeds.Change) error {
	if output == "json" {
		r := changeReport{Feed: name, Change: c}
		if c != nil {
			r.Plus, r.Minus = c.AddedEntries, c.RemovedEntries
		}
		return writeJSON(w, r)
	}
	if c == nil {
		_, err := fmt.Fprintf(w, "%s was not fetched yet\n", name)
		return err
	}
	first := ""
	if c.From == "" {
		first = ", the first fetch"
	}
	if c.Cut {
		first = ", not all of them listed"
	}
	if _, err := fmt.Fprintf(w, "%s at %s: %d added, %d removed%s\n", name, c.Time.Format(time.RFC3339), c.Added, c.Removed, first); err != nil {
		return err
	}
	for _, e := range c.RemovedEntries {
		fmt.Fprintf(w, "-%s\n", e)
	}
	for _, e := range c.AddedEntries {
		if _, err := fmt.Fprintf(w, "+%s\n", e); err != nil {
			return err
		}
	}
	return nil
}
