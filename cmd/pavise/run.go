package main

import (
	"cmp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func runCommand() *cobra.Command {
	var o standaloneOptions
	var log decisionFlags
	var logLevel string
	cmd := &cobra.Command{
		Use:   "run --config DIR",
		Short: "Enforce a folder of policies with an Envoy on this machine",
		Long: `Run compiles the folder, starts Envoy and keeps both going: a saved file is in
force at once, a broken one is reported and the last good stays in force, an Envoy that
ends is started again. It stops on SIGINT or SIGTERM, after Envoy has drained.

Threat feeds of the folder are fetched when they are due, checked, and compiled into a
snapshot, by which the module inside Envoy decides before any policy does.

Decisions are printed as JSON, one a line, on standard output; the log goes to standard
error.

Exit codes: 0 stopped, 1 the folder has errors at the start, 2 usage, 3 Envoy or a
socket cannot be had.`,
		Example: `  pavise run --config examples/quickstart/config
  pavise run --config ./policies --envoy /usr/bin/envoy --decisions all`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			return cmp.Or(o.keep.check(), o.admin.check())
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.log, err = logger(cmd.ErrOrStderr(), logLevel); err != nil {
				return err
			}
			if o.decisions, err = log.open(cmd.Context(), cmd.OutOrStdout(), o.log); err != nil {
				return err
			}
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
	o.dns.register(f)
	o.admin.register(f)
	o.keep.register(f)
	hideReasonsFlag(f, &o.hideReasons)
	log.register(f)
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

// hideReasonsFlag is for what answers clients.
func hideReasonsFlag(f *pflag.FlagSet, hide *bool) {
	f.BoolVar(hide, "hide-reasons", false, "tell clients that Pavise denied a request, and its id, but not why")
}
