package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/policy"
)

func feedsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "feeds",
		Short: "Look at threat feeds, fetch them, compile them",
		Long: `Feeds are the ThreatFeed objects of a folder. What was fetched of them is kept in a
state directory, where a running process and these commands find it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return errors.New("which of its commands?") },
	}
	cmd.AddCommand(feedsListCommand(), feedsShowCommand(), feedsFetchCommand(), feedsDiffCommand(), feedsHistoryCommand(), feedsCompileCommand())
	return cmd
}

// feedsFrom says where feeds are configured and where what is known of them is kept.
type feedsFrom struct{ config, state string }

func (o *feedsFrom) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.config, "config", "", "folder with the feeds")
	_ = cmd.MarkFlagRequired("config")
	stateFlag(cmd, &o.state)
}

func stateFlag(cmd *cobra.Command, state *string) {
	cmd.Flags().StringVar(state, "state", defaultStateDir(), "directory of what was fetched")
}

// defaultStateDir outlives a restart, as the XDG base directory specification has it.
func defaultStateDir() string {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "pavise")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(defaultRunDir(), "state")
	}
	return filepath.Join(home, ".local", "state", "pavise")
}

// load reads the feeds of the folder.
func (o *feedsFrom) load() ([]feeds.Feed, error) {
	set, err := o.set()
	if err != nil {
		return nil, err
	}
	return feeds.FromSet(set), nil
}

// loadModel reads the policies as well.
func (o *feedsFrom) loadModel() ([]feeds.Feed, *policy.Model, error) {
	set, err := o.set()
	if err != nil {
		return nil, nil, err
	}
	m, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		return nil, nil, o.broken()
	}
	return feeds.FromSet(set), m, nil
}

func (o *feedsFrom) set() (*api.Set, error) {
	var l api.Loader
	set, problems := l.Load(o.config)
	if api.HasErrors(problems) {
		return nil, o.broken()
	}
	return set, nil
}

func (o *feedsFrom) broken() error {
	return &exitError{exitProblem, fmt.Errorf("%s has errors; `pavise check %s` lists them", o.config, o.config)}
}

// one is the feed of a name.
func (o *feedsFrom) one(name string) (feeds.Feed, error) {
	list, err := o.load()
	if err != nil {
		return feeds.Feed{}, err
	}
	for _, f := range list {
		if f.Name == name {
			return f, nil
		}
	}
	return feeds.Feed{}, fmt.Errorf("%s has no feed %q; `pavise feeds list` shows them", o.config, name)
}
