package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// simulateTime bounds a simulation, and maxFlowFile what a file of flows may have, in octets.
const (
	simulateTime = 2 * time.Minute
	maxFlowFile  = 256 << 20
)

// recorded is where flows come from: a running process, or a file of `pavise flows -o json`.
type recorded struct {
	runDir, file string
	filter       flows.Filter
}

func (r *recorded) register(f *pflag.FlagSet) {
	f.StringVar(&r.runDir, "run-dir", defaultRunDir(), "run directory of the process to ask for flows")
	f.StringVar(&r.file, "flows", "", "file of 'pavise flows -o json' instead; - is the standard input")
	f.StringVarP(&r.filter.Namespace, "namespace", "n", "", "only flows of workloads there")
	f.StringVarP(&r.filter.Workload, "workload", "w", "", "only flows of NAMESPACE/NAME")
}

func (r *recorded) read(ctx context.Context, stdin io.Reader) ([]flows.Flow, error) {
	if r.file == "" {
		return r.ask(ctx)
	}
	in := stdin
	if r.file != "-" {
		f, err := os.Open(r.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var list []flows.Flow
	if err := json.NewDecoder(io.LimitReader(in, maxFlowFile)).Decode(&list); err != nil {
		return nil, fmt.Errorf("%s is not what `pavise flows -o json` writes: %w", r.file, err)
	}
	kept := list[:0]
	for i := range list {
		if r.filter.Match(&list[i]) {
			kept = append(kept, list[i])
		}
	}
	return kept, nil
}

// ask reads every page.
func (r *recorded) ask(ctx context.Context) (list []flows.Flow, err error) {
	client := admin.NewClient(adminSocket(r.runDir))
	var cursor flows.Cursor
	for {
		page, err := client.Flows(ctx, r.filter, cursor, flows.MaxLimit)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Flows...)
		if cursor = page.Next; cursor.IsZero() || len(list) >= simulate.MaxFlows {
			return list[:min(len(list), simulate.MaxFlows)], nil
		}
	}
}

func simulateCommand() *cobra.Command {
	var from recorded
	var config, output string
	var o simulate.Options
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "simulate --config DIR PROPOSED…",
		Short: "Say what a change of policies would have done to what happened lately",
		Long: `Simulate puts recorded flows to the policies of a folder, and to the same with the
proposed files or folders over them, and says which verdicts would be others. What cannot be
told from what was recorded, such as a rule that asks for a header, is listed as uncertain.

Exit codes: 0 answered, 1 the folder or the proposal has errors, 2 usage, 3 no process answers
or a file cannot be read; with --exit-code 4 if anything that was allowed would be denied, or
that is uncertain.`,
		Example: `  pavise simulate --config ./policies proposed.yaml
  pavise simulate --config ./policies --enforce suggested.yaml --flows flows.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args)+len(o.Removed) == 0 {
				return &exitError{exitUsage, errors.New("name the proposed files or folders, or objects with --remove")}
			}
			current, err := inOrderSet(cmd, config)
			if err != nil {
				return err
			}
			var proposed []api.Object
			for _, path := range args {
				objects, err := readProposed(cmd, path)
				if err != nil {
					return err
				}
				proposed = append(proposed, objects...)
			}
			list, err := from.read(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return asked(err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), simulateTime)
			defer cancel()
			r, err := simulate.Run(ctx, current, proposed, list, o)
			if simulate.IsInput(err) {
				return &exitError{exitUsage, err}
			} else if err != nil {
				return failed(err)
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else {
				err = printSimulation(cmd.OutOrStdout(), r)
			}
			switch {
			case err != nil:
				return failed(err)
			case r.Refused:
				return &exitError{code: exitProblem}
			case exitCode && r.Total.Denied.Flows+r.Total.Uncertain.Flows > 0:
				return &exitError{code: exitDenied}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "folder of the policies that are in force")
	_ = cmd.MarkFlagRequired("config")
	from.register(f)
	f.BoolVar(&o.Enforce, "enforce", false, "take proposed policies as enforced that are only audited")
	f.BoolVar(&o.Presume, "presume-names", false, "take the host or server name of what is redirected for what it was resolved from")
	f.StringArrayVar(&o.Removed, "remove", nil, "'KIND NAMESPACE/NAME' of an object that would go; several times if need be")
	f.BoolVar(&exitCode, "exit-code", false, "exit with 4 if anything that was allowed would be denied, or is uncertain")
	outputFlag(cmd, &output)
	return cmd
}

// inOrderSet reads a folder that has to be without errors.
func inOrderSet(cmd *cobra.Command, config string) (*api.Set, error) {
	var l api.Loader
	set, problems := l.Load(config)
	_, more := policy.Compile(set)
	if problems = append(problems, more...); api.HasErrors(problems) {
		for _, p := range problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
		return nil, &exitError{exitProblem, fmt.Errorf("%s has errors", config)}
	}
	return set, nil
}

// readProposed reads the objects of a file or a folder. What is wrong between them and the
// others is found later.
func readProposed(cmd *cobra.Command, path string) ([]api.Object, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, failed(err)
	}
	var set *api.Set
	var problems []api.Problem
	if st.IsDir() {
		var l api.Loader
		set, problems = l.Load(path)
	} else {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, failed(err)
		}
		set, problems = api.Parse(path, text)
	}
	if api.HasErrors(problems) {
		for _, p := range problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
		return nil, &exitError{exitProblem, fmt.Errorf("%s has errors", path)}
	}
	return set.Objects(), nil
}

func printSimulation(w io.Writer, r *simulate.Result) error {
	for _, p := range r.Problems {
		fmt.Fprintln(w, p)
	}
	if r.Refused {
		_, err := fmt.Fprintln(w, "the proposal has errors, and nothing was simulated")
		return err
	}
	for _, f := range r.Feeds {
		fmt.Fprintf(w, "feed %s would be another; what it lists is not simulated\n", f)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHANGE\tCOUNT\tWORKLOAD\tPEER\tWHAT\tBEFORE\tAFTER")
	line := func(change string, f *simulate.Brief, before, after string) {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", change, f.Count, clean(f.Workload), clean(f.Peer), clean(flowWhat(&f.Key)), clean(before), clean(after))
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		line(string(c.After.Verdict), &c.Flow, c.Before.Reason, c.After.Reason)
	}
	for i := range r.Uncertain {
		u := &r.Uncertain[i]
		line("uncertain", &u.Flow, u.Flow.Reason, u.Why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	n := &r.Total
	fmt.Fprintf(w, "%d flows: %d unchanged, %d denied, %d allowed, %d with another reason, %d uncertain\n",
		n.All.Flows, n.Unchanged.Flows, n.Denied.Flows, n.Allowed.Flows, n.Reason.Flows, n.Uncertain.Flows)
	if r.LeftOff > 0 {
		fmt.Fprintf(w, "%d more lines were left off\n", r.LeftOff)
	}
	return nil
}
