package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
)

// anomaliesOptions say whom to ask.
type anomaliesOptions struct {
	// cluster asks one if that is what is wanted, else it gives nil; nil where it cannot be.
	cluster func(ctx context.Context, v url.Values, limit int) (*anomaly.Page, error)
}

// page asks the cluster, or the process of a run directory.
func (o *anomaliesOptions) page(ctx context.Context, client *admin.Client, v url.Values, limit int) (*anomaly.Page, error) {
	if o.cluster != nil {
		if p, err := o.cluster(ctx, v, limit); p != nil || err != nil {
			return p, err
		}
	}
	return client.Anomalies(ctx, v)
}

func anomaliesCommand() *cobra.Command {
	var runDir, output, namespace, workload, kind, severity, since string
	var limit int
	var usual bool
	var o anomaliesOptions
	cmd := &cobra.Command{
		Use:   "anomalies",
		Short: "Show what was unusual, with the evidence and the command that looks closer",
		Long: `Anomalies asks the running process, be it of run or agent, what its workloads did that they
did not do before: peers, names and shapes of paths that were not met, scans, bursts of
denials, regular calls to one place outside, other rates than at this hour of the week. It
denies nothing. For a day nothing is said of a workload, while what is usual is learnt.

With --usual it shows that for one workload, --workload NAMESPACE/NAME.

Exit codes: 0 shown, 2 usage, 3 no process answers.`,
		Example: `  pavise anomalies -n shop --severity warning
  pavise anomalies --kubernetes -n shop
  pavise anomalies --usual --workload shop/web`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, out := admin.NewClient(adminSocket(runDir)), cmd.OutOrStdout()
			if usual {
				b, err := client.Baseline(cmd.Context(), workload)
				if err != nil {
					return asked(err)
				}
				return failed(writeJSON(out, b))
			}
			v := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, s := range map[string]string{"namespace": namespace, "workload": workload, "kind": kind, "severity": severity, "since": since} {
				if s != "" {
					v.Set(name, s)
				}
			}
			page, err := o.page(cmd.Context(), client, v, limit)
			if err != nil {
				return asked(err)
			}
			if output == "json" {
				return failed(writeJSON(out, page.Alerts))
			}
			return failed(printAnomalies(out, page))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&namespace, "namespace", "n", "", "of the workload")
	f.StringVarP(&workload, "workload", "w", "", "NAMESPACE/NAME")
	f.StringVar(&kind, "kind", "", "one of "+kinds())
	f.StringVar(&severity, "severity", "", "the least: info, warning or critical")
	f.StringVar(&since, "since", "", "time (RFC 3339), or how long ago: 10m")
	f.IntVar(&limit, "limit", flows.DefaultLimit, "how many at most, the newest first")
	f.BoolVar(&usual, "usual", false, "show what is usual for --workload instead, as JSON")
	f.StringVar(&runDir, "run-dir", defaultRunDir(), "run directory of the process to ask")
	outputFlag(cmd, &output)
	clusterAnomalies(f, &o)
	return cmd
}

func kinds() string {
	var names []string
	for _, k := range anomaly.Kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func printAnomalies(w io.Writer, page *anomaly.Page) error {
	if len(page.Alerts) == 0 {
		_, err := fmt.Fprintln(w, "nothing was unusual")
		return err
	}
	for i := range page.Alerts {
		a := &page.Alerts[i]
		fmt.Fprintf(w, "%s  %s  %s  %s\n", a.Last.Local().Format(time.DateTime), a.Severity, a.Kind, clean(a.Workload))
		fmt.Fprintf(w, "    %s\n", clean(a.Why))
		for _, e := range a.Evidence {
			fmt.Fprintf(w, "    %s: %g, usual %g, limit %g\n", clean(e.What), e.Seen, e.Usual, e.Limit)
		}
		if _, err := fmt.Fprintf(w, "    $ %s\n", oneLine(a.Command)); err != nil {
			return err
		}
	}
	return nil
}
