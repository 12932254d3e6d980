package decisions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTriedAgain: what fails is tried until it goes, or until GiveUp; then the next has
// its turn.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var down atomic.Bool
		down.Store(true)
		m := &memory{}
		m.write = func(_ context.Context, batch []*Record) (int, error) {
			if down.Load() {
				return 0, errors.New("it is down")
			}
			return len(batch), nil
		}
		l := newLog(t, Options{Repeats: -1, Log: slog.New(slog.NewTextHandler(&out, nil)), Outputs: []Output{{Name: "m", Sink: m, GiveUp: time.Minute}}})
		stop := start(l)
		l.Add(denied(1))
		time.Sleep(30 * time.Second)
		if o := balanced(t, l).Outputs[0]; o.Err == nil || o.Err.Error() != "it is down" || time.Since(o.Since) != 30*time.Second || o.QueuedRecords != 1 {
			t.Errorf("%+v", o)
		}
		time.Sleep(60 * time.Second)
		if o := balanced(t, l).Outputs[0]; o.Dropped[GaveUp] != (Tally{Deny: 1}) {
			t.Errorf("it is still tried: %+v", o)
		}
		l.Add(denied(2))
		time.Sleep(15 * time.Second)
		down.Store(false)
		time.Sleep(longestPause)
		if o := balanced(t, l).Outputs[0]; o.Err != nil || o.Written != (Tally{Deny: 1}) {
			t.Errorf("%+v", o)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, say := range []string{"fails", "it is down", "writes again", "decisions were dropped", "gave-up=1"} {
			if !strings.Contains(out.String(), say) {
				t.Errorf("the log does not say %q", say)
			}
		}
		if n := strings.Count(out.String(), "\n"); n > 4 {
			t.Errorf("it says too much, in %d lines:\n%s", n, out.String())
		}
	})
}

// TestLastTryAtTheEnd: a sink that recovers while it is paused for is tried once more
// before the end.
func TestLastTryAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		m := &memory{}
		m.write = func(_ context.Context, batch []*Record) (int, error) {
			if down.Load() {
				return 0, errors.New("it is down")
			}
			return len(batch), nil
		}
		l := newLog(t, Options{Outputs: []Output{{Name: "m", Sink: m}}})
		stop := start(l)
		l.Add(denied(1))
		time.Sleep(55 * time.Second) // it pauses now, for longer than there is time to flush
		down.Store(false)
		if err := stop(); err != nil || len(m.records()) != 1 {
			t.Errorf("%v, %d written", err, len(m.records()))
		}
	})
}

func TestPanicOfASinkStaysThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := &memory{}
		m.write = func(_ context.Context, batch []*Record) (int, error) {
			if batch[0].Path == "/13" {
				panic("unlucky")
			}
			return len(batch), nil
		}
		l := newLog(t, Options{Log: slog.New(slog.NewTextHandler(&out, nil)), Outputs: []Output{{Name: "m", Sink: m}}})
		stop := start(l)
		for _, i := range []int{12, 13, 14} {
			l.Add(denied(i))
			synctest.Wait()
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if s := balanced(t, l); s.Outputs[0].Written.Deny != 2 || s.Outputs[0].Dropped[Refused].Deny != 1 {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(out.String(), "unlucky") {
			t.Error("nobody is told")
		}
	})
}

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := newLog(t, Options{Repeats: -1, Outputs: []Output{{Name: "m", Sink: m, Linger: time.Second}}})
		stop := start(l)
		for i := range 10 {
			l.Add(denied(i))
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Second)
		for i := range batchRecords { // it does not wait for more than it can take
			l.Add(denied(i))
		}
		synctest.Wait()
		l.Add(denied(0)) // nor at the end
		began := time.Now()
		if err := stop(); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if fmt.Sprint(m.sizes) != "[10 256 1]" {
			t.Errorf("batches of %v", m.sizes)
		}
	})
}
