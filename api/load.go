package api

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Loader reads a folder of YAML, again and again. The zero value is ready. It keeps
// what it read of each file, and parses a file again only when its content changed:
// of 10,000 rules in 100 files, a change to one costs a hundredth of the first Load.
//
// A Loader is safe for concurrent use; calls of Load take turns.
//
// +kubebuilder:object:generate=false
type Loader struct {
	mu     sync.Mutex
	files  map[fileKey]*file
	limits *limits // of tests
	parses int     // files parsed so far, for tests
}

// fileKey is a name and a content. The name is part of it because problems have it.
type fileKey struct {
	name string
	sum  [sha256.Size]byte
}

// file is what one file came to.
type file struct {
	name     string
	docs     []document
	problems []Problem
}

// Load reads the files *.yaml and *.yml below dir, in the order of their paths.
// Names that begin with a dot are skipped, symbolic links are followed. A dir that
// is a file is read as the only one; a folder without files is an empty set.
//
// It returns every problem there is, sorted, and a set of whatever could be read,
// never nil. Both are to be used together: see HasErrors. At most 10,000 files of
// 32 MiB each, 1 GiB and 200,000 objects are read; more is a problem.
func (l *Loader) Load(dir string) (*Set, []Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bounds := defaultLimits
	if l.limits != nil {
		bounds = *l.limits
	}
	paths, problems := listFiles(dir, bounds)
	files := make([]*file, 0, len(paths))
	var fresh []*file
	keep := make(map[fileKey]*file, len(paths))
	var total int64
	for _, path := range paths {
		data, problem := readFile(path, bounds.fileBytes)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		if total += int64(len(data)); total > bounds.totalBytes {
			problems = append(problems, tooLarge(dir, "the files are larger than %d bytes together; the rest is not read", bounds.totalBytes))
			break
		}
		key := fileKey{path, sha256.Sum256(data)}
		f := l.files[key]
		if f == nil {
			f = newFile(path, data, bounds)
			fresh = append(fresh, f)
		}
		keep[key] = f
		files = append(files, f)
	}
	l.parses += len(fresh)
	readAll(fresh)
	l.files = keep
	return assemble(dir, files, problems, bounds)
}

// Parse reads one stream of YAML documents, such as standard input. The name is
// what problems call it.
func Parse(name string, data []byte) (*Set, []Problem) {
	var files []*file
	var problems []Problem
	if most := defaultLimits.fileBytes; int64(len(data)) > most {
		problems = append(problems, tooLarge(name, "the file is larger than %d bytes", most))
	} else {
		files = append(files, newFile(name, data, defaultLimits))
	}
	readAll(files)
	return assemble(name, files, problems, defaultLimits)
}

// newFile cuts a file into its documents without reading them.
func newFile(name string, data []byte, l limits) *file {
	f := &file{name: name}
	text, line, wrong := checkText(data)
	if wrong != nil {
		f.problems = append(f.problems, Problem{
			Code: wrong.code, Severity: Error, File: name, Line: line,
			Message: wrong.message, Fix: wrong.fix,
		})
		return f
	}
	chunks, more := split(text, l.documents)
	if more {
		f.problems = append(f.problems, tooLarge(name, "the file has more than %d documents; the rest is not read", l.documents))
	}
	f.docs = make([]document, len(chunks))
	for i, c := range chunks {
		f.docs[i].chunk = c
	}
	return f
}

// readAll reads the documents of files, as many at a time as there are processors.
func readAll(files []*file) {
	type job struct {
		name string
		doc  *document
	}
	var jobs []job
	for _, f := range files {
		for i := range f.docs {
			jobs = append(jobs, job{f.name, &f.docs[i]})
		}
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(jobs)); i = next.Add(1) - 1 {
				jobs[i].doc.read(jobs[i].name)
			}
		})
	}
	wg.Wait()
	for _, f := range files {
		f.collect()
	}
}

// collect gathers the problems of the documents, up to the bound.
func (f *file) collect() {
	r := &reporter{file: f.name, problems: f.problems}
	for i := range f.docs {
		d := &f.docs[i]
		r.take(&reporter{problems: d.problems, dropped: d.dropped})
		d.problems = nil
	}
	f.problems = moreProblems(r.problems, f.name, r.dropped)
}

// moreProblems adds how many there are beyond those that are kept.
func moreProblems(problems []Problem, name string, dropped int) []Problem {
	if dropped == 0 {
		return problems
	}
	return append(problems, Problem{
		Code: CodeMoreProblems, Severity: Error, File: name,
		Message: fmt.Sprintf("%d more problems are not shown", dropped), Fix: "mend the first ones and read it again",
	})
}

// assemble makes a set of files that are read.
func assemble(name string, files []*file, problems []Problem, l limits) (*Set, []Problem) {
	s := &Set{places: map[objectKey]place{}}
	count := 0
	for _, f := range files {
		problems = append(problems, f.problems...)
		for i := range f.docs {
			d := &f.docs[i]
			for _, o := range d.objects {
				if count++; count > l.documents {
					break
				}
				s.add(o.Object, place{file: f.name, doc: d, item: o.item, line: o.line})
			}
		}
	}
	if count > l.documents {
		problems = append(problems, tooLarge(name, "there are more than %d objects; the rest is not read", l.documents))
	}
	problems = append(problems, s.finish(name)...)
	SortProblems(problems)
	return s, problems
}
