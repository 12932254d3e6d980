package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/decisions/otlp"
	"pavise.dev/pavise/internal/secret"
)

// decisionFlags say where decisions go.
type decisionFlags struct {
	which      string
	file       string
	otlp       string
	otlpHeader string // a file with the value of the authorization header
	sample     float64
}

func (d *decisionFlags) register(f *pflag.FlagSet) {
	f.StringVar(&d.which, "decisions", "denied", "which decisions to print: all, denied (and what feeds report or audited policies would deny) or none")
	f.StringVar(&d.file, "decisions-file", "", "file to write them to as well; it is rotated at 64 MiB, and five are kept")
	f.StringVar(&d.otlp, "decisions-otlp", "", "OpenTelemetry collector to send them to as well: https://HOST:PORT, or http:// without TLS (gRPC)")
	f.StringVar(&d.otlpHeader, "decisions-otlp-authorization", "", "file with the authorization header for the collector")
	f.Float64Var(&d.sample, "decisions-sample", 0, "share of what is allowed and nobody has anything against, 0 to 1, to write as well")
}

// open makes the log. Until the context ends, SIGHUP opens its file again, if it has one.
func (d *decisionFlags) open(ctx context.Context, stdout io.Writer, log *slog.Logger) (*decisions.Log, error) {
	o := decisions.Options{SampleAllows: d.sample, Log: log}
	switch d.which {
	case "all":
		o.SampleAllows, o.Repeats = 1, -1 // every one, as it came
	case "denied", "none":
	default:
		return nil, &exitError{exitUsage, fmt.Errorf("--decisions %q: it is all, denied or none", d.which)}
	}
	if d.which != "none" {
		if stdout == io.Writer(os.Stdout) {
			// A reader that goes away must not end the process.
			own, err := decisions.Stdout()
			if err != nil {
				return nil, failed(err)
			}
			stdout = own
		}
		o.Outputs = append(o.Outputs, decisions.Output{Name: "stdout", Sink: decisions.NewWriter(stdout)})
	}
	if d.file != "" {
		f, err := decisions.NewFile(decisions.FileConfig{Path: d.file})
		if err != nil {
			return nil, failed(fmt.Errorf("--decisions-file: %w", err))
		}
		reopenOnHangup(ctx, f, log)
		o.Outputs = append(o.Outputs, decisions.Output{Name: "file", Sink: f})
	}
	if d.otlp != "" {
		sink, err := d.collector()
		if err != nil {
			return nil, err
		}
		o.Outputs = append(o.Outputs, decisions.Output{Name: "otlp", Sink: sink, Linger: time.Second})
	}
	l, err := decisions.New(o)
	if err != nil {
		return nil, failed(err)
	}
	return l, nil
}

func (d *decisionFlags) collector() (decisions.Sink, error) {
	host, insecure, err := collectorAt(d.otlp)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--decisions-otlp %w", err)}
	}
	c := otlp.Config{Endpoint: host, Insecure: insecure}
	if d.otlpHeader != "" {
		value, err := authorizationIn(d.otlpHeader)
		if err != nil {
			return nil, failed(fmt.Errorf("--decisions-otlp-authorization: %w", err))
		}
		c.Headers = map[string]secret.String{"authorization": value}
	}
	sink, err := otlp.New(c)
	if err != nil {
		return nil, failed(fmt.Errorf("--decisions-otlp: %w", err))
	}
	return sink, nil
}

// collectorAt reads where a collector is.
func collectorAt(address string) (host string, insecure bool, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", false, fmt.Errorf("%q: it is https://HOST:PORT or http://HOST:PORT", address)
	}
	return u.Host, u.Scheme == "http", nil
}

// authorizationIn reads the value of a header from a file; empty for no file.
func authorizationIn(path string) (secret.String, error) {
	if path == "" {
		return secret.String{}, nil
	}
	value, err := os.ReadFile(path)
	return secret.New(strings.TrimSpace(string(value))), err
}

// reopenOnHangup opens the file again after SIGHUP, when somebody else has rotated it.
func reopenOnHangup(ctx context.Context, file *decisions.File, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				file.Reopen()
				log.Info("the decisions' file is opened again")
			}
		}
	}()
}
