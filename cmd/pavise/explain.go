package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

func explainCommand() *cobra.Command {
	var q admin.Query
	var config, runDir, file, output string
	var exitCode, all bool
	var id string
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [METHOD] [URL]",
		Short: "Say how a request is decided, and why",
		Long: `Explain asks the code that is tested against Envoy what it decides on a request,
or, without a URL, on a connection. With --config it asks a folder; otherwise it asks
the running process.

With --id it looks up what became of one request of the last hour, by its x-request-id, and
has what was recorded of it explained.

The URL is taken as it is written. For what a workload sends out (--egress, or method
CONNECT) the destination address is that of --destination; without one, rules with
addresses do not match.

Exit codes: 0 answered, 1 the folder has errors, 2 usage or a question that cannot be
answered, 3 no process answers; with --exit-code 4 if the request would be denied.`,
		Example: `  pavise explain --config examples/quickstart/config --workload shop/web GET http://shop.example:18080/admin
  pavise explain --workload shop/web --source 127.0.0.2 -H 'x-role: admin' POST http://shop.example/orders
  pavise explain --workload shop/web --egress --destination 169.254.169.254 http://metadata.example/
  pavise explain --workload shop/database --listener tcp --source shop/web -o json
  pavise explain --id d39a1811-f91c-4c1a-90ae-5e36a5e94108`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if id != "" {
				return explainRequest(cmd, &o, id, runDir, output, all, exitCode)
			}
			switch len(args) {
			case 1:
				q.URL = args[0]
			case 2:
				q.Method, q.URL = args[0], args[1]
			}
			e, err := answer(cmd, &o, q, config, file, runDir)
			if err != nil {
				return err
			}
			if err := printExplanation(cmd.OutOrStdout(), output, e, all); err != nil {
				return failed(err)
			}
			if exitCode && e.Verdict == policy.Denied {
				return &exitError{code: exitDenied}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&id, "id", "", "x-request-id of a request that the process has seen, instead of a question")
	f.StringVar(&config, "config", "", "folder of policies to ask instead of a running process")
	f.StringVar(&runDir, "run-dir", defaultRunDir(), "run directory of the process to ask")
	f.StringVar(&q.Workload, "workload", "", "NAMESPACE/NAME; may be left out if there is only one with listeners")
	f.StringVar(&q.Listener, "listener", "", "listener of the workload; may be left out if the URL's port tells")
	f.BoolVar(&q.Egress, "egress", false, "ask about what the workload sends out")
	f.StringArrayVarP(&q.Headers, "header", "H", nil, "NAME: VALUE, several times if need be")
	f.StringVar(&q.Source, "source", "", "source address, or NAMESPACE/NAME of a workload")
	f.StringVar(&q.Destination, "destination", "", "address that the name resolves to, or ADDRESS:PORT of a redirected connection")
	f.StringVar(&q.ServerName, "server-name", "", "SNI of a TLS connection")
	f.StringSliceVar(&q.Names, "name", nil, "name that the destination of a redirected connection was resolved from, several times if need be; default that of the URL; '' is none")
	f.StringVar(&file, "snapshot", "", "with --config: file of 'pavise feeds compile' to ask as well")
	f.BoolVar(&exitCode, "exit-code", false, "exit with 4 if the request would be denied")
	f.BoolVar(&all, "all", false, "list every rule that was asked, not only the last 20")
	outputFlag(cmd, &output)
	clusterExplain(f, &o)
	return cmd
}

// explainer answers questions, and knows what became of requests.
type explainer interface {
	Explain(ctx context.Context, q admin.Query) (*admin.Explanation, error)
	Request(ctx context.Context, id string) (*flows.Flow, error)
}

// explainOptions say whom to ask.
type explainOptions struct {
	// cluster asks one if that is what is wanted, else it gives nil; nil where it cannot be.
	cluster func(context.Context) (who explainer, done func(), err error)
}

// explainer is the cluster, or the process of a run directory. done ends it.
func (o *explainOptions) explainer(ctx context.Context, runDir string) (who explainer, done func(), err error) {
	if o.cluster != nil {
		if who, done, err = o.cluster(ctx); who != nil || err != nil {
			return who, done, err
		}
	}
	return admin.NewClient(adminSocket(runDir)), func() {}, nil
}

// answer asks the folder or the process.
func answer(cmd *cobra.Command, o *explainOptions, q admin.Query, config, file, runDir string) (*admin.Explanation, error) {
	if config == "" && file != "" {
		return nil, &exitError{exitUsage, errors.New("--snapshot goes with --config: a running process asks its own")}
	}
	if config == "" {
		who, done, err := o.explainer(cmd.Context(), runDir)
		if err != nil {
			return nil, failed(err)
		}
		defer done()
		e, err := who.Explain(cmd.Context(), q)
		return e, asked(err)
	}
	var l api.Loader
	c := compileFolder(&l, config, offline, nil)
	if !c.usable() {
		for _, p := range c.problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
		return nil, &exitError{exitProblem, fmt.Errorf("%s has errors", config)}
	}
	var engine *filter.Engine
	if file != "" {
		s, err := snapshot.Open(file)
		if err != nil {
			return nil, failed(err)
		}
		engine = &filter.Engine{}
		engine.Swap(s)
	}
	e, err := admin.Explain(c.model, c.set, engine, q)
	return e, asked(err)
}

// asked tells a question that cannot be answered from a process that does not answer.
func asked(err error) error {
	var q *admin.QueryError
	if errors.As(err, &q) {
		return &exitError{exitUsage, err}
	}
	return failed(err)
}

// shortTrace is how many rules are listed unless all are asked for: the last ones, as
// they are nearest to the verdict.
const shortTrace = 20

func printExplanation(w io.Writer, output string, e *admin.Explanation, all bool) error {
	if output == "json" {
		return writeJSON(w, e)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "verdict\t%s\n", e.Verdict)
	fmt.Fprintf(t, "reason\t%s\n", e.ReasonID)
	fmt.Fprintf(t, "\t%s\n", oneLine(e.Words))
	if f := cmp.Or(e.Feed, e.Alert); f != nil {
		fmt.Fprintf(t, "%s\t%s, line %d: %s %s\n", map[bool]string{true: "feed", false: "alert"}[f == e.Feed], f.Name, f.Line, f.Asked, oneLine(f.Entry))
	}
	if e.File != "" {
		fmt.Fprintf(t, "rule at\t%s:%d\n", e.File, e.Line)
	}
	if e.Remedy != "" {
		fmt.Fprintf(t, "remedy\t%s\n", e.Remedy)
	}
	if a := e.Audit; a != nil {
		fmt.Fprintf(t, "audit\t%s %s (if the audited policies were enforced)\n", a.Verdict, a.Reason)
	}
	fmt.Fprintf(t, "at\tworkload %s, listener %s\n", e.Workload, e.Listener)
	if len(e.Trace) == 0 {
		return t.Flush()
	}
	fmt.Fprintf(t, "\nrules asked, in order\t\t\n")
	trace := e.Trace
	if !all && len(trace) > shortTrace {
		fmt.Fprintf(t, "  … %d before (--all)\t\t\n", len(trace)-shortTrace)
		trace = trace[len(trace)-shortTrace:]
	}
	for _, s := range trace {
		mark := "-"
		if s.Matched {
			mark = strings.ToUpper(string(s.Action))
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", s.Reason, mark, oneLine(s.Why))
	}
	return t.Flush()
}
