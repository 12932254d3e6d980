// Package history keeps flows for longer than memory does, in a file of bbolt, a database in
// pure Go. Which of these do you want: without it, flows are those of the last hour and end
// with the process; with it, they are on disk for as long as there is room. At scale, send
// decisions to an engine of your own instead (internal/decisions/otlp).
//
// A file belongs to one process. What is written is on disk when Write returns. A file that
// is damaged is moved aside and named in the log, and a new one is begun.
package history

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"pavise.dev/pavise/admin/flows"
)

// Config of a File. Path has to be set.
type Config struct {
	// Path of the file, whose folder exists. It is made with mode 0600.
	Path string
	// MaxBytes bounds the file, in octets; 256 MiB when 0, and at least 4 MiB. What is
	// oldest goes first.
	MaxBytes int64
	// MaxAge is how long a flow is kept after its last decision; 30 days when 0.
	MaxAge time.Duration
	// Every is how often Run writes; 1 minute when 0. What happened since the last time is
	// lost when the process is killed.
	Every time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Log is told of a damaged file and of what cannot be written. nil is silent.
	Log *slog.Logger
}

const (
	lockTimeout = time.Second
	batch       = 500    // flows written in one transaction
	mostLooked  = 50_000 // entries that one Query looks at
	// allocSize is by how much the file grows at a time.
	allocSize = 256 << 10
	// overhead is what bbolt needs for an entry besides its octets, roughly.
	overhead = 96
)

var (
	byLast  = []byte("flows") // last, first, id: the flow in JSON
	byFirst = []byte("index") // first, id: last
	meta    = []byte("meta")
	octets  = []byte("octets") // of all entries
)

// File is a history. Its methods may be called from any goroutine.
type File struct {
	c     Config
	db    *bbolt.DB
	aside string
	gone  [2]atomic.Uint64 // by age, by size
}

// Open opens a file or makes one. It reads all of it, to know that it is sound. It is an error
// if another process has it.
func Open(c Config) (*File, error) {
	c.MaxBytes = cmp.Or(c.MaxBytes, 256<<20)
	c.MaxAge = cmp.Or(c.MaxAge, 30*24*time.Hour)
	c.Every = cmp.Or(c.Every, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Path == "" || c.MaxBytes < 4<<20 || c.MaxAge < 0 || c.Every < 0 {
		return nil, fmt.Errorf("history of flows %q: it needs a path, at least 4 MiB (not %d octets), and times that are not negative", c.Path, c.MaxBytes)
	}
	f := &File{c: c}
	err := f.open()
	if err == nil {
		return f, nil
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("history of flows %s: another process has it open: give each its own file", c.Path)
	}
	if system := syscall.Errno(0); errors.As(err, &system) || errors.Is(err, berrors.ErrVersionMismatch) {
		return nil, fmt.Errorf("history of flows %s: %w", c.Path, err) // which says nothing about what is in it
	}
	f.aside = c.Path + ".damaged"
	c.Log.Error("the history of flows is damaged; a new one is begun", "file", c.Path, "moved_to", f.aside, "error", err)
	if rerr := os.Rename(c.Path, f.aside); rerr != nil {
		return nil, fmt.Errorf("history of flows %s is damaged (%w) and cannot be moved aside: %w", c.Path, err, rerr)
	}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("history of flows %s: %w", c.Path, err)
	}
	return f, nil
}

func (f *File) open() error {
	return guard(func() error {
		db, err := bbolt.Open(f.c.Path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
		if err != nil {
			return err
		}
		db.AllocSize = allocSize
		if err := sound(db); err != nil {
			return errors.Join(err, db.Close())
		}
		f.db = db
		return nil
	})
}

// sound reads all of a database, and makes what a new one needs.
func sound(db *bbolt.DB) error {
	return guard(func() error {
		if err := db.View(func(tx *bbolt.Tx) error {
			info, err := os.Stat(db.Path())
			if err != nil {
				return err
			}
			if info.Size() < tx.Size() { // what is mapped beyond the end cannot be read
				return fmt.Errorf("it has %d octets, and %d belong to it", info.Size(), tx.Size())
			}
			var first error
			for err := range tx.Check() { // it has to be read to its end
				if first == nil {
					first = err
				}
			}
			return first
		}); err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{byLast, byFirst, meta} {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// guard makes an error of a panic, and of a fault in mapped memory: what a disk gives back may
// be anything.
func guard(do func() error) (err error) {
	was := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(was)
		if p := recover(); p != nil {
			err = fmt.Errorf("the file cannot be read: %v", p)
		}
	}()
	return do()
}

// MovedAside is where a damaged file was moved to; empty if there was none.
func (f *File) MovedAside() string { return f.aside }

// Close waits for those who read and write. Nothing can be done with the file after it.
func (f *File) Close() error { return f.db.Close() }

// Run writes the flows of a store again and again, and once more when the context ends. What
// cannot be written is tried with the next time, and told.
func (f *File) Run(ctx context.Context, s *flows.Store) error {
	tick := time.NewTicker(f.c.Every)
	defer tick.Stop()
	var since time.Time
	for {
		ending := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			ending = true
		}
		// A decision may come with a time that lies back a little.
		next := f.c.Now().Add(-2 * f.c.Every)
		err := f.Save(s, since)
		if err == nil {
			since = next
		} else {
			f.c.Log.Warn("flows could not be written to their history", "file", f.c.Path, "error", err)
		}
		if ending {
			return err
		}
	}
}

// Save writes the flows of a store that had a decision since then.
func (f *File) Save(s *flows.Store, since time.Time) error {
	some := make([]flows.Flow, 0, batch)
	for fl := range s.All(flows.Filter{Since: since}) {
		if some = append(some, fl); len(some) == batch {
			if err := f.Write(some); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	return f.Write(some)
}

// Write keeps flows as they are now, in place of what is kept of them, and removes what is too
// old or too much. All of them are on disk when it returns; with an error, some may be.
func (f *File) Write(some []flows.Flow) error {
	for {
		n, err := f.writeFirst(some)
		if err != nil {
			return fmt.Errorf("history of flows %s: %w", f.c.Path, err)
		}
		if some = some[n:]; len(some) == 0 {
			return nil
		}
	}
}

// writeFirst writes the first of the flows, as many as one transaction may have, and says how
// many that were.
func (f *File) writeFirst(some []flows.Flow) (n int, err error) {
	var gone [2]uint64
	err = guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			t := table{tx.Bucket(byLast), tx.Bucket(byFirst), 0}
			t.byLast.FillPercent, t.byFirst.FillPercent = 0.9, 0.9 // most are put behind the last one
			if b := tx.Bucket(meta).Get(octets); len(b) == 8 {
				t.octets = signed(b)
			}
			var octetsOf int64
			for ; n < len(some) && n < batch && octetsOf < f.c.MaxBytes/32; n++ {
				size, err := t.put(&some[n])
				if err != nil {
					return err
				}
				octetsOf += size
			}
			var err error
			if gone, err = t.trim(f.c.Now().Add(-f.c.MaxAge), f.c.MaxBytes/5*2); err != nil {
				return err
			}
			return tx.Bucket(meta).Put(octets, unsigned(t.octets))
		})
	})
	if err == nil {
		f.gone[0].Add(gone[0])
		f.gone[1].Add(gone[1])
	}
	return n, err
}

// table is what is in the file, during a transaction.
type table struct {
	byLast, byFirst *bbolt.Bucket
	octets          int64
}

func (t *table) put(fl *flows.Flow) (int64, error) {
	id, err := hex.DecodeString(fl.ID)
	if err != nil || len(id) != 8 {
		return 0, fmt.Errorf("flow %q: it is no id of a flow, 16 hexadecimal digits", fl.ID)
	}
	value, err := json.Marshal(fl)
	if err != nil {
		return 0, fmt.Errorf("flow %s: %w", fl.ID, err)
	}
	identity := append(number(fl.First), id...)
	if last := t.byFirst.Get(identity); last != nil {
		if err := t.remove(append(append([]byte{}, last...), identity...)); err != nil {
			return 0, err
		}
	}
	key := append(number(fl.Last), identity...)
	t.octets += size(key, value)
	return size(key, value), errors.Join(t.byLast.Put(key, value), t.byFirst.Put(identity, number(fl.Last)))
}

func (t *table) remove(key []byte) error {
	t.octets -= size(key, t.byLast.Get(key))
	return errors.Join(t.byLast.Delete(key), t.byFirst.Delete(key[8:]))
}

// trim removes what is older, and then the oldest until the rest fits. Two fifths of the file are
// for entries: pages are not full, and a transaction copies those that it changes.
func (t *table) trim(before time.Time, most int64) (gone [2]uint64, err error) {
	for {
		key, _ := t.byLast.Cursor().First()
		switch {
		case key == nil:
			return gone, nil
		case len(key) == 24 && signed(key) < before.UnixNano():
			gone[0]++
		case t.octets > most || len(key) != 24:
			gone[1]++
		default:
			return gone, nil
		}
		if err := t.remove(append([]byte{}, key...)); err != nil {
			return gone, err
		}
	}
}

func size(key, value []byte) int64 { return int64(2*len(key)+len(value)) + overhead }

// number has the order of times from 1970 on, of which flows are.
func number(t time.Time) []byte { return unsigned(t.UnixNano()) }

func unsigned(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)) //nolint:gosec // and back, in signed
}

func signed(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) } //nolint:gosec // of unsigned

// Query returns at most limit flows that match, those with the newest decision first, after
// the place that an earlier call returned; "" is the beginning. next is "" at the end. One
// call looks at 50,000 flows; where few match, it may return less than limit, even
// nothing, and a next.
func (f *File) Query(filter flows.Filter, after string, limit int) (found []flows.Flow, next string, err error) {
	if limit < 1 || limit > flows.MaxLimit {
		return nil, "", &flows.FieldError{Field: "limit", Message: fmt.Sprintf("%d is not from 1 to %d", limit, flows.MaxLimit)}
	}
	from, err := hex.DecodeString(after)
	if err != nil || len(from) != 0 && len(from) != 24 {
		return nil, "", &flows.FieldError{Field: "cursor", Message: "it is the next of an earlier page, 48 hexadecimal digits"}
	}
	err = guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(byLast).Cursor()
			key, value := c.Last()
			if len(from) > 0 {
				if key, _ = c.Seek(from); key == nil {
					key, value = c.Last()
				} else {
					key, value = c.Prev()
				}
			}
			for looked := 0; key != nil; key, value = c.Prev() {
				if !filter.Since.IsZero() && len(key) == 24 && signed(key) < filter.Since.UnixNano() {
					return nil // and so is all that comes after it
				}
				var fl flows.Flow
				if err := json.Unmarshal(value, &fl); err != nil {
					return fmt.Errorf("entry %x: %w", key, err)
				}
				if filter.Match(&fl) {
					found = append(found, fl)
				}
				if looked++; looked == mostLooked || len(found) == limit {
					next = hex.EncodeToString(key)
					return nil
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, "", fmt.Errorf("history of flows %s: %w", f.c.Path, err)
	}
	return found, next, nil
}

// Stats are those of a file.
type Stats struct {
	// Flows are kept, in a file of Bytes octets.
	Flows int
	Bytes int64
	// TooOld and TooMuch flows were removed since Open.
	TooOld, TooMuch uint64
}

// Stats counts what is in the file.
func (f *File) Stats() (s Stats, err error) {
	s.TooOld, s.TooMuch = f.gone[0].Load(), f.gone[1].Load()
	err = guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			s.Flows, s.Bytes = tx.Bucket(byFirst).Stats().KeyN, tx.Size()
			return nil
		})
	})
	return s, err
}
