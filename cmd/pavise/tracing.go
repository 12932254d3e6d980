//go:build !sidecar

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"pavise.dev/pavise/internal/tracing"
	"pavise.dev/pavise/xds"
)

// tracingFlags say where traces of changes go.
type tracingFlags struct{ endpoint, authorization string }

func (f *tracingFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.endpoint, "tracing-otlp", "", "OpenTelemetry collector to send traces of changes to: https://HOST:PORT, or http:// without TLS (gRPC)")
	flags.StringVar(&f.authorization, "tracing-otlp-authorization", "", "file with the authorization header for the collector")
}

// open returns nil where no traces are wanted.
func (f *tracingFlags) open(log *slog.Logger) (*tracing.Tracer, error) {
	if f.endpoint == "" {
		return nil, nil //nolint:nilnil // a nil Tracer is one that does nothing
	}
	host, insecure, err := collectorAt(f.endpoint)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--tracing-otlp %w", err)}
	}
	value, err := authorizationIn(f.authorization)
	if err != nil {
		return nil, failed(fmt.Errorf("--tracing-otlp-authorization: %w", err))
	}
	name, _ := os.Hostname()
	t, err := tracing.New(tracing.Config{Endpoint: host, Insecure: insecure, Authorization: value, Instance: name, Logger: log.With("from", "tracing")})
	if err != nil {
		return nil, failed(fmt.Errorf("--tracing-otlp: %w", err))
	}
	return t, nil
}

// pushes is xds.ServerConfig.Pushes; nil where no traces are wanted.
func pushes(t *tracing.Tracer) func(context.Context, string, string) xds.Push {
	if t == nil {
		return nil
	}
	return func(ctx context.Context, node, digest string) xds.Push {
		if p := t.Push(ctx, node, digest); p != nil {
			return tracedPush{p}
		}
		return nil
	}
}

type tracedPush struct{ *tracing.Push }

// Ended implements xds.Push.
func (p tracedPush) Ended(o xds.Outcome, words string) { p.Push.Ended(string(o), words) }

// runTracing sends what there is to send; without a tracer it waits for the end.
func runTracing(ctx context.Context, t *tracing.Tracer) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	return t.Run(ctx)
}
