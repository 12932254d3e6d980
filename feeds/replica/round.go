package replica

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// round asks what is in force and brings it into force here. What it brought so far stays
// for the next, which takes a broken download up where it ended.
func (f *Follower) round(ctx context.Context) error {
	f.look(ctx)
	o, err := f.ask(ctx)
	switch {
	case err != nil:
		return err
	case o == nil || f.have.file != nil && o.digest == f.have.digest:
		return f.tidy("")
	case f.refused != nil && o.digest == f.refusedDigest:
		return errors.Join(f.refused, f.tidy("")) // it would be again
	case o.size > f.c.MaxBytes:
		return failed(OverLimit, "snapshot %s has %d octets, and at most %d are taken: raise MaxBytes", o.digest, o.size, f.c.MaxBytes)
	}
	path, steps, err := f.bring(ctx, o)
	if err != nil {
		if kindOf(err) == Refused {
			f.refused, f.refusedDigest = err, o.digest
		}
		return err
	}
	if err := f.place(path, o.digest); err != nil {
		return err
	}
	f.update(func(s *State) {
		if s.Deltas += steps; steps == 0 {
			s.Wholes++
		}
	})
	return f.tidy("")
}

// ask returns what is offered, nil for what is in force.
func (f *Follower) ask(ctx context.Context) (*offer, error) {
	f.update(func(s *State) { s.Rounds++ })
	head, path, patience := map[string]string{}, currentPath, f.c.Patience
	if f.have.file != nil {
		head["If-None-Match"] = weakTag(f.have.digest)
		if f.c.Wait > 0 {
			path += "?wait=" + strconv.Itoa(int(f.c.Wait/time.Second))
			patience += f.c.Wait
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, failed(Timeout, "the server of the feeds did not answer in %s", patience))
	defer cancel()
	resp, err := f.remote.get(ctx, path, head, http.StatusOK, http.StatusNotModified)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		if f.have.file == nil {
			return nil, failed(Protocol, "the server of the feeds says that nothing changed, and was not asked that")
		}
		f.update(func(s *State) { s.NotModified++ })
		return nil, nil
	}
	o, err := readOffer(resp.Body)
	if err != nil {
		return nil, broken(ctx, Protocol, "what the server of the feeds says is in force", err)
	}
	return o, nil
}

// bring returns a file that is what is offered, and of how many deltas it was made.
func (f *Follower) bring(ctx context.Context, o *offer) (path string, steps uint64, err error) {
	whole := f.temp("%s", hexOf(o.digest))
	if err := f.tidy(filepath.Base(whole)); err != nil {
		return "", 0, err
	}
	if f.have.file != nil {
		if way := o.path(f.have.digest, min(f.c.MaxDelta, o.size/2)); len(way) > 0 {
			path, err := f.patch(ctx, o, way)
			if err == nil || ctx.Err() != nil || !instead(kindOf(err)) {
				return path, uint64(len(way)), err
			}
			f.count(err)
			f.c.Logger.Warn("the feeds cannot be taken as a delta; the whole is fetched", "kind", kindOf(err), "error", err)
			if err := f.tidy(filepath.Base(whole)); err != nil {
				return "", 0, err
			}
		}
	}
	if err := f.download(ctx, urlOf(o.digest), strongTag(o.digest), whole, o.size); err != nil {
		return "", 0, err
	}
	if err := f.prove(ctx, &task{Path: whole, Digest: o.digest.String()}); err != nil {
		// What a worker could not judge is judged again, and not fetched again.
		if ctx.Err() == nil && kindOf(err) != Worker {
			_ = os.Remove(whole) // or tidy does
		}
		return "", 0, err
	}
	return whole, 0, nil
}

// instead says whether the whole may be had where a delta was not.
func instead(k Kind) bool {
	switch k {
	case Status, Redirect, Protocol, OverLimit, Digest, Delta, Damaged, Worker:
		return true
	}
	return false
}

// patch makes what is offered of what is in force, one delta after the other.
func (f *Follower) patch(ctx context.Context, o *offer, way []step) (string, error) {
	old := f.path
	for i, s := range way {
		delta, made := f.temp("delta-%d", i), f.temp("made-%d", i)
		if err := f.download(ctx, s.url(), s.tag(), delta, s.size); err != nil {
			return "", err
		}
		t := &task{Old: old, Delta: delta, Path: made, Digest: s.to.String()}
		do := f.work
		if i == len(way)-1 {
			do = f.prove
		}
		if err := do(ctx, t); err != nil {
			return "", err
		}
		info, err := os.Stat(made)
		if err != nil {
			return "", failed(Disk, "%w", err)
		}
		if size := info.Size(); size > f.c.MaxBytes || i == len(way)-1 && size != o.size {
			return "", failed(OverLimit, "a delta makes %d octets; %d are announced, and at most %d are taken", size, o.size, f.c.MaxBytes)
		}
		if old != f.path {
			_ = os.Remove(old) // or tidy does
		}
		old = made
	}
	return old, nil
}

// prove has a file proven that is to be in force.
func (f *Follower) prove(ctx context.Context, t *task) error {
	t.Check, t.Never = true, f.c.Never
	if err := f.work(ctx, t); err != nil {
		return failed(kindOf(err), "what came for snapshot %s: %w", t.Digest, err)
	}
	if f.c.Check != nil {
		if err := f.c.Check(ctx, t.Path); err != nil {
			return failed(Refused, "snapshot %s is refused here: %w", t.Digest, err)
		}
	}
	return nil
}
