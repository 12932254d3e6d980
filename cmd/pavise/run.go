package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

func runCommand() *cobra.Command {
	var o standaloneOptions
	var decisions, logLevel string
	cmd := &cobra.Command{
		Use:   "run --config DIR",
		Short: "Enforce a folder of policies with an Envoy on this machine",
		Long: `Run compiles the folder, starts Envoy and keeps both going: a saved file is in
force at once, a broken one is reported and the last good stays in force, an Envoy that
ends is started again. It stops on SIGINT or SIGTERM, after Envoy has drained.

Threat feeds of the folder are fetched when they are due, checked, and compiled into a
snapshot that 'pavise lookup' asks; deciding on traffic by them is still to come.

Decisions are printed as JSON, one a line, on standard output; the log goes to standard
error.

Exit codes: 0 stopped, 1 the folder has errors at the start, 2 usage, 3 Envoy or a
socket cannot be had.`,
		Example: `  pavise run --config examples/quickstart/config
  pavise run --config ./policies --envoy /usr/bin/envoy --decisions all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var level slog.Level
			if err := level.UnmarshalText([]byte(logLevel)); err != nil {
				return fmt.Errorf("--log-level %q: it is debug, info, warn or error", logLevel)
			}
			if decisions != "all" && decisions != "denied" && decisions != "none" {
				return fmt.Errorf("--decisions %q: it is all, denied or none", decisions)
			}
			o.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			o.decided = decisionWriter(cmd.OutOrStdout(), decisions)
			s, err := newStandalone(cmd.Context(), o)
			if err != nil {
				return err
			}
			return failed(s.run(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "folder of policies and workloads")
	_ = cmd.MarkFlagRequired("config")
	standaloneFlags(cmd, &o)
	stateFlag(cmd, &o.state)
	f.StringVar(&decisions, "decisions", "denied", "which decisions to print: all, denied (and what audited policies would deny) or none")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func standaloneFlags(cmd *cobra.Command, o *standaloneOptions) {
	f := cmd.Flags()
	f.StringVar(&o.envoy, "envoy", "", "path of the Envoy to use; default $PAVISE_ENVOY, else the one that 'make envoy' brought")
	f.StringVar(&o.module, "module", "", "path of libpavise.so, which asks the feeds inside Envoy; default $PAVISE_MODULE, else the one beside this binary")
	f.StringVar(&o.runDir, "run-dir", defaultRunDir(), "directory for sockets")
	f.IntVar(&o.concurrency, "concurrency", 0, "worker threads of Envoy; 0 is one for each hardware thread")
}

// decisionWriter prints decisions, one line each; a line is written whole.
func decisionWriter(w io.Writer, which string) func(decisions.Record) {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	return func(d decisions.Record) {
		denied := d.Verdict == policy.Denied || d.AuditVerdict == policy.Denied
		if which == "none" || which == "denied" && !denied {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(d) // standard output has gone
	}
}
