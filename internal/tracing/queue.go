package tracing

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"pavise.dev/pavise/internal/secret"
)

const (
	mostQueued = 4096 // spans
	mostBatch  = 512
	linger     = time.Second
)

// queue is a span processor that waits for nobody: the one of the SDK does not say how many
// spans it dropped.
type queue struct {
	exporter sdk.SpanExporter
	close    func() error
	secret   secret.String
	log      *slog.Logger
	spans    chan sdk.ReadOnlySpan
	dropped  atomic.Uint64
	sent     atomic.Uint64
}

// OnStart implements sdk.SpanProcessor.
func (q *queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor. It does not block.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case q.spans <- s:
	default:
		q.dropped.Add(1)
	}
}

// Shutdown implements sdk.SpanProcessor: run ends by its context.
func (q *queue) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.SpanProcessor.
func (q *queue) ForceFlush(context.Context) error { return nil }

func (q *queue) run(ctx context.Context) {
	var batch []sdk.ReadOnlySpan
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
		defer cancel()
		for q.send(last, q.gather(batch)) {
			batch = nil
		}
		_ = q.exporter.Shutdown(last)
		_ = q.close()
	}()
	tick := time.NewTicker(linger)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-q.spans:
			batch = append(batch[:0], s)
			select { // what comes within a moment goes with it
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			q.send(ctx, q.gather(batch))
			batch = nil
		}
	}
}

// gather takes what there is, up to a batch.
func (q *queue) gather(batch []sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	for len(batch) < mostBatch {
		select {
		case s := <-q.spans:
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

// send says whether there was something to be sent, and it was.
func (q *queue) send(ctx context.Context, batch []sdk.ReadOnlySpan) bool {
	if len(batch) == 0 {
		return false
	}
	if err := q.exporter.ExportSpans(ctx, batch); err != nil {
		q.dropped.Add(uint64(len(batch)))
		words := err.Error()
		if !q.secret.Empty() {
			words = strings.ReplaceAll(words, q.secret.Reveal(), secret.Redacted)
		}
		q.log.Warn("traces were not taken", "spans", len(batch), "error", words)
		return false
	}
	q.sent.Add(uint64(len(batch)))
	return true
}
