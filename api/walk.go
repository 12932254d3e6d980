package api

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// limits bound what is read, so that pointing the reader at the wrong folder costs
// a message and not the memory of the machine.
type limits struct {
	fileBytes  int64
	totalBytes int64
	files      int
	folders    int
	documents  int
}

var defaultLimits = limits{
	fileBytes:  32 << 20,
	totalBytes: 1 << 30,
	files:      10_000,
	folders:    10_000,
	documents:  200_000,
}

// walker lists the YAML files of a folder.
type walker struct {
	root     string
	limits   limits
	files    []string
	folders  int
	problems []Problem
	stopped  bool
}

// listFiles returns the files to read below dir, sorted. A file given instead of
// a folder is the only one.
func listFiles(dir string, l limits) ([]string, []Problem) {
	w := &walker{root: dir, limits: l}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		w.unreadable(dir, err)
	case info.IsDir():
		w.walk(dir, []fs.FileInfo{info})
	default:
		w.files = []string{dir}
	}
	slices.Sort(w.files)
	return w.files, w.problems
}

func (w *walker) unreadable(path string, err error) {
	w.problems = append(w.problems, unreadable(path, err))
}

func unreadable(path string, err error) Problem {
	// The path is in front of every problem already.
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	return Problem{Code: CodeUnreadable, Severity: Error, File: path, Message: "can't be read: " + err.Error()}
}

func tooLarge(path, format string, args ...any) Problem {
	return Problem{Code: CodeTooLarge, Severity: Error, File: path, Message: fmt.Sprintf(format, args...)}
}

// walk reads one folder. Symbolic links are followed, to folders as well as to
// files: a ConfigMap is mounted as links into a folder ..data, and a key with a
// slash in it as a link to a folder. The folders above are known, so a link back up
// is a problem and not an endless walk.
func (w *walker) walk(dir string, above []fs.FileInfo) {
	if w.folders++; w.folders > w.limits.folders {
		w.stop("there are more than %d folders", w.limits.folders)
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.unreadable(dir, err)
	}
	for _, e := range entries {
		if w.stopped {
			return
		}
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		isYAML := strings.HasSuffix(e.Name(), ".yaml") || strings.HasSuffix(e.Name(), ".yml")
		if !isYAML && !e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			if isYAML {
				w.unreadable(path, err)
			}
		case info.IsDir():
			if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
				w.unreadable(path, errors.New("the link leads back to a folder it is in"))
				continue
			}
			w.walk(path, append(above[:len(above):len(above)], info))
		case isYAML:
			if len(w.files) == w.limits.files {
				w.stop("there are more than %d files", w.limits.files)
				return
			}
			w.files = append(w.files, path)
		}
	}
}

func (w *walker) stop(format string, args ...any) {
	if !w.stopped {
		w.stopped = true
		w.problems = append(w.problems, tooLarge(w.root, format+"; the rest is not read", args...))
	}
}

// readFile reads one file within the limits.
func readFile(path string, most int64) ([]byte, *Problem) {
	fail := func(p Problem) ([]byte, *Problem) { return nil, &p }
	info, err := os.Stat(path)
	if err != nil {
		return fail(unreadable(path, err))
	}
	// Opening a pipe would wait for somebody to write to it.
	if !info.Mode().IsRegular() {
		return fail(unreadable(path, errors.New("not a regular file")))
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(unreadable(path, err))
	}
	defer f.Close()
	// The file may grow while it is read; the size from above is only a hint.
	data := make([]byte, 0, min(info.Size(), most)+1)
	for int64(len(data)) <= most {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return fail(unreadable(path, err))
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
	return fail(tooLarge(path, "the file is larger than %d bytes", most))
}
