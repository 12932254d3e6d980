package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
)

func lookupCommand() *cobra.Command {
	var state, file, output string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "lookup ADDRESS|DOMAIN|URL…",
		Short: "Say which feeds list an address, a name or the host of a URL",
		Long: `Lookup asks the snapshot of all feeds: which feed, which line of it, since when. It is
the code that decides on traffic.

Exit codes: 0 answered, 2 usage, 3 there is no snapshot; with --exit-code 4 if something
is listed by a feed that denies.`,
		Example: `  pavise lookup 192.0.2.7 https://www.evil.example/x
  pavise lookup --snapshot feeds.snapshot evil.example -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, past := filepath.Join(state, "snapshot"), state
			if file != "" {
				path, past = file, ""
			}
			s, err := snapshot.Open(path)
			if errors.Is(err, fs.ErrNotExist) && file == "" {
				err = fmt.Errorf("%w; `pavise feeds fetch` makes it", err)
			}
			if err != nil {
				return failed(err)
			}
			answers := make([]feeds.Answer, 0, len(args))
			denied := false
			for _, what := range args {
				a, err := feeds.Lookup(s, past, what)
				if err != nil {
					return err
				}
				for _, h := range a.Hits {
					denied = denied || h.Action == "Deny"
				}
				answers = append(answers, a)
			}
			if err := printAnswers(cmd.OutOrStdout(), output, answers); err != nil {
				return failed(err)
			}
			if exitCode && denied {
				return &exitError{code: exitDenied}
			}
			return nil
		},
	}
	stateFlag(cmd, &state)
	cmd.Flags().StringVar(&file, "snapshot", "", "snapshot to ask instead of that of the state directory")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 4 if a feed that denies lists one of them")
	outputFlag(cmd, &output)
	return cmd
}

func printAnswers(w io.Writer, output string, answers []feeds.Answer) error {
	if output == "json" {
		return writeJSON(w, answers)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ASKED\tFEED\tACTION\tLINE\tENTRY\tSINCE")
	for _, a := range answers {
		if len(a.Hits) == 0 {
			fmt.Fprintf(t, "%s\tnot listed\n", a.Asked)
		}
		for _, h := range a.Hits {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", a.Asked, h.Feed, h.Action, h.Line, oneLine(h.Entry), sinceWhen(h))
		}
	}
	return t.Flush()
}

func sinceWhen(h feeds.Listed) string {
	switch {
	case h.Since == nil:
		return "-"
	case h.Exact:
		return h.Since.Format(time.RFC3339)
	default:
		return "before " + h.Since.Format(time.RFC3339)
	}
}
