package feeds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/feeds/parse"
	"pavise.dev/pavise/feeds/snapshot"
)

// body is a feed with what is in force of it.
type body struct {
	feed  *Feed
	guard *guard.Guard
	path  string // empty where nothing is in force
	// digest that the body has to have, and whether it takes entries of its own out.
	digest     string
	exceptions bool
	progress   func(octets int64) // may be nil
}

// errAltered says that a body is not what was fetched.
var errAltered = errors.New("the body on disk is not the one that was fetched")

// bodyError says which feed's body could not be read.
type bodyError struct {
	name string
	err  error
}

func (e *bodyError) Error() string { return fmt.Sprintf("feed %s: %v", e.name, e.err) }
func (e *bodyError) Unwrap() error { return e.err }

// builderOf reads the bodies into a Builder. The time is when an entry ends first.
func builderOf(ctx context.Context, bodies []body, key snapshot.Key, now time.Time) (*snapshot.Builder, time.Time, error) {
	var until time.Time
	list := make([]snapshot.Feed, len(bodies))
	for i, b := range bodies {
		list[i] = snapshot.Feed{
			Name: b.feed.Name, Action: string(b.feed.Spec.Action.OrDefault()), Direction: string(b.feed.Spec.Direction.OrDefault()),
			Digest: b.digest, Required: b.feed.Spec.Required, Loaded: b.path != "",
		}
	}
	if key == (snapshot.Key{}) {
		key = snapshot.KeyOf(list)
	}
	out, err := snapshot.NewBuilder(list, key)
	if err != nil {
		return nil, until, err
	}
	for i, b := range bodies {
		if b.path == "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, until, err
		}
		ends, err := b.add(out, i, now)
		if err != nil {
			return nil, until, &bodyError{b.feed.Name, err}
		}
		if until.IsZero() || !ends.IsZero() && ends.Before(until) {
			until = ends
		}
	}
	return out, until, nil
}

// add reads one body into a Builder, as feed number n.
func (b *body) add(out *snapshot.Builder, n int, now time.Time) (time.Time, error) {
	r := &reader{b.feed, b.guard, now}
	var own []netip.Prefix
	if b.exceptions {
		// They may come after what they take out.
		_, err := r.readFile(b.path, func(e *parse.Entry) error {
			if e.Except && e.Prefix.IsValid() {
				own = append(own, e.Prefix)
			}
			return nil
		})
		if err != nil {
			return time.Time{}, err
		}
	}
	except, err := newExcepted(b.feed.Spec.Except.CIDRs, own)
	if err != nil {
		return time.Time{}, err
	}
	for _, d := range b.feed.Spec.Except.Domains {
		name, err := api.CanonicalHost(d)
		if err == nil {
			err = out.AddException(n, []byte(name), 0)
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("except.domains: %w", err)
		}
	}
	f, err := os.Open(b.path)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	sum := &summed{from: f, sum: sha256.New(), progress: b.progress}
	got, err := r.read(sum, func(e *parse.Entry) error {
		switch {
		case e.Prefix.IsValid() && e.Except:
			return nil
		case e.Prefix.IsValid() && except.set == nil:
			return out.AddPrefix(n, e.Prefix, e.Line)
		case e.Prefix.IsValid():
			return except.each(e.Prefix, func(p netip.Prefix) error { return out.AddPrefix(n, p, e.Line) })
		case e.Except:
			return out.AddException(n, e.Domain, e.Line)
		default:
			return out.AddDomain(n, e.Domain, snapshot.Match(e.Match), e.Line)
		}
	})
	if err != nil {
		return time.Time{}, err
	}
	if b.digest != "" && sum.digest() != b.digest {
		return time.Time{}, errAltered
	}
	return got.until, nil
}

// summed computes the digest of what is read.
type summed struct {
	from     io.Reader
	sum      hash.Hash
	progress func(int64)
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.sum.Write(p[:n])
	if s.progress != nil {
		s.progress(int64(n))
	}
	return n, err
}

func (s *summed) digest() string { return "sha256:" + hex.EncodeToString(s.sum.Sum(nil)) }

// File is one file to compile, for who has files and no folder of a Manager.
type File struct {
	Feed Feed
	Path string
	// Progress, if not nil, is told how many octets were read since it was last told. A
	// file is read twice.
	Progress func(octets int64)
}

// CompileFiles compiles files into a snapshot at a path. Guards leave entries out and
// do not refuse files; what they left out is in the statuses, which are in the order of
// the files. The same files give the same snapshot on every machine.
func CompileFiles(ctx context.Context, files []File, path string, now time.Time) (snapshot.Info, []Status, error) {
	bodies := make([]body, len(files))
	statuses := make([]Status, len(files))
	places := guard.NewPlaces()
	for i := range files {
		f := &files[i]
		g, err := guard.For(&f.Feed.Spec, places)
		if err != nil {
			return snapshot.Info{}, nil, fmt.Errorf("feed %s: %w", f.Feed.Name, err)
		}
		st, err := survey(&reader{&f.Feed, g, now}, f.Path, f.Progress)
		if err != nil {
			return snapshot.Info{}, nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		statuses[i] = statusOf(&f.Feed, &st, now)
		bodies[i] = body{feed: &f.Feed, guard: g, path: f.Path, digest: st.Digest, exceptions: st.Exceptions > 0, progress: f.Progress}
	}
	b, _, err := builderOf(ctx, bodies, snapshot.Key{}, now)
	if err != nil {
		return snapshot.Info{}, statuses, err
	}
	info, err := snapshot.Save(path, b)
	return info, statuses, err
}

// survey reads a body without taking its entries.
func survey(r *reader, path string, progress func(int64)) (state, error) {
	f, err := os.Open(path)
	if err != nil {
		return state{}, err
	}
	defer f.Close()
	sum := &summed{from: f, sum: sha256.New(), progress: progress}
	got, err := r.read(sum, func(*parse.Entry) error { return nil })
	if err != nil {
		return state{}, err
	}
	return state{
		Body: filepath.Base(path), Digest: sum.digest(), Format: got.format,
		Counts: got.counts, Left: got.left, Exceptions: got.exceptions, ReadAs: readingOf(&r.feed.Spec),
		FirstSuccess: r.now, LastSuccess: r.now, LastChange: r.now,
	}, nil
}
