package flows

import (
	"context"
	"testing"

	"pavise.dev/pavise/policy"
)

func TestFollow(t *testing.T) {
	s := newStore(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := s.Follow(ctx, Filter{Verdict: policy.Denied})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		a, d := allow(i), deny(0)
		d.Status = uint32(403 + i)
		add(s, a, d)
	}
	for i := range 3 {
		e := <-events
		if e.Lost != 0 || e.Flow.Count != uint64(i+1) || e.Flow.Example.Status != uint32(403+i) || e.Flow.Verdict != policy.Denied {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	cancel()
	if e, ok := <-events; ok {
		t.Errorf("after the end: %+v", e)
	}
	add(s, deny(0)) // and nobody is sent to
	if st := s.Stats(); st.Followers != 0 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// TestASlowFollowerLoses what it did not read, is told how much, and holds nobody up.
func TestASlowFollowerLoses(t *testing.T) {
	s := newStore(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	slow, err := s.Follow(ctx, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	const more = 1000
	for i := range followBuffer + more {
		add(s, deny(i%10))
	}
	if st := s.Stats(); st.Lost != more {
		t.Errorf("lost %d, want %d", st.Lost, more)
	}
	for range followBuffer {
		if e := <-slow; e.Lost != 0 {
			t.Fatalf("%+v", e)
		}
	}
	add(s, deny(0), deny(0))
	if e := <-slow; e.Lost != more {
		t.Errorf("the next event says that %d were lost, want %d", e.Lost, more)
	}
	if e := <-slow; e.Lost != 0 {
		t.Errorf("and the one after it %d", e.Lost)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	s := newStore(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	var last <-chan Event
	for range mostFollowers {
		var err error
		if last, err = s.Follow(ctx, Filter{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Follow(ctx, Filter{}); err == nil {
		t.Error("one more can follow")
	}
	cancel()
	for range last {
	}
}
