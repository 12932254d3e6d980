package names

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Reader asks a table that another process may be writing. Its methods may be called from
// any number of goroutines.
type Reader struct {
	path string
	now  func() time.Duration

	mu    sync.RWMutex
	file  *os.File
	data  []byte
	slots slots
}

// Open maps the table at path. What is no table is an error, and what is wrong in its slots
// gives no names: nothing in the file is trusted.
func Open(path string) (*Reader, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(fileSize(h.slots)), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: map %d octets: %w", path, fileSize(h.slots), err)
	}
	return &Reader{path: path, now: sinceBoot, file: f, data: data, slots: newSlots(&h, data[headerSize:])}, nil
}

func readHeader(f *os.File) (h header, err error) {
	info, err := f.Stat()
	if err != nil {
		return h, err
	}
	if !info.Mode().IsRegular() {
		return h, errors.New("not a regular file")
	}
	b := make([]byte, headerSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h, err
	}
	err = h.unmarshal(b[:n], info.Size())
	return h, err
}

// Name is one that an address was answered for.
type Name struct {
	Name string
	// Left is how long it holds, in whole seconds.
	Left time.Duration
}

// Names appends those of an address that hold, the one that was learnt last first. An
// IPv4-mapped address is the IPv4 one. After Close there are none.
func (r *Reader) Names(dst []Name, addr netip.Addr) []Name {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.file == nil || !addr.IsValid() || addr.Zone() != "" {
		return dst
	}
	a := addr.As16()
	now := seconds(r.now())
	var c record
	for i := range uint64(ways) {
		if !r.slots.at(r.slots.bucket(&a)+i).read(&c, &a) {
			continue
		}
		before := len(dst)
		for j, at := 0, textAt; ; j++ {
			text, ok := c.name(j, at)
			if !ok {
				break
			}
			if at += len(text); c.expiry(j) > now {
				dst = append(dst, Name{string(text), time.Duration(c.expiry(j)-now) * time.Second})
			}
		}
		if len(dst) > before {
			return dst
		}
	}
	return dst
}

// Stale says whether another file, or none, stands at the path by now. Who reads for long
// asks twice a second, and opens anew. The number of a file is not given to another while
// it is open, so nothing is taken for the same that is not.
func (r *Reader) Stale() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.file == nil {
		return true
	}
	other, err := moved(r.file, r.path)
	return other || err != nil
}

// moved says whether something else than f stands at path.
func moved(f *os.File, path string) (bool, error) {
	own, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return err == nil && !os.SameFile(own, there), err
}

// ownFile says whether nobody else may write to a file.
func ownFile(f *os.File) bool {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return err == nil && int(st.Uid) == os.Geteuid() && st.Mode&0o777 == 0o644
}

// Close lets go of the file.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(r.data), r.file.Close())
	r.file, r.data, r.slots = nil, nil, slots{}
	return err
}
