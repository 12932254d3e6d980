package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/feeds"
)

func feedsFetchCommand() *cobra.Command {
	var from feedsFrom
	var output string
	var accept bool
	cmd := &cobra.Command{
		Use:   "fetch [NAME…] --config DIR",
		Short: "Fetch feeds now and compile them",
		Long: `Fetch asks for the named feeds, or for all, checks what came, and makes a snapshot of
the last good of every feed. What cannot be fetched or is not believed changes nothing
that is in force. Suspended feeds are passed over.

With --accept a feed is taken that has shrunk or grown more than its guards allow; name
it.

Exit codes: 0 what was fetched is in order, 1 it is not, or the folder has errors, 2
usage, 3 the state directory is in use by a running process, or cannot be written to.`,
		Example: `  pavise feeds fetch --config ./policies
  pavise feeds fetch botnets --accept --config ./policies`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if accept && len(args) == 0 {
				return errors.New("--accept: name the feeds to accept")
			}
			list, model, err := from.loadModel()
			if err != nil {
				return err
			}
			names, err := pick(list, args)
			if err != nil {
				return err
			}
			m, client, err := openFeeds(from.state, nil, slog.New(slog.DiscardHandler), nil)
			if errors.Is(err, feeds.ErrLocked) {
				return failed(fmt.Errorf("%w; `pavise feeds list` shows when. To fetch now, stop it", err))
			}
			if err != nil {
				return failed(err)
			}
			defer client.Close()
			defer m.Close()
			if err := m.Set(list, ownPlaces(model)); err != nil {
				return failed(err)
			}
			if err := fetchAll(cmd.Context(), cmd.ErrOrStderr(), m, names, accept); err != nil {
				return failed(err)
			}
			return printFeeds(cmd.OutOrStdout(), output, m.Status(), names)
		},
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&accept, "accept", false, "take the named feeds although they shrank or grew too much")
	outputFlag(cmd, &output)
	return cmd
}

// fetchAll fetches feeds, as many at a time as the Manager lets, and compiles. What
// became of each is in its status; the error is about the state directory.
func fetchAll(ctx context.Context, progressTo io.Writer, m *feeds.Manager, names []string, accept bool) error {
	p := newProgress(progressTo)
	bar := p.count("fetching", int64(len(names)))
	var g errgroup.Group
	for _, name := range names {
		g.Go(func() error {
			st, err := m.Refresh(ctx, name, accept)
			if err == nil {
				bar.step(1, fmt.Sprintf("%s: %s", name, st.State))
			}
			return err
		})
	}
	err := g.Wait()
	p.done()
	if err != nil {
		return err
	}
	return m.Compile(ctx)
}

// pick returns the names to fetch: those that were asked for, or all that are not
// suspended.
func pick(list []feeds.Feed, args []string) ([]string, error) {
	names := []string{}
	known := map[string]bool{}
	for _, f := range list {
		known[f.Name] = true
		if !f.Spec.Suspend && (len(args) == 0 || slices.Contains(args, f.Name)) {
			names = append(names, f.Name)
		}
	}
	for _, a := range args {
		if !known[a] {
			return nil, fmt.Errorf("there is no feed %q; `pavise feeds list` shows them", a)
		}
	}
	return names, nil
}
