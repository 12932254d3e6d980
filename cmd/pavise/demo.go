package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func demoCommand() *cobra.Command {
	var o standaloneOptions
	var dir string
	var once, verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the quickstart: an upstream, Envoy, policies, and requests to judge",
		Long: `Demo starts a small HTTP server, enforces DIR/config in front of it, sends the
requests of DIR/requests.yaml and prints what became of each. It serves the threat feeds
of DIR/feeds as well, fetches them, and asks them what DIR/lookups.yaml asks. Then it
goes on serving and reloading until it is stopped, or ends with --once.

Exit codes: 0 every answer was the expected one, 1 one was not, 3 it could not start.`,
		Example: `  pavise demo
  pavise demo --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = filepath.Join(dir, "config")
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelInfo
			}
			o.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return demo(cmd.Context(), cmd.OutOrStdout(), o, dir, once)
		},
	}
	standaloneFlags(cmd, &o)
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "examples/quickstart", "folder with config and requests.yaml")
	f.BoolVar(&once, "once", false, "end after the table; exit code 0 only if every verdict was the expected one")
	f.BoolVar(&verbose, "verbose", false, "log what happens")
	o.concurrency, o.envoyLog = 1, "error"
	return cmd
}

// probe is one request of requests.yaml.
type probe struct {
	Says    string            `yaml:"says"`
	From    string            `yaml:"from"`
	Method  string            `yaml:"method"`
	URL     string            `yaml:"url"`
	Host    string            `yaml:"host"`
	Headers map[string]string `yaml:"headers"`
	// Proxy is the port of an explicit proxy on this machine, TCP a connection to make.
	Proxy  int    `yaml:"proxy"`
	TCP    string `yaml:"tcp"`
	Expect string `yaml:"expect"`
	Reason string `yaml:"reason"`
}

func readProbes(file string) ([]probe, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("requests to send: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var ps []probe
	if err := d.Decode(&ps); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return ps, nil
}

// demoPatience bounds how long the demo waits for anything.
const demoPatience = 30 * time.Second

func demo(ctx context.Context, out io.Writer, o standaloneOptions, dir string, once bool) error {
	probes, err := readProbes(filepath.Join(dir, "requests.yaml"))
	if err != nil {
		return failed(err)
	}
	journal := newJournal()
	o.decided = journal.add
	if err := privateDir("run-dir", o.runDir); err != nil {
		return failed(err)
	}
	// Before anything is removed: the port says that no other demo is running.
	stopFeeds, err := demoFeeds(ctx, filepath.Join(dir, "feeds"))
	if err != nil {
		return failed(err)
	}
	defer stopFeeds()
	// Feeds are fetched for the first time in each demo.
	o.state = filepath.Join(o.runDir, "demo-feeds")
	if err := os.RemoveAll(o.state); err != nil {
		return failed(err)
	}
	s, err := newStandalone(ctx, o)
	if err != nil {
		return err
	}
	defer s.feeds.close()
	stopUpstream, err := demoUpstream(ctx, s)
	if err != nil {
		return failed(err)
	}
	defer stopUpstream()

	running, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- s.run(running)
		stop() // whoever waits for it to be ready waits in vain
	}()
	verdict := func() error {
		if err := s.ready(running); err != nil {
			return failed(err)
		}
		wrong, err := s.judgeFeeds(running, out, filepath.Join(dir, "lookups.yaml"))
		if err != nil {
			return failed(err)
		}
		if wrong += judge(running, out, probes, journal); wrong > 0 {
			return &exitError{exitProblem, fmt.Errorf("%s not as expected", plural(wrong, "answer"))}
		}
		return nil
	}()
	if once || verdict != nil {
		stop()
		return errors.Join(verdict, failed(<-done))
	}
	fmt.Fprintf(out, `
Still serving, and reloading %s on every save. Try, in another terminal:
  curl -i --interface 127.0.0.3 http://127.0.0.1:18080/products
  bin/pavise explain --source elsewhere/stranger --workload shop/web GET http://shop.example:18080/products
  bin/pavise status
  bin/pavise lookup --state %s evil.example
Ctrl-C ends it.
`, o.config, o.state)
	return failed(<-done)
}

// ready waits until the policies are in force and the listeners accept.
func (s *standalone) ready(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	if err := s.server.WaitInForce(wait, node); err != nil {
		return err
	}
	m, _ := s.Current()
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			if err := waitListening(wait, l.Address.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge sends the probes and prints the table; it returns how many verdicts were wrong.
func judge(ctx context.Context, out io.Writer, probes []probe, j *journal) int {
	wrong := 0
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tWHAT\tREQUEST\tVERDICT\tREASON")
	for i, p := range probes {
		d, err := p.send(ctx, fmt.Sprintf("demo-%d-%d", os.Getpid(), i), j)
		mark, why := "ok", d.Reason
		switch {
		case err != nil:
			mark, why = "FAILED", err.Error()
		case string(d.Verdict) != p.Expect || d.Reason != p.Reason:
			mark, why = "WRONG", fmt.Sprintf("%s (expected %s %s)", d.Reason, p.Expect, p.Reason)
		}
		if mark != "ok" {
			wrong++
		}
		if d.AuditVerdict != "" && d.AuditVerdict != d.Verdict {
			why += fmt.Sprintf(" [audit: %s %s]", d.AuditVerdict, d.AuditReason)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", mark, p.Says, p.line(), d.Verdict, why)
	}
	_ = t.Flush() // standard output has gone
	return wrong
}
