package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempPrefix is what every file begins with that is not yet in its place.
const tempPrefix = ".pavise-snapshot-"

// Save writes what a Builder holds to path, so that at every moment, whatever ends the
// process or the machine, path is the file before or the new one, whole. On an error it
// is the file before. What a killed process leaves beside it, Clean removes.
//
// The file is readable for its owner only.
func Save(path string, b *Builder) (Info, error) {
	return disk{}.replace(path, func(f *os.File) (Info, error) { return b.WriteTo(f) })
}

// Clean removes what interrupted calls of Save and Apply left in a folder. None may be
// under way.
func Clean(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	for _, e := range list {
		if strings.HasPrefix(e.Name(), tempPrefix) && e.Type().IsRegular() {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// disk is what replace asks of the system; tests make a step of it fail.
type disk struct {
	sync   func(*os.File) error
	rename func(from, to string) error
}

func (d disk) syncFile(f *os.File) error {
	if d.sync != nil {
		return d.sync(f)
	}
	return f.Sync()
}

func (d disk) move(from, to string) error {
	if d.rename != nil {
		return d.rename(from, to)
	}
	return os.Rename(from, to)
}

// replace puts what write writes in the place of path. renameio does not serve here: it
// neither syncs the folder nor gives its files a name that can be told from others.
func (d disk) replace(path string, write func(*os.File) (Info, error)) (info Info, err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return Info{}, err
	}
	moved := false
	defer func() {
		if err != nil && !moved {
			err = fmt.Errorf("save %s: %w", path, err)
			_ = f.Close()
			_ = os.Remove(f.Name())
			info = Info{}
		}
	}()
	if info, err = write(f); err != nil {
		return info, err
	}
	// A disk may notice only here that it is full.
	if err := d.syncFile(f); err != nil {
		return info, err
	}
	if err := f.Close(); err != nil {
		return info, err
	}
	if err := d.move(f.Name(), path); err != nil {
		return info, err
	}
	moved = true
	// The new file is in its place and whole from here on; that its name may not be on the
	// disk yet is an error all the same, since a caller may go on to forget the source.
	if err := d.syncDir(dir); err != nil {
		return info, fmt.Errorf("sync %s: %w", dir, err)
	}
	return info, nil
}

func (d disk) syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.syncFile(f)
}
