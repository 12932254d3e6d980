package feeds

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxHead bounds the first line of a change, in octets.
const maxHead = 4 << 10

// Changes reads what is kept of the changes of a feed, at most 64, the oldest first; none for a
// feed that was never fetched. Only the last has its entries: of the others the first line is read.
//
// One that cannot be read is left out, and the error, which errors.Join makes, names the file of
// each; the list is good beside it. Where that is the newest, the list is nil: what is second would
// be taken for the last.
//
// It may be called while a Manager writes.
func Changes(dir, name string) ([]Change, error) {
	files, err := changeFiles(dir, name)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	files = files[max(0, len(files)-keptChanges):]
	newest := len(files) - 1
	last, err := readChange(files[newest])
	if err != nil {
		return nil, err
	}
	list := make([]Change, 0, len(files))
	var errs []error
	for _, f := range files[:newest] {
		c, err := readHead(f)
		switch {
		case errors.Is(err, fs.ErrNotExist): // forgotten meanwhile, as it was the oldest
		case err != nil:
			errs = append(errs, err)
		default:
			list = append(list, c)
		}
	}
	return append(list, *last), errors.Join(errs...)
}

// readHead reads what a change says before its entries.
func readHead(path string) (Change, error) {
	f, err := os.Open(path)
	if err != nil {
		return Change{}, err
	}
	defer f.Close()
	s := bufio.NewScanner(io.LimitReader(f, maxHead))
	s.Buffer(make([]byte, 512), maxHead)
	c, err := headOf(s)
	if err != nil {
		return Change{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func headOf(s *bufio.Scanner) (c Change, err error) {
	if !s.Scan() {
		if err := s.Err(); err != nil {
			return c, err
		}
		return c, errors.New("it is empty")
	}
	if err := json.Unmarshal(s.Bytes(), &c); err != nil {
		return c, fmt.Errorf("its first line is no change: %w", err)
	}
	if c.Time.IsZero() || c.To == "" || c.Added < 0 || c.Removed < 0 || c.Entries < 0 {
		return c, errors.New("its first line is no change: it needs a time, the digest that it led to, and counts from 0")
	}
	return c, nil
}
