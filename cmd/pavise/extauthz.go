package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/servertls"
	"pavise.dev/pavise/proxy/extauthz"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/xds/relay"
)

// authzOptions are those of ext-authz that are not the server's own.
type authzOptions struct {
	server               extauthz.Config
	files                servertls.Files
	ca                   relay.TLS // of the control plane
	file, feedsURL       string    // one of the two
	state                string
	direction, onFailure string
}

func extAuthzCommand() *cobra.Command {
	var o authzOptions
	var decided decisionFlags
	var logLevel string
	cmd := &cobra.Command{
		Use:   "ext-authz (--snapshot FILE | --feeds-url URL) (--socket PATH | --listen ADDRESS)",
		Short: "Decide by feeds for an Envoy that cannot load the module",
		Long: `Ext-authz is an authorization server for Envoys that are somebody else's: Istio's,
Envoy Gateway's, a managed one. It asks the same feeds as the module does.
docs/recipes has configurations for both.

Exit codes: 0 stopped, 2 usage, 3 a port, a file or a folder cannot be had.`,
		Example: `  pavise ext-authz --feeds-url https://pavise.internal:15013 --ca ca.pem --listen 0.0.0.0:9191
  pavise ext-authz --snapshot feeds.snapshot --socket /run/pavise/authz.sock --direction egress`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logger(cmd.ErrOrStderr(), logLevel)
			if err != nil {
				return err
			}
			o.server.Logger = log
			if err := o.complete(); err != nil {
				return &exitError{exitUsage, err}
			}
			written, err := decided.open(cmd.Context(), cmd.OutOrStdout(), log)
			if err != nil {
				return err
			}
			o.server.Decisions = written.Add
			return failed(o.serve(cmd.Context(), written))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "snapshot", "", "file of 'pavise feeds compile'; it is read anew when it changes")
	f.StringVar(&o.feedsURL, "feeds-url", "", "where a control plane serves the feeds: https://HOST:PORT, or unix://PATH")
	f.StringVar(&o.ca.CAFile, "ca", "", "file with the authorities of the control plane, PEM; default those of the system")
	f.StringVar(&o.ca.CertFile, "cert", "", "file with the certificate to show the control plane, PEM")
	f.StringVar(&o.ca.KeyFile, "key", "", "file with its key, PEM")
	stateFlag(cmd, &o.state)
	f.StringVar(&o.server.Socket, "socket", "", "unix socket to answer at")
	f.StringVar(&o.server.Address, "listen", "", "ADDRESS:PORT to answer at")
	f.StringVar(&o.files.Certificate, "tls-cert", "", "file with the certificate of this server, PEM; read anew when it changes")
	f.StringVar(&o.files.Key, "tls-key", "", "file with its key, PEM; likewise")
	f.StringVar(&o.files.ClientCA, "client-ca", "", "file with the authorities of the Envoys that may ask, PEM; default any may")
	f.StringVar(&o.direction, "direction", "ingress", "ingress or egress, where Envoy does not say it")
	f.IntVar(&o.server.ForwardedFor, "forwarded-for", 0, "take the source from that many entries from the right of X-Forwarded-For; 0 takes the connection's")
	f.StringVar(&o.onFailure, "on-failure", "open", "open or closed: what is decided while there is no snapshot")
	decided.register(f)
	hideReasonsFlag(f, &o.server.HideReasons)
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// complete makes the server's configuration of what was given.
func (o *authzOptions) complete() error {
	if (o.file == "") == (o.feedsURL == "") {
		return errors.New("name one of --snapshot and --feeds-url")
	}
	o.server.Engine = &filter.Engine{}
	switch o.onFailure {
	case "open":
	case "closed":
		o.server.Engine.Missing = filter.Closed
	default:
		return fmt.Errorf("--on-failure %q: it is open or closed", o.onFailure)
	}
	switch o.direction {
	case "ingress":
	case "egress":
		o.server.Direction = filter.Egress
	default:
		return fmt.Errorf("--direction %q: it is ingress or egress", o.direction)
	}
	if o.files != (servertls.Files{}) {
		o.server.TLS = &o.files
	}
	return nil
}

func (o *authzOptions) serve(ctx context.Context, log *decisions.Log) error {
	keep, err := o.keeper()
	if err != nil {
		return err
	}
	s, err := extauthz.New(o.server)
	if err != nil {
		return err
	}
	if err := s.Listen(ctx); err != nil {
		return err
	}
	o.server.Logger.Info("serving", "address", s.Addr())
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(gctx) })
	g.Go(func() error { return keep(gctx) })
	g.Go(func() error { return log.Run(gctx) })
	return g.Wait()
}

// keeper is what keeps the snapshot current.
func (o *authzOptions) keeper() (func(context.Context) error, error) {
	if o.file != "" {
		return o.watchSnapshot, nil
	}
	if err := privateDir("state", o.state); err != nil {
		return nil, err
	}
	follower, err := followFeeds(o.feedsURL, filepath.Join(o.state, "feeds"), o.ca, "", o.server.Engine, o.server.Logger)
	if err != nil {
		return nil, err
	}
	return follower.Run, nil
}

// snapshotPoll is how often a file is looked at.
const snapshotPoll = time.Second

// watchSnapshot reads a file anew when another has taken its place.
func (o *authzOptions) watchSnapshot(ctx context.Context) error {
	var seen os.FileInfo
	tick := time.NewTicker(snapshotPoll)
	defer tick.Stop()
	for {
		switch now, err := os.Stat(o.file); {
		case err != nil && seen == nil:
			return err
		case err == nil && (seen == nil || !os.SameFile(seen, now) || !now.ModTime().Equal(seen.ModTime())):
			seen = now
			if swapSnapshot(o.server.Engine, o.file, o.server.Logger) {
				s := o.server.Engine.Snapshot()
				o.server.Logger.Info("feeds in force", "snapshot", s.Digest(), "feeds", len(s.Feeds()))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
