package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/policy"
)

// recalled is what became of a request.
type recalled struct {
	Flow *flows.Flow `json:"flow"`
	// Explanation of the flow's example; nil where there is none, and Unexplained says why.
	Explanation *admin.Explanation `json:"explanation,omitempty"`
	Unexplained string             `json:"unexplained,omitempty"`
}

// explainRequest shows what was decided on a request, and what the rules say to what was
// recorded of it.
func explainRequest(cmd *cobra.Command, o *explainOptions, id, runDir, output string, all, exitCode bool) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	who, done, err := o.explainer(ctx, runDir)
	if err != nil {
		return failed(err)
	}
	defer done()
	var r recalled
	if r.Flow, err = who.Request(ctx, id); err != nil {
		return asked(err)
	}
	if r.Explanation, err = who.Explain(ctx, admin.Query{Record: &r.Flow.Example}); err != nil {
		// An agent has no policies to ask, and a listener may be gone.
		r.Explanation, r.Unexplained = nil, err.Error()
	}
	if output == "json" {
		err = writeJSON(out, &r)
	} else {
		err = r.print(out, id, output, all)
	}
	if err == nil && exitCode && r.Flow.Verdict == policy.Denied {
		return &exitError{code: exitDenied}
	}
	return failed(err)
}

func (r *recalled) print(out io.Writer, id, output string, all bool) error {
	f, x := r.Flow, &r.Flow.Example
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "decided\t%s %s, %s\n", x.Verdict, clean(x.Reason), x.Time.Local().Format(time.DateTime))
	fmt.Fprintf(t, "asked\t%s → %s at %s\n", clean(x.Source), clean(flowWhat(&f.Key)), clean(cmp.Or(x.Destination, x.Host)))
	if x.RequestID != id {
		fmt.Fprintf(t, "\tthis is the latest of %s like it; the request itself is not kept\n", plural(int(min(f.Count, math.MaxInt32)), "decision"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if r.Explanation == nil {
		_, err := fmt.Fprintf(out, "the rules cannot be asked here: %s\n", oneLine(r.Unexplained))
		return err
	}
	switch d := r.Explanation.Decided; {
	case d.Unasked != "":
		_, err := fmt.Fprintf(out, "no rule was asked: %s\nremedy: %s\n", d.Unasked, cmp.Or(r.Explanation.Remedy, "-"))
		return err
	case d.Changed && len(d.Lacks) > 0:
		fmt.Fprintf(out, "now it comes out otherwise: the policies have changed, or it depends on what is not recorded: %s\n\n", clean(strings.Join(d.Lacks, ", ")))
	case d.Changed:
		fmt.Fprintf(out, "now it comes out otherwise: the policies or feeds have changed since, or a rule asks for what was not recorded yet\n\n")
	}
	return printExplanation(out, output, r.Explanation, all)
}
