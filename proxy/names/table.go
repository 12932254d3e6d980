package names

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a table; what is zero has its default.
type Options struct {
	// Slots is how many addresses it has room for, a power of two from 8 to 1,048,576.
	// Default 8192, which are 4 MiB.
	Slots int
	// MinTTL and MaxTTL bound what an answer says of itself, at most 24 hours. Defaults
	// 1 minute and 1 hour.
	MinTTL, MaxTTL time.Duration
	// Grace is how much longer a name holds, at most 24 hours. Default 5 minutes; negative
	// is none.
	Grace time.Duration
}

const longest = 24 * time.Hour

func (o *Options) setDefaults() error {
	if o.Slots == 0 {
		o.Slots = 8192
	}
	if o.MinTTL == 0 {
		o.MinTTL = time.Minute
	}
	if o.MaxTTL == 0 {
		o.MaxTTL = time.Hour
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Minute
	}
	o.Grace = max(o.Grace, 0)
	if !validSlots(int64(o.Slots)) {
		return fmt.Errorf("%d slots: want a power of two from %d to %d", o.Slots, MinSlots, MaxSlots)
	}
	if o.MinTTL < 0 || o.MinTTL > o.MaxTTL || o.MaxTTL > longest || o.Grace > longest {
		return fmt.Errorf("TTL from %s to %s and %s more: want 0 ≤ least ≤ most ≤ %s, and no more than that on top",
			o.MinTTL, o.MaxTTL, o.Grace, longest)
	}
	return nil
}

// Table is the writer's side. There is one for a file, in all processes.
type Table struct {
	o    Options
	now  func() time.Duration // since boot
	kept bool

	mu         sync.Mutex
	file       *os.File
	data       []byte
	slots      slots
	old, fresh record // what Learn works with

	learnt, refused, evicted, displaced atomic.Uint64
}

// Create opens the table at path, or makes it. One that is there stays, with what is in it,
// if it was made since the machine was started, has the same number of slots and is the
// caller's own; otherwise a new one takes its place, and readers have to open that. Another
// process that has it open is an error.
//
// The file is readable for everybody: Envoy may run as somebody else. Its folder should not
// be one that anybody else can write to.
func Create(path string, o Options) (*Table, error) {
	if err := o.setDefaults(); err != nil {
		return nil, fmt.Errorf("table of names %s: %w", path, err)
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("table of names %s: which boot this is: %w", path, err)
	}
	t := &Table{o: o, now: sinceBoot}
	want := header{slots: uint32(o.Slots), boot: boot} //nolint:gosec // within bounds
	// Another process may put a file there in between, but hardly more than once.
	for range 3 {
		if err = t.open(path, want); !errors.Is(err, errMoved) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("table of names %s: %w", path, err)
	}
	t.repair()
	return t, nil
}

// Kept says whether the table was there before.
func (t *Table) Kept() bool { return t.kept }

var errMoved = errors.New("another process puts files there")

// open takes what is at path if it will do, and else replaces it.
func (t *Table) open(path string, want header) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return t.make(path, want, os.Link)
	case err != nil:
		// A symbolic link, a folder, or one that is not ours to write to.
		return t.make(path, want, os.Rename)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errors.New("another process writes it: there is to be one agent for a folder")
		}
		return fmt.Errorf("lock: %w", err)
	}
	if stale, err := moved(f, path); err != nil || stale {
		_ = f.Close()
		return errors.Join(err, errMoved)
	}
	h, err := readHeader(f)
	if err != nil || h.slots != want.slots || h.boot != want.boot || !ownFile(f) {
		defer f.Close() // and with it its lock, when the other is in place
		return t.make(path, want, os.Rename)
	}
	t.kept = true
	return t.use(f, h)
}

// make writes a table without names and puts it in its place, whole.
func (t *Table) make(path string, h header, put func(from, to string) error) (err error) {
	if _, err := rand.Read(h.key[:]); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone already if it was moved
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	// Zeros are written, not left out: a full disk shows here and not at a store into the
	// mapping, which would end the process.
	if _, err := f.Write(h.marshal()); err != nil {
		return err
	}
	zeros := make([]byte, ways*slotSize)
	for range h.slots / ways {
		if _, err := f.Write(zeros); err != nil {
			return err
		}
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := put(f.Name(), path); err != nil {
		if errors.Is(err, os.ErrExist) {
			return errMoved
		}
		return err
	}
	return t.use(f, h)
}

func (t *Table) use(f *os.File, h header) error {
	data, err := unix.Mmap(int(f.Fd()), 0, int(fileSize(h.slots)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("map %d octets: %w", fileSize(h.slots), err)
	}
	t.file, t.data, t.slots = f, data, newSlots(&h, data[headerSize:])
	return nil
}

// repair empties what a writer that was killed had begun.
func (t *Table) repair() {
	for i := range uint64(t.o.Slots) { //nolint:gosec // within bounds
		if s := t.slots.at(i); atomic.LoadUint64(&s[0])&1 != 0 {
			s.write(&record{})
		}
	}
}

// Close lets go of the file, which stays, with what is in it.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(t.data), t.file.Close())
	t.file, t.data, t.slots = nil, nil, slots{}
	return err
}

// Stats count since Create.
type Stats struct {
	// Learnt answers, and Refused ones: see Learn.
	Learnt, Refused uint64
	// Evicted addresses gave way to others before their time was over, Displaced names to
	// others of the same address.
	Evicted, Displaced uint64
}

// Stats may be called from any number of goroutines.
func (t *Table) Stats() Stats {
	return Stats{t.learnt.Load(), t.refused.Load(), t.evicted.Load(), t.displaced.Load()}
}
