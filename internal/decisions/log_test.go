package decisions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pavise.dev/pavise/policy"
)

func TestEveryDecisionIsAccountedFor(t *testing.T) {
	hung := make(chan struct{})
	fast, slow, stuck, broken := &memory{}, &memory{}, &memory{write: hangs(hung)}, &memory{}
	slow.write = func(_ context.Context, batch []*Record) (int, error) {
		if rand.IntN(3) == 0 {
			return rand.IntN(len(batch)), errors.New("now and then")
		}
		return len(batch), nil
	}
	broken.write = func(_ context.Context, batch []*Record) (int, error) {
		return rand.IntN(len(batch)), &RefusedError{errors.New("will not have it")}
	}
	l := newLog(t, Options{
		SampleAllows: 0.5, FlushTimeout: time.Millisecond, Repeats: 5, PerSource: 50,
		Outputs: []Output{
			{Name: "fast", Sink: fast},
			{Name: "slow", Sink: slow, MaxRecords: 64},
			{Name: "stuck", Sink: stuck, MaxRecords: 16},
			{Name: "broken", Sink: broken},
		},
	})
	stop := start(l)
	const adders, each = 8, 4000
	var all sync.WaitGroup
	for range adders {
		all.Go(func() {
			for i := range each {
				r := allowed(i)
				if i%3 == 0 {
					r = denied(i)
				}
				r.Source = fmt.Sprintf("192.0.2.%d:1", i%200)
				r.Host = "host" + strconv.Itoa(i%7)
				l.Add(r)
				if i%500 == 0 {
					balanced(t, l)
				}
			}
		})
	}
	all.Wait()
	if err := stop(); err == nil || !strings.Contains(err.Error(), "stuck (") {
		t.Errorf("what the stuck sink lost is not told: %v", err)
	}
	l.Add(denied(0)) // after the end
	s := balanced(t, l)
	if s.Added.Total() != adders*each+1 {
		t.Errorf("%d were added", s.Added.Total())
	}
	for _, o := range s.Outputs {
		if o.Queued.Total() != 0 || o.QueuedRecords != 0 || o.QueuedOctets != 0 || s.Folding.Total() != 0 {
			t.Errorf("%s: something is still queued: %+v", o.Name, s)
		}
	}
	if n := s.Outputs[2].Written.Total(); n != 0 {
		t.Errorf("the stuck sink wrote %d", n)
	}
	var written uint64
	for _, r := range fast.records() {
		written += r.weight()
	}
	if got := s.Outputs[0].Written.Total(); got != written || s.Outputs[0].Records != uint64(len(fast.records())) {
		t.Errorf("%d counted as written, %d were", got, written)
	}
	if s.Outputs[0].Dropped[Stopped] != (Tally{Deny: 1}) || s.Outputs[3].Dropped[Refused].Total() == 0 {
		t.Errorf("wrong reasons: %+v", s.Outputs)
	}
	close(hung)
	deadline := time.After(10 * time.Second)
	for stuck.records() == nil { // what it says too late changes nothing
		select {
		case <-deadline:
			t.Fatal("it hangs still")
		case <-time.After(time.Millisecond):
		}
	}
	balanced(t, l)
}

// TestHungSinkHoldsUpNobody: neither Add, nor another output, nor the end.
func TestHungSinkHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		other := &memory{}
		l := newLog(t, Options{
			Repeats: -1,
			Outputs: []Output{{Name: "hung", Sink: &memory{write: hangs(hung)}, MaxRecords: 10}, {Name: "other", Sink: other}},
		})
		stop := start(l)
		for i := range 100 {
			l.Add(denied(i))
		}
		synctest.Wait()
		if n := len(other.records()); n != 100 {
			t.Errorf("the other has %d records of 100", n)
		}
		s := balanced(t, l)
		if got := s.Outputs[0].Dropped[QueueFull]; got != (Tally{Deny: 90}) {
			t.Errorf("dropped %+v, want the 90 that do not fit", got)
		}
		began := time.Now()
		if err := stop(); err == nil || !strings.Contains(err.Error(), "hung (10 decisions)") {
			t.Errorf("%v", err)
		}
		if d := time.Since(began); d != 5*time.Second+partingTime {
			t.Errorf("the end took %v", d)
		}
		close(hung)
		if !other.isClosed() {
			t.Error("the other was not closed")
		}
	})
}

func TestFlushAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &memory{write: func(ctx context.Context, batch []*Record) (int, error) {
			select {
			case <-time.After(time.Second):
				return len(batch), nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}}
		l := newLog(t, Options{Repeats: -1, Outputs: []Output{{Name: "slow", Sink: slow}}})
		for i := range 1000 { // before Run: they wait for it
			l.Add(denied(i))
		}
		if err := start(l)(); err != nil {
			t.Error(err)
		}
		if n := len(slow.records()); n != 1000 || !slow.isClosed() {
			t.Errorf("%d of 1000 written, closed %t", n, slow.isClosed())
		}
	})
}

func TestDenialsFindRoom(t *testing.T) {
	alert, audited := allowed(0), allowed(0)
	alert.Alert = Hit{Name: "botnets"}
	audited.AuditVerdict = policy.Denied
	for _, c := range []struct {
		name string
		r    Record
		want int
	}{{"plain allows", allowed(0), 50}, {"denials", denied(0), 100}, {"alerts", alert, 100}, {"audited denials", audited, 100}} {
		l := newLog(t, Options{SampleAllows: 1, Repeats: -1, Outputs: []Output{{Name: "m", Sink: &memory{}, MaxRecords: 100}}})
		for range 200 {
			l.Add(c.r)
		}
		if s := balanced(t, l); s.Outputs[0].QueuedRecords != c.want {
			t.Errorf("%s: %d queued of 100, want %d", c.name, s.Outputs[0].QueuedRecords, c.want)
		}
		l.Add(denied(0))
		if s := balanced(t, l); c.want == 50 && s.Outputs[0].Queued.Deny != 1 {
			t.Error("a flood of allows leaves no room for a denial")
		}
	}
}

// TestQueueIsBoundInOctets: 8192 records of the largest kind would be 100 MB.
func TestQueueIsBoundInOctets(t *testing.T) {
	l := newLog(t, Options{Repeats: -1, Outputs: []Output{{Name: "m", Sink: &memory{}, MaxOctets: 100_000}}})
	long := strings.Repeat("a", 1<<20)
	for i := range 1000 {
		r := denied(i)
		r.Path, r.Reason = long, long
		l.Add(r)
	}
	o := balanced(t, l).Outputs[0]
	if o.QueuedOctets > 100_000 || o.QueuedRecords < 10 || o.QueuedRecords > 20 {
		t.Errorf("%d octets in %d records", o.QueuedOctets, o.QueuedRecords)
	}
}

// TestOrderIsKept: each source reads as it happened, in every output, also where a sink
// took only some of a batch.
func TestOrderIsKept(t *testing.T) {
	a, b := &memory{}, &memory{}
	b.write = func(_ context.Context, batch []*Record) (int, error) {
		return rand.IntN(len(batch) + 1), errors.New("in bits")
	}
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, Options{Repeats: -1, Outputs: []Output{{Name: "a", Sink: a}, {Name: "b", Sink: b}}, FlushTimeout: time.Hour})
		stop := start(l)
		var all sync.WaitGroup
		for s := range 4 {
			all.Go(func() {
				for i := range 1000 {
					r := denied(i)
					r.Source = fmt.Sprintf("192.0.2.%d:1", s)
					l.Add(r)
				}
			})
		}
		all.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	for _, m := range []*memory{a, b} {
		next := map[string]int{}
		for _, r := range m.records() {
			if want := "/" + strconv.Itoa(next[r.Source]); r.Path != want {
				t.Fatalf("%s: %s, want %s", r.Source, r.Path, want)
			}
			next[r.Source]++
		}
		if len(next) != 4 || len(m.records()) != 4000 {
			t.Errorf("%d sources, %d records", len(next), len(m.records()))
		}
	}
}

func TestOptions(t *testing.T) {
	m := &memory{}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{SampleAllows: 1.5}, "decisions: sample 1.5 of the allows: it is a share from 0 (none) to 1 (all)"},
		{Options{SampleAllows: -1}, "a share from 0"},
		{Options{Outputs: []Output{{Sink: m}}}, `output "": each needs a sink, and a name of its own`},
		{Options{Outputs: []Output{{Name: "a", Sink: m}, {Name: "a", Sink: m}}}, `output "a"`},
		{Options{Outputs: []Output{{Name: "a"}}}, `output "a"`},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
	l := newLog(t, Options{})
	l.Add(denied(0))
	if err := start(l)(); err != nil {
		t.Error(err)
	}
	if err := l.Run(t.Context()); err == nil {
		t.Error("it runs twice")
	}
	if s := l.Stats(); s.Added.Deny != 1 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkAdd(b *testing.B) {
	for name, r := range map[string]Record{"denied": denied(1), "sampled-out": allowed(1), "folded": denied(2)} {
		b.Run(name, func(b *testing.B) {
			o := Options{Repeats: -1, Outputs: []Output{{Name: "m", Sink: &memory{write: func(context.Context, []*Record) (int, error) { return 0, &RefusedError{errors.New("x")} }}}}}
			if name == "folded" {
				o.Repeats = 1
			}
			l, err := New(o)
			if err != nil {
				b.Fatal(err)
			}
			stop := start(l)
			b.ReportAllocs()
			for b.Loop() {
				l.Add(r)
			}
			_ = stop()
		})
	}
}
