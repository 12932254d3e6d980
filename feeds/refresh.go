package feeds

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/guard"
)

// keeper keeps one feed: what it is, and what is known of it. Only one goroutine
// refreshes it at a time.
type keeper struct {
	feed   Feed
	guard  *guard.Guard
	places *guard.Places
	dir    string // of the Manager
}

// as is the feed, with its guard, for a body that was read in another way than it would be
// now.
func (k *keeper) as(r reading) (Feed, *guard.Guard) {
	feed := k.feed
	r.apply(&feed.Spec)
	g, err := guard.For(&feed.Spec, k.places)
	if err != nil {
		return k.feed, k.guard // not as it was written
	}
	return feed, g
}

// refreshed is what a refresh came to.
type refreshed struct {
	state   state
	changed bool // another body is in force
}

// refresh fetches the feed and, if something new came and is believed, makes it the last
// good. Whatever happens is in the state that it returns and has written; the error is
// only that of writing the state. accept takes a feed that shrank or grew too much.
func (k *keeper) refresh(ctx context.Context, c *fetch.Client, secrets Secrets, st state, accept bool, now time.Time) (refreshed, error) {
	before := st
	st.Origin = k.feed.origin()
	st.LastAttempt = now
	wait, err := k.attempt(ctx, c, secrets, &st, accept, now)
	if ctx.Err() != nil {
		return refreshed{before, false}, ctx.Err() // stopped, which says nothing of the feed
	}
	if err != nil {
		// Nothing of what came counts, and everything of before stands.
		next := before
		next.Origin, next.LastAttempt = st.Origin, now
		next.Failures++
		next.Error = err.Error()
		var refused *guard.Refused
		next.Refused = errors.As(err, &refused)
		next.NextAttempt = now.Add(k.backoff().Wait(next.Failures, wait))
		st = next
	} else {
		st.Failures, st.Error, st.Refused = 0, "", false
		st.LastSuccess = now
		if st.FirstSuccess.IsZero() {
			st.FirstSuccess = now
		}
		st.NextAttempt = now.Add(max(k.interval(), wait))
	}
	return refreshed{st, st.Body != before.Body}, writeState(k.dir, k.feed.Name, st)
}

// interval is the time to the next fetch, with jitter.
func (k *keeper) interval() time.Duration {
	d := k.feed.Spec.Interval()
	if j := k.feed.Spec.Jitter(); j > 0 {
		d += rand.N(j) //nolint:gosec // spreads fetches, and hides nothing
	}
	return d
}

// backoff begins at an eighth of the interval and never goes above it: a feed that failed
// is not asked more often than one that works.
func (k *keeper) backoff() fetch.Backoff {
	d := k.feed.Spec.Interval()
	return fetch.Backoff{Min: min(max(d/8, time.Second), time.Minute), Max: d}
}

// attempt fetches, reads, checks and keeps what came. It returns how long the server wants
// to be left alone.
func (k *keeper) attempt(ctx context.Context, c *fetch.Client, secrets Secrets, st *state, accept bool, now time.Time) (time.Duration, error) {
	src, err := k.feed.source(secrets)
	if err != nil {
		return 0, err
	}
	folder := dirOf(k.dir, k.feed.Name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, err
	}
	incomingFile, err := os.CreateTemp(folder, incoming)
	if err != nil {
		return 0, err
	}
	temp := incomingFile.Name()
	defer os.Remove(temp) // of no consequence once it was renamed
	defer incomingFile.Close()
	validators := st.Validators
	if !k.intact(st) {
		validators = fetch.Validators{} // "not modified" would be about something that is not there
	}
	got, err := c.Fetch(ctx, src, validators, incomingFile)
	if err != nil {
		return retryAfter(err), fetchError(err)
	}
	if got.NotModified {
		return got.RetryAfter, nil
	}
	if err := incomingFile.Sync(); err != nil {
		return 0, err
	}
	if got.Digest == st.Digest && k.intact(st) {
		st.Validators = got.Validators // the same again, by another name
		return got.RetryAfter, nil
	}
	r := &reader{&k.feed, k.guard, now}
	next, err := survey(r, temp, nil)
	if err != nil {
		return got.RetryAfter, contentHint(err, got.ContentType)
	}
	if next.Digest != got.Digest {
		return 0, errAltered
	}
	prev := st.Counts
	if st.Body == "" || accept {
		prev = guard.Counts{}
	}
	if err := k.guard.Whole(prev, next.Counts); err != nil {
		return got.RetryAfter, contentHint(withExample(err, next.Left), got.ContentType)
	}
	return got.RetryAfter, k.keep(r, st, next, got, temp)
}

// withExample adds the first entry that was left out to why a body is not believed.
func withExample(err error, left []api.FeedLeftOut) error {
	var refused *guard.Refused
	if len(left) == 0 || !errors.As(err, &refused) {
		return err
	}
	first := left[0]
	return &guard.Refused{Guard: refused.Guard, Reason: fmt.Sprintf("%s; line %d, %.80q: %s", refused.Reason, first.Line, first.Text, first.Reason)}
}

// intact says whether the last good is there in its full length. Its digest is compared
// when it is compiled.
func (k *keeper) intact(st *state) bool {
	if st.Body == "" {
		return false
	}
	info, err := os.Stat(filepath.Join(dirOf(k.dir, k.feed.Name), st.Body))
	return err == nil && info.Size() == st.Size
}

// keep makes a body that was read and believed the last good.
func (k *keeper) keep(r *reader, st *state, next state, got fetch.Result, temp string) error {
	folder := dirOf(k.dir, k.feed.Name)
	change := Change{To: next.Digest, Added: next.Counts.Entries}
	if k.intact(st) {
		before, g := k.as(st.ReadAs)
		var err error
		if change, err = compare(&reader{&before, g, r.now}, filepath.Join(folder, st.Body), r, temp); err != nil {
			return err
		}
		change.From, change.To = st.Digest, next.Digest
	}
	change.Time, change.Entries = r.now, next.Counts.Entries
	name := bodyPrefix + strings.TrimPrefix(next.Digest, "sha256:")[:32]
	if err := os.Rename(temp, filepath.Join(folder, name)); err != nil {
		return err
	}
	if err := writeChange(k.dir, k.feed.Name, change); err != nil {
		return err
	}
	next.Origin, next.FirstSuccess, next.LastAttempt = st.Origin, st.FirstSuccess, st.LastAttempt
	next.Body, next.Size, next.Validators = name, got.Bytes, got.Validators
	next.Added, next.Removed = change.Added, change.Removed
	*st = next
	return nil
}

func retryAfter(err error) time.Duration {
	var e *fetch.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// fetchError gives a body that broke off the name of its guard.
func fetchError(err error) error {
	var e *fetch.Error
	if errors.As(err, &e) && e.Kind == fetch.Truncated {
		return &guard.Refused{Guard: api.GuardTruncated, Reason: e.Error()}
	}
	return err
}

// contentHint adds what the server claimed to have sent, where that may explain an error.
func contentHint(err error, contentType string) error {
	var refused *guard.Refused
	if !errors.As(err, &refused) || contentType == "" || refused.Guard != api.GuardHTML && refused.Guard != api.GuardNotText && refused.Guard != api.GuardEmpty {
		return err
	}
	return &guard.Refused{Guard: refused.Guard, Reason: fmt.Sprintf("%s (the server calls it %s)", refused.Reason, contentType)}
}
