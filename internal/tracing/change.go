package tracing

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const (
	// mostPushes have a span of their own in a change, whatever becomes of them, and
	// mostRefused more that are refused.
	mostPushes  = 32
	mostRefused = 64
	// mostWords of a refusal, in octets.
	mostWords = 1024
)

// change is one change and what becomes of it.
type change struct {
	tracer  trace.Tracer
	root    trace.Span
	rollout trace.Span
	ctx     context.Context //nolint:containedctx // of rollout, for the spans below it

	mu       sync.Mutex
	given    int
	open     int
	refused  int // that have a span
	outcomes map[string]int
	handed   bool // every Envoy that it concerns was given its resources
}

// Text and Number are attributes of a change.
func Text(name, value string) attribute.KeyValue { return attribute.String("pavise."+name, value) }

// Number is one that is a number.
func Number(name string, value int) attribute.KeyValue { return attribute.Int("pavise."+name, value) }

type changeKey struct{}

// Change begins a trace. End ends the change itself, with what it came to and the error that
// kept it from being handed out; what was given to Envoys goes on. On a nil Tracer it does
// nothing.
func (t *Tracer) Change(ctx context.Context, attributes ...attribute.KeyValue) (_ context.Context, end func(err error, attributes ...attribute.KeyValue)) {
	if t == nil {
		return ctx, func(error, ...attribute.KeyValue) {}
	}
	c := &change{tracer: t.tracer, outcomes: map[string]int{}}
	ctx, c.root = t.tracer.Start(ctx, "change", trace.WithNewRoot(), trace.WithAttributes(attributes...))
	c.ctx, c.rollout = t.tracer.Start(ctx, "rollout")
	return context.WithValue(ctx, changeKey{}, c), c.end
}

func (c *change) end(err error, attributes ...attribute.KeyValue) {
	if err != nil {
		c.root.SetStatus(codes.Error, err.Error())
	}
	c.root.SetAttributes(attributes...)
	c.root.End()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handed = true
	c.rolledOut()
}

// rolledOut ends the rollout when nobody is waited for. It is called with the lock held.
func (c *change) rolledOut() {
	if !c.handed || c.open > 0 {
		return
	}
	c.rollout.SetAttributes(attribute.Int("pavise.envoys", c.given))
	for outcome, n := range c.outcomes {
		c.rollout.SetAttributes(attribute.Int("pavise.envoys."+outcome, n))
	}
	if n := c.outcomes[refused]; n > 0 {
		c.rollout.SetStatus(codes.Error, "refused by an Envoy")
	}
	c.rollout.End()
}

// refused is the outcome with which something is wrong.
const refused = "refused"

// Stage is a part of the change of a context: fleet.Config.Stage.
func (t *Tracer) Stage(ctx context.Context, name string) (end func()) {
	if t == nil || ctx.Value(changeKey{}) == nil {
		return func() {}
	}
	_, span := t.tracer.Start(ctx, name)
	return func() { span.End() }
}

// Push is what one Envoy is given for a change. Its Ended is called once.
type Push struct {
	change       *change
	node, digest string
	start        time.Time
	sampled      bool
}

// Push begins what an Envoy is given for the change of the context; nil where there is none.
func (t *Tracer) Push(ctx context.Context, node, digest string) *Push {
	if t == nil {
		return nil
	}
	c, _ := ctx.Value(changeKey{}).(*change)
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given++
	c.open++
	return &Push{c, node, digest, time.Now(), c.given <= mostPushes}
}

// Ended says what became of it. It does not block.
func (p *Push) Ended(outcome, words string) {
	c := p.change
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[outcome]++
	bad := outcome == refused
	if bad && !p.sampled && c.refused < mostRefused {
		c.refused++
		p.sampled = true
	}
	if p.sampled {
		_, span := c.tracer.Start(c.ctx, "push", trace.WithTimestamp(p.start), trace.WithAttributes(
			attribute.String("pavise.node", p.node), attribute.String("pavise.digest", p.digest), attribute.String("pavise.outcome", outcome),
		))
		if bad {
			span.SetStatus(codes.Error, strings.ToValidUTF8(words[:min(len(words), mostWords)], "\ufffd"))
		}
		span.End()
	}
	c.open--
	c.rolledOut()
}
