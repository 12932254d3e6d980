package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/printable"
)

// flowsFlags are parameters of a query, by the flag's name where it is another.
var flowsFlags = []struct{ flag, short, parameter, usage string }{
	{"namespace", "n", "namespace", "of the workload"},
	{"workload", "w", "workload", "NAMESPACE/NAME, or a NAME in any namespace"},
	{"peer", "", "peer", "the other end: an address, or NAMESPACE/NAME"},
	{"reason", "", "reason", "beginning of a reason, such as default-deny"},
	{"feed", "", "feed", "name of a feed that denied or alerted"},
	{"name", "", "name", "host, server name or question; *.DOMAIN for all below one"},
	{"method", "", "method", "of requests"},
	{"direction", "", "direction", "ingress or egress"},
	{"verdict", "", "verdict", "allow or deny"},
	{"port", "", "port", "of the destination"},
	{"since", "", "since", "time (RFC 3339), or how long ago: 10m"},
	{"until", "", "until", "likewise"},
	{"text", "", "text", "in any of these"},
}

// flowSource is where flows come from.
type flowSource interface {
	// Flows are the newest, at most limit, and whether there are more.
	Flows(ctx context.Context, f flows.Filter, limit int) ([]flows.Flow, bool, error)
	Follow(ctx context.Context, f flows.Filter, each func(flows.Event) error) error
}

// flowsOptions say whom to ask.
type flowsOptions struct {
	// cluster asks one if that is what is wanted, else it gives nil; nil where it cannot be.
	cluster func(ctx context.Context, namespace string) (flowSource, error)
}

func (o *flowsOptions) source(ctx context.Context, runDir, namespace string) (flowSource, error) {
	if o.cluster != nil {
		if s, err := o.cluster(ctx, namespace); s != nil || err != nil {
			return s, err
		}
	}
	return localProcess{admin.NewClient(adminSocket(runDir))}, nil
}

// localProcess is one that runs on this machine.
type localProcess struct{ *admin.Client }

func (p localProcess) Flows(ctx context.Context, f flows.Filter, limit int) ([]flows.Flow, bool, error) {
	page, err := p.Client.Flows(ctx, f, flows.Cursor{}, limit)
	if err != nil {
		return nil, false, err
	}
	return page.Flows, !page.Next.IsZero(), nil
}

func flowsCommand() *cobra.Command {
	var runDir, output string
	var o flowsOptions
	var audit, denied, follow, history bool
	var limit int
	given := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Show what happened lately: who asked whom for what, and what was decided",
		Long: `Flows asks the running process, be it of run or agent, what was decided within the last
hour. With --kubernetes it asks the sidecars of a cluster. Decisions of one workload about one peer, port, name, method and shape of path, with one
verdict and reason, are one flow; of many different values some become "*". With --history
it shows those of the file that the process keeps, if it was started with --flows-history.

Exit codes: 0 shown, 2 usage, 3 no process answers.`,
		Example: `  pavise flows --denied -n shop
  pavise flows --follow --denied
  pavise flows --kubernetes --denied -n shop
  pavise flows --since 10m --name '*.example.com' -o json`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if follow && output == "yaml" {
				return &exitError{exitUsage, errors.New("--follow writes a line for each decision: text or json")}
			}
			if history && follow {
				return &exitError{exitUsage, errors.New("--history is what was, and --follow what comes: give one of them")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := url.Values{"limit": {strconv.Itoa(limit)}}
			for _, f := range flowsFlags {
				if s := *given[f.flag]; s != "" {
					v.Set(f.parameter, s)
				}
			}
			if denied {
				v.Set("verdict", "deny")
			}
			if audit {
				v.Set("audit", "true")
			}
			filter, _, _, err := flows.Parse(v)
			if err != nil {
				return &exitError{exitUsage, fmt.Errorf("--%w", err)}
			}
			from, err := o.source(cmd.Context(), runDir, filter.Namespace)
			if err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if follow {
				return failed(from.Follow(cmd.Context(), filter, func(e flows.Event) error { return printEvent(out, e, output) }))
			}
			get, layout := from.Flows, time.TimeOnly
			if history {
				local, ok := from.(localProcess)
				if !ok {
					return &exitError{exitUsage, errors.New("--history is asked of a process on this machine: leave out --kubernetes, and run it in the pod")}
				}
				get, layout = local.History, time.DateTime
			}
			list, more, err := get(cmd.Context(), filter, limit)
			if err != nil {
				return asked(err)
			}
			if output == "json" {
				return failed(writeJSON(out, list))
			}
			return failed(printFlows(out, list, more, layout))
		},
	}
	f := cmd.Flags()
	for _, x := range flowsFlags {
		given[x.flag] = f.StringP(x.flag, x.short, "", x.usage)
	}
	f.BoolVar(&denied, "denied", false, "the same as --verdict deny")
	f.BoolVar(&audit, "audit", false, "only what the audited policies would have decided in another way")
	f.BoolVarP(&follow, "follow", "f", false, "show each decision as it comes, until interrupted")
	f.BoolVar(&history, "history", false, "ask the file of a process that runs with --flows-history, which has longer than the last hour")
	f.IntVar(&limit, "limit", flows.DefaultLimit, "how many at most, the newest first")
	f.StringVar(&runDir, "run-dir", defaultRunDir(), "run directory of the process to ask")
	outputFlag(cmd, &output)
	clusterFlows(f, &o)
	return cmd
}

func printFlows(w io.Writer, list []flows.Flow, more bool, layout string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LAST\tCOUNT\tVERDICT\tWORKLOAD\tDIRECTION\tPEER\tWHAT\tREASON")
	for i := range list {
		f := &list[i]
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Last.Local().Format(layout), f.Count, f.Verdict,
			clean(f.Workload), f.Direction, clean(f.Peer), clean(flowWhat(&f.Key)), clean(f.Reason))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if more {
		fmt.Fprintln(w, "there are more; ask for fewer with the flags, or for more with --limit")
	}
	return nil
}

// printEvent shows one decision.
func printEvent(w io.Writer, e flows.Event, output string) error {
	if output == "json" {
		return printable.WriteJSON(w, e)
	}
	if e.Lost > 0 {
		fmt.Fprintf(w, "%d decisions were missed here\n", e.Lost)
	}
	f := &e.Flow
	at := f.Last
	if !f.Example.Time.IsZero() {
		at = f.Example.Time
	}
	_, err := fmt.Fprintf(w, "%s  %-5s  %s  %s  %s  %s  %s\n", at.Local().Format(time.TimeOnly), f.Verdict,
		clean(f.Workload), f.Direction, clean(f.Peer), clean(flowWhat(&f.Key)), clean(f.Reason))
	return err
}

// flowWhat is what was asked for.
func flowWhat(f *flows.Key) string {
	switch {
	case f.Method != "" || f.Path != "":
		return strings.TrimSpace(f.Method + " " + f.Name + f.Path)
	case f.Name != "" && f.Port != 0:
		return f.Name + ":" + strconv.Itoa(int(f.Port))
	case f.Name != "":
		return f.Name
	case f.Port != 0:
		return "port " + strconv.Itoa(int(f.Port))
	}
	return "-"
}

// clean is a text that others chose, for a terminal.
func clean(s string) string {
	if s == "" {
		return "-"
	}
	return oneLine(s)
}
