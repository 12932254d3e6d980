package feeds

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"pavise.dev/pavise/feeds/parse"
)

const (
	changesName = "changes"
	// keptChanges is of how many refreshes the changes are kept.
	keptChanges = 64
	// listedChanges is how many entries of each kind a change lists by name.
	listedChanges = 100_000
	maxChange     = 64 << 20 // octets of a file that is read back
)

// Change is what one refresh changed.
type Change struct {
	Time time.Time `json:"time"`
	// From and To are digests of bodies; From is empty for the first.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
	// Added and Removed count entries. A first fetch lists none of them by name.
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
	// Entries is how many the body had after it; 0 for what an earlier version of Pavise wrote,
	// which did not keep it.
	Entries int64 `json:"entries,omitempty"`
	// Cut says that there were too many to list all.
	Cut bool `json:"cut,omitempty"`

	AddedEntries   []string `json:"-"`
	RemovedEntries []string `json:"-"`
}

// keySet collects entries as hashes: eight octets for each, whatever their length.
type keySet struct {
	seed maphash.Seed
	keys []uint64
	text []byte
}

func (k *keySet) of(e *parse.Entry) uint64 {
	k.text = appendText(k.text[:0], e)
	return maphash.Bytes(k.seed, k.text)
}

func (k *keySet) take(e *parse.Entry) error {
	k.keys = append(k.keys, k.of(e))
	return nil
}

func (k *keySet) sort() {
	slices.Sort(k.keys)
	k.keys = slices.Compact(k.keys)
}

func (k *keySet) has(key uint64) bool {
	_, found := slices.BinarySearch(k.keys, key)
	return found
}

// missing returns the keys of k that other has not. Both are sorted.
func (k *keySet) missing(other *keySet) []uint64 {
	var out []uint64
	rest := other.keys
	for _, key := range k.keys {
		for len(rest) > 0 && rest[0] < key {
			rest = rest[1:]
		}
		if len(rest) == 0 || rest[0] != key {
			out = append(out, key)
		}
	}
	return out
}

// compare says what changed from one body to another, each read in its own way, by reading
// each twice at most.
func compare(old *reader, from string, r *reader, to string) (Change, error) {
	seed := maphash.MakeSeed()
	before, after := &keySet{seed: seed}, &keySet{seed: seed}
	if _, err := old.readFile(from, before.take); err != nil {
		return Change{}, err
	}
	before.sort()
	if _, err := r.readFile(to, after.take); err != nil {
		return Change{}, err
	}
	after.sort()
	gone, added := before.missing(after), after.missing(before)
	c := Change{Added: int64(len(added)), Removed: int64(len(gone))}
	c.Cut = len(gone) > listedChanges || len(added) > listedChanges
	var err error
	if c.RemovedEntries, err = old.list(from, seed, gone); err != nil {
		return c, err
	}
	c.AddedEntries, err = r.list(to, seed, added)
	return c, err
}

// list returns the entries of a body that have one of the keys, as far as they are listed.
func (r *reader) list(path string, seed maphash.Seed, keys []uint64) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	want := &keySet{seed: seed, keys: keys}
	seen := make(map[uint64]bool, min(len(keys), listedChanges))
	var out []string
	_, err := r.readFile(path, func(e *parse.Entry) error {
		if key := want.of(e); len(out) < listedChanges && want.has(key) && !seen[key] {
			seen[key] = true
			out = append(out, textOf(e))
		}
		return nil
	})
	return out, err
}

func (r *reader) readFile(path string, take parse.Sink) (outcome, error) {
	f, err := os.Open(path)
	if err != nil {
		return outcome{}, err
	}
	defer f.Close()
	return r.read(f, take)
}

// writeChange keeps a change, and forgets old ones.
func writeChange(dir, name string, c Change) error {
	folder := filepath.Join(dirOf(dir, name), changesName)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	head, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Write(head)
	b.WriteByte('\n')
	for _, e := range c.RemovedEntries {
		fmt.Fprintf(&b, "-%s\n", e)
	}
	for _, e := range c.AddedEntries {
		fmt.Fprintf(&b, "+%s\n", e)
	}
	// The names of the files sort by time.
	if err := renameio.WriteFile(filepath.Join(folder, fmt.Sprintf("%020d", c.Time.UnixNano())), b.Bytes(), 0o600); err != nil {
		return err
	}
	files, err := changeFiles(dir, name)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files[:max(0, len(files)-keptChanges)] {
		errs = append(errs, os.Remove(f))
	}
	return errors.Join(errs...)
}

// changeFiles lists the files of a feed's changes, the oldest first.
func changeFiles(dir, name string) ([]string, error) {
	if !filepath.IsLocal(name) || name != filepath.Base(name) {
		return nil, fmt.Errorf("%q is not the name of a feed", name)
	}
	folder := filepath.Join(dirOf(dir, name), changesName)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" {
			out = append(out, filepath.Join(folder, e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// LastChange reads what the last refresh of a feed that changed anything changed; nil
// for none.
func LastChange(dir, name string) (*Change, error) {
	files, err := changeFiles(dir, name)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	return readChange(files[len(files)-1])
}

func readChange(path string) (*Change, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(io.LimitReader(f, maxChange))
	s.Buffer(nil, 1<<16)
	c, err := headOf(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for s.Scan() {
		line := s.Text()
		switch {
		case strings.HasPrefix(line, "-"):
			c.RemovedEntries = append(c.RemovedEntries, line[1:])
		case strings.HasPrefix(line, "+"):
			c.AddedEntries = append(c.AddedEntries, line[1:])
		default:
			return nil, fmt.Errorf("%s: a line begins with neither + nor -", path)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, nil
}

// Since says from when an entry, as changes write it, is listed without a break. Exact is
// false where it is older than what is kept, or the changes since were too many to list;
// then the time is the earliest that is known.
func Since(dir, name, entry string) (t time.Time, exact bool, err error) {
	files, err := changeFiles(dir, name)
	if err != nil {
		return t, false, err
	}
	for _, f := range slices.Backward(files) {
		c, err := readChange(f)
		if err != nil {
			return t, false, err
		}
		t = c.Time
		if c.From == "" || slices.Contains(c.AddedEntries, entry) {
			return t, true, nil
		}
		if c.Cut {
			return t, false, nil
		}
	}
	return t, false, nil
}
