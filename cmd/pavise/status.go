package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/xds"
)

func statusCommand() *cobra.Command {
	var runDir, output string
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running process enforces",
		Long: `Status asks the running process, be it of run, agent or control-plane, what is in
force, and what is not and why.

Exit codes: 0 everything is in force and every feed in order, 1 not so, 2 usage, 3 no
process answers.`,
		Example: `  pavise status
  pavise status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.read(cmd.Context(), runDir)
			if err != nil {
				return failed(err)
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), s)
			} else {
				t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				s.print(t)
				err = t.Flush()
			}
			if err != nil {
				return failed(err)
			}
			if !s.inOrder() {
				return &exitError{code: exitProblem}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir(), "run directory of the process to ask")
	outputFlag(cmd, &output)
	clusterStatus(cmd, &o)
	return cmd
}

// statusOptions say whom to ask.
type statusOptions struct {
	// cluster asks one, if that is what is wanted; nil where it cannot be.
	cluster func(context.Context) (s status, wanted bool, err error)
}

func (o *statusOptions) read(ctx context.Context, runDir string) (status, error) {
	if o.cluster != nil {
		if s, wanted, err := o.cluster(ctx); wanted || err != nil {
			return s, err
		}
	}
	var raw json.RawMessage
	if err := admin.NewClient(adminSocket(runDir)).Status(ctx, &raw); err != nil {
		return nil, err
	}
	return readStatus(raw)
}

// status is that of one kind of process.
type status interface {
	print(w io.Writer)
	inOrder() bool
}

// readStatus tells by its fields which kind of process answered.
func readStatus(raw json.RawMessage) (status, error) {
	var has struct {
		Node    string          `json:"node"`
		Nodes   json.RawMessage `json:"nodes"`
		Cluster string          `json:"cluster"`
	}
	err := json.Unmarshal(raw, &has)
	s := status(&standaloneStatus{})
	switch {
	case has.Node != "":
		s = &agentStatus{}
	case has.Nodes != nil:
		s = &controlPlaneStatus{}
	case has.Cluster != "":
		s = &clusterState{}
	}
	return s, errors.Join(err, json.Unmarshal(raw, s))
}

func (s *folderState) print(w io.Writer) {
	fmt.Fprintf(w, "policies\t%s, loaded %s from %s\n", short(s.Digest), s.LoadedAt.Format("15:04:05"), s.Config)
	if s.Broken {
		fmt.Fprintf(w, "folder\thas errors, the last good stays in force\n")
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "\t%s\n", p)
	}
}

func (s *standaloneStatus) print(w io.Writer) {
	s.folderState.print(w)
	fmt.Fprintf(w, "in force\t%v (%d resources pending)\n", s.InForce, s.Envoy.Pending)
	fmt.Fprintf(w, "envoy\tpid %d, restarts %d, refusals %d\n", s.PID, s.Restarts, s.Envoy.NACKs)
	if s.LastExit != "" {
		fmt.Fprintf(w, "last exit\t%s\n", s.LastExit)
	}
	printNACK(w, s.Envoy.NACK)
	fmt.Fprintf(w, "denied\t%d\n", s.Denied)
	printFeedLines(w, s.Feeds, s.FeedTrouble)
	if in := s.FeedsInForce; in != nil {
		fmt.Fprintf(w, "feeds\t%s\n", inForceLine(in))
	}
}

func (s *standaloneStatus) inOrder() bool {
	undecided := s.FeedsInForce != nil && s.FeedsInForce.Error != ""
	return s.InForce && !s.Broken && !undecided && feedsInOrder(s.Feeds, s.FeedTrouble)
}

func (s *agentStatus) print(w io.Writer) {
	p := &s.Policies
	fmt.Fprintf(w, "node\t%s\n", s.Node)
	line := fmt.Sprintf("in force, %s, from the %s", short(p.Digest), p.Source)
	if !p.InForce {
		line = "not all in force: " + p.Lacking
	}
	fmt.Fprintf(w, "policies\t%s\n", line)
	printNACK(w, p.NACK)
	line = "connected since " + p.Since.Local().Format("15:04:05")
	if !p.Connected {
		line = "away: " + oneLine(p.LastError)
	}
	fmt.Fprintf(w, "control plane\t%s\n", line)
	if at := p.Pinned.At; at.IsZero() {
		fmt.Fprintf(w, "last good\tnone yet\n")
	} else {
		fmt.Fprintf(w, "last good\t%s, of %s\n", short(p.Pinned.Digest), at.Local().Format(time.DateTime))
	}
	fmt.Fprintf(w, "envoy\tpid %d, restarts %d\n", s.PID, s.Restarts)
	if f := s.Feeds; f != nil {
		fmt.Fprintf(w, "feeds\t%s\n", inForceLine(&s.FeedsInForce))
		if f.Error != "" {
			fmt.Fprintf(w, "\t%s in a row: %s\n", plural(f.Failures, "failure"), oneLine(f.Error))
		}
	}
	fmt.Fprintf(w, "denied\t%d\n", s.Denied)
}

func (s *agentStatus) inOrder() bool {
	return s.Policies.InForce && s.Policies.Connected && (s.Feeds == nil || s.Feeds.Error == "" && s.FeedsInForce.Error == "")
}

func (s *controlPlaneStatus) print(w io.Writer) {
	s.folderState.print(w)
	printFeedLines(w, s.Feeds, s.FeedTrouble)
	for _, name := range sortedKeys(s.Nodes) {
		n := s.Nodes[name]
		line := "not connected"
		switch {
		case n.Connected && n.InForce():
			line = "in force since " + n.InForceAt.Local().Format("15:04:05")
		case n.Connected:
			line = fmt.Sprintf("%d resources pending", n.Pending)
		}
		fmt.Fprintf(w, "node\t%s\t%s\n", name, line)
		printNACK(w, n.NACK)
	}
}

// inOrder leaves out nodes that are not connected: there may be a folder for more than
// there are.
func (s *controlPlaneStatus) inOrder() bool {
	for _, n := range s.Nodes {
		if n.Connected && !n.InForce() {
			return false
		}
	}
	return !s.Broken && feedsInOrder(s.Feeds, s.FeedTrouble)
}

func printNACK(w io.Writer, n *xds.NACK) {
	if n != nil {
		fmt.Fprintf(w, "refused\t%v: %s\n", n.Resources, oneLine(n.Message))
	}
}

func printFeedLines(w io.Writer, list []feeds.Status, trouble string) {
	if trouble != "" {
		fmt.Fprintf(w, "feeds\tthose of before stay: %s\n", oneLine(trouble))
	}
	for _, f := range list {
		fmt.Fprintf(w, "feed\t%s\n", feedLine(f))
	}
}

func feedsInOrder(list []feeds.Status, trouble string) bool {
	return trouble == "" && !slices.ContainsFunc(list, func(f feeds.Status) bool { return !inOrder(f.State) })
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
