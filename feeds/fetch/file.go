package fetch

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"syscall"
	"time"
)

// settled is how long a file has to have been left alone before its times are believed:
// within the granularity of a file system's clock it can change without showing it.
const settled = 2 * time.Second

// file reads a regular file, through symbolic links: Kubernetes mounts are made of them.
func (f *fetching) file() error {
	path := f.own.Path
	if f.ctx.Err() != nil {
		return ended(f.ctx)
	}
	// Without O_NONBLOCK, opening a FIFO waits for a writer, for ever.
	in, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fileError(path, err)
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return fileError(path, err)
	}
	if !st.Mode().IsRegular() {
		return failed(File, false, "%s is no regular file, but %s", path, sort(st.Mode()))
	}
	now := f.c.now()
	state, changed := stateOf(st)
	f.res.Final = visible(&url.URL{Scheme: "file", Path: path})
	f.res.Pages = 1
	if f.v.File != "" && f.v.File == state {
		f.res.NotModified, f.res.Validators = true, f.v
		return nil
	}
	if st.Size() > f.mostWire() {
		return overLimit(f.src.MaxBytes)
	}
	if f.res.Encoding, err = f.copy(path, in, "", f.out); err != nil {
		return err
	}
	after, err := in.Stat()
	if err != nil {
		return fileError(path, err)
	}
	// A length other than the file has is a file being written, or none at all: those
	// below /proc have the length 0 and our environment in them.
	if again, _ := stateOf(after); again != state || f.res.Wire != st.Size() {
		return failed(File, true, "%s changed while it was read; write another file and rename it", path)
	}
	f.res.Validators = Validators{Of: f.of, From: placeOf(f.own), Since: now}
	if age := now.Sub(changed); age > settled {
		f.res.Validators.File = state
	}
	return nil
}

func fileError(path string, err error) *Error {
	e := &Error{Kind: File, text: path + " cannot be read", cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Temporary = true
		e.text = "there is no file " + path
	case errors.Is(err, fs.ErrPermission):
		e.text = path + " must not be read by the user that pavise runs as"
	case errors.Is(err, syscall.ENXIO):
		e.text = path + " is a socket or a device, and no regular file"
	}
	return e
}

func sort(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "something else"
}
