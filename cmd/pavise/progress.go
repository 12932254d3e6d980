package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// progress shows how far long work is: bars on a terminal, plain lines elsewhere.
type progress struct {
	w    io.Writer
	bars *mpb.Progress // nil elsewhere
	all  []*bar
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(50))
	}
	return p
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("TERM") != "dumb"
}

// quietLines is how often a plain line says how far something is.
const quietLines = 2 * time.Second

// bar is one piece of work.
type bar struct {
	p     *progress
	name  string
	total int64
	shown *mpb.Bar

	mu   sync.Mutex
	at   int64
	last time.Time
}

func (p *progress) count(name string, total int64) *bar {
	b := &bar{p: p, name: name, total: total, last: time.Now()}
	if p.bars != nil {
		b.shown = p.bars.AddBar(total, mpb.PrependDecorators(decor.Name(name+" ", decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	}
	p.all = append(p.all, b)
	return b
}

// step says that n more are done. A line is printed with what was done, or, where that is
// empty, now and then.
func (b *bar) step(n int64, what string) {
	if b.shown != nil {
		b.shown.IncrInt64(n)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at += n
	switch {
	case what != "":
		fmt.Fprintf(b.p.w, "%s %d of %d: %s\n", b.name, b.at, b.total, what)
	case time.Since(b.last) >= quietLines:
		b.last = time.Now()
		fmt.Fprintf(b.p.w, "%s: %d %%\n", b.name, b.at*100/max(b.total, 1))
	}
}

// done takes the bars away; what is under way stays where it was.
func (p *progress) done() {
	if p.bars == nil {
		return
	}
	for _, b := range p.all {
		b.shown.Abort(false) // of no consequence for one that is complete
	}
	p.bars.Wait()
}
