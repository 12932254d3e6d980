package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"pavise.dev/pavise/internal/secret"
)

// Reviewer tells nodes by tokens. It is safe for concurrent use.
type Reviewer struct {
	c       Config
	nodes   *cache
	refused *cache
	flight  singleflight.Group
	slots   chan struct{}
	rate    *rate.Limiter

	waiting                                            atomic.Int64
	hits, refusals, reviews, failures, full, malformed atomic.Uint64
}

// New makes a Reviewer.
func New(c Config) (*Reviewer, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	return &Reviewer{
		c: c, nodes: newCache(c.Kept), refused: newCache(c.Kept),
		slots: make(chan struct{}, c.Concurrent), rate: rate.NewLimiter(rate.Limit(c.QPS), c.QPS),
	}, nil
}

// Node is the pod whose token this is, NAMESPACE/POD, and when the token expires. The error
// is [ErrRefused], [ErrUnavailable] or that of ctx. The API server is asked at most once for
// a token at a time, whoever asks; a caller that gives up does not end the review for others.
func (r *Reviewer) Node(ctx context.Context, token string) (node string, expires time.Time, err error) {
	if err := wellFormed(token); err != nil {
		r.malformed.Add(1)
		return "", time.Time{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	k := key(sha256.Sum256([]byte(token)))
	now := r.c.now()
	if a := r.nodes.get(k, now); a != nil {
		if r.lives(a) {
			r.hits.Add(1)
			return a.node(), a.expires, nil
		}
		r.nodes.drop(k)
	}
	if a := r.refused.get(k, now); a != nil {
		r.hits.Add(1)
		return "", time.Time{}, a.err
	}
	a, err := r.reviewed(ctx, k, token)
	if err != nil {
		return "", time.Time{}, err
	}
	return a.node(), a.expires, nil
}

// lives says of an answer that was kept, whether its pod still is the one it was.
func (r *Reviewer) lives(a *answer) bool {
	if r.c.Pod == nil {
		return true
	}
	uid, known := r.c.Pod(a.namespace, a.pod)
	return known && uid == a.uid
}

// reviewed waits for the one review of the token.
func (r *Reviewer) reviewed(ctx context.Context, k key, token string) (*answer, error) {
	if r.waiting.Add(1) > int64(r.c.Waiting) {
		r.waiting.Add(-1)
		r.full.Add(1)
		return nil, fmt.Errorf("%w: %d tokens wait already", ErrUnavailable, r.c.Waiting)
	}
	defer r.waiting.Add(-1)
	done := r.flight.DoChan(string(k[:]), func() (any, error) {
		return r.limited(k, secret.New(token))
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case res := <-done:
		if res.Err != nil {
			return nil, res.Err
		}
		return res.Val.(*answer), nil
	}
}

// limited asks for a review when there is room for one, and keeps the answer.
func (r *Reviewer) limited(k key, token secret.String) (*answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.c.Timeout)
	defer cancel()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: no room for a review within %v", ErrUnavailable, r.c.Timeout)
	case r.slots <- struct{}{}:
	}
	defer func() { <-r.slots }()
	if err := r.rate.Wait(ctx); err != nil {
		return nil, fmt.Errorf("%w: no room for a review within %v", ErrUnavailable, r.c.Timeout)
	}
	r.reviews.Add(1)
	a, err := r.review(ctx, token)
	if err != nil {
		r.failures.Add(1)
		r.c.Log.Warn("a token was not reviewed", "error", err)
		return nil, err
	}
	now := r.c.now()
	if a.err != nil {
		r.refusals.Add(1)
		r.refused.put(k, a, now.Add(r.c.RefusedTTL))
		return nil, a.err
	}
	if r.c.Pod != nil {
		// The API server has just seen this very pod, so another UID means that news of it have
		// not come here yet.
		if uid, known := r.c.Pod(a.namespace, a.pod); known && uid != a.uid {
			return nil, fmt.Errorf("%w: pod %s was replaced a moment ago", ErrUnavailable, a.node())
		}
	}
	until := now.Add(r.c.TTL)
	if a.expires.Before(until) {
		until = a.expires
	}
	if until.After(now) {
		r.nodes.put(k, a, until)
	}
	return a, nil
}

// Stats are counters since the start, and what there is at present.
type Stats struct {
	// Reviews that the API server was asked for; of them Failures had no answer, and Refusals
	// said no.
	Reviews, Failures, Refusals uint64
	// Hits were answered from what is kept, Malformed without asking.
	Hits, Malformed uint64
	// Full were sent away because too many waited.
	Full uint64
	// Waiting tokens, and Kept answers.
	Waiting, Kept int
}

// Stats returns the counters.
func (r *Reviewer) Stats() Stats {
	return Stats{
		Reviews: r.reviews.Load(), Failures: r.failures.Load(), Refusals: r.refusals.Load(),
		Hits: r.hits.Load(), Malformed: r.malformed.Load(), Full: r.full.Load(),
		Waiting: int(r.waiting.Load()), Kept: r.nodes.len() + r.refused.len(),
	}
}

// without takes a token out of what somebody else wrote.
func without(token secret.String, s string) string {
	s = strings.ReplaceAll(s, token.Reveal(), secret.Redacted)
	// A part of it would do for a signature to be found out, or claims to be read.
	for part := range strings.SplitSeq(token.Reveal(), ".") {
		if len(part) >= 16 {
			s = strings.ReplaceAll(s, part, secret.Redacted)
		}
	}
	return fmt.Sprintf("%.300q", s)
}
