package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/xds/relay"
)

// agentGC is how much garbage an agent lets come together, in percent of what it uses.
const agentGC = 50

// agentOptions are what a sidecar is told.
type agentOptions struct {
	node, controlPlane, feedsURL string
	tls                          relay.TLS
	tokenFile                    string
	envoy, module                string
	concurrency                  int
	runDir, state                string
	dns                          dnsOptions
	metrics, ready               string // addresses; "none" for none
	admin                        adminFlags
	keep                         latelyFlags
	log                          *slog.Logger
	decisions                    *decisions.Log
}

func agentCommand() *cobra.Command {
	var o agentOptions
	var decided decisionFlags
	var logLevel string
	cmd := &cobra.Command{
		Use:   "agent --node NAMESPACE/NAME --control-plane HOST:PORT",
		Short: "Stand beside a workload: Envoy, its policies, the feeds and DNS",
		Long: `Agent is the one process of a sidecar. It starts Envoy and keeps it going, brings it
its policies from the control plane, keeps the snapshot of the feeds current, answers the
workload's DNS questions, and says whether all that is in force.

What was last in force stays on disk: with the control plane away, Envoy is restarted
with that. An agent that has never heard of one waits, closed, and is not ready.

It stops on SIGINT or SIGTERM, after Envoy has drained.

Exit codes: 0 stopped, 2 usage, 3 Envoy, a port or a folder cannot be had.`,
		Example: `  pavise agent --node shop/web --control-plane pavise.internal:15012 --ca ca.pem --cert web.pem --key web.key
  pavise agent --node shop/web --control-plane unix:/run/pavise/xds.sock --feeds-url https://pavise.internal:15013 --ca ca.pem`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			return cmp.Or(o.keep.check(), o.admin.check())
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.log, err = logger(cmd.ErrOrStderr(), logLevel); err != nil {
				return err
			}
			if o.decisions, err = decided.open(cmd.Context(), cmd.OutOrStdout(), o.log); err != nil {
				return err
			}
			if os.Getenv("GOGC") == "" {
				// There is one for each workload, and it has little to do: memory counts for
				// more than the processor time of collecting garbage twice as often.
				debug.SetGCPercent(agentGC)
			}
			a, err := newAgent(cmd.Context(), o)
			if err != nil {
				return failed(err)
			}
			return failed(a.run(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.node, "node", "", "NAMESPACE/NAME of the workload")
	f.StringVar(&o.controlPlane, "control-plane", "", "HOST:PORT of the control plane, over TLS, or unix:PATH")
	_ = cmd.MarkFlagRequired("node")
	_ = cmd.MarkFlagRequired("control-plane")
	f.StringVar(&o.feedsURL, "feeds-url", "", "where the control plane serves the feeds: https://HOST:PORT, or unix://PATH; default none")
	f.StringVar(&o.tls.CAFile, "ca", "", "file with the authorities of the control plane, PEM; read anew for every connection to it")
	f.StringVar(&o.tls.CertFile, "cert", "", "file with the certificate of this node, PEM; likewise")
	f.StringVar(&o.tls.KeyFile, "key", "", "file with its key, PEM; likewise")
	f.StringVar(&o.tls.ServerName, "server-name", "", "name in the control plane's certificate; default that of --control-plane")
	f.StringVar(&o.tokenFile, "token-file", "", "file with a bearer token to send, read anew for each stream")
	f.StringVar(&o.envoy, "envoy", "", "path of the Envoy to use; default $PAVISE_ENVOY, else the one that 'make envoy' brought")
	f.StringVar(&o.module, "module", "", "path of libpavise.so; default $PAVISE_MODULE, else the one beside this binary")
	f.IntVar(&o.concurrency, "concurrency", 0, "worker threads of Envoy; 0 is one for each hardware thread")
	f.StringVar(&o.runDir, "run-dir", defaultRunDir(), "directory for sockets and the table of names")
	stateFlag(cmd, &o.state)
	o.dns.register(f)
	f.StringVar(&o.metrics, "metrics", "0.0.0.0:15020", "address for Prometheus metrics, of this process and of Envoy; none for none")
	f.StringVar(&o.ready, "ready", "0.0.0.0:15021", "address for /healthz/ready and /healthz/live; none for none")
	o.admin.register(f)
	o.keep.register(f)
	decided.register(f)
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// logger writes to a terminal or a collector of logs.
func logger(w interface{ Write([]byte) (int, error) }, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--log-level %q: it is debug, info, warn or error", level)}
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}
