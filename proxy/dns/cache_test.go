package dns

import (
	"fmt"
	"testing"
	"time"
)

// raceDetector says that the tests run under it.
var raceDetector bool

// put makes an entry for a name of one label.
func put(c *cache, name string, size int, now, life time.Duration) []byte {
	key := append([]byte{byte(len(name))}, name...)
	key = append(key, 0, 0, typeA, 0, classIN)
	wire := append(make([]byte, headerLen), key...)
	key = append(key, 0)
	e := &entry{
		answer: &answer{wire: append(wire, make([]byte, size)...), qlen: len(key) - 1, life: life, positive: true},
		hash:   c.hash(key), at: now,
	}
	c.add(e)
	return key
}

func (c *cache) has(key []byte, now time.Duration) string {
	switch e, fresh := c.find(c.hash(key), key, now); {
	case e == nil:
		return "none"
	case fresh:
		return "fresh"
	}
	return "stale"
}

// TestCacheBounds: neither many nor large answers take more memory than there may be, and
// what was used last stays.
func TestCacheBounds(t *testing.T) {
	c := newCache(shards*10_000, shards*20, 0)
	hot := put(c, "hot", 100, 0, time.Hour)
	for i := range 10_000 {
		put(c, fmt.Sprintf("n%d", i), i%2000, 0, time.Hour)
		if c.has(hot, 0) != "fresh" {
			t.Fatalf("after %d others what is used all the time is gone", i)
		}
		if i%500 == 0 {
			entries, octets, _ := c.size()
			if entries > shards*20 || octets > shards*10_000 {
				t.Fatalf("%d entries, %d octets", entries, octets)
			}
		}
	}
	if huge := put(c, "huge", 20_000, 0, time.Hour); c.has(huge, 0) != "none" {
		t.Error("an entry beyond the bound is kept")
	}
	// What it says it holds is what it holds.
	for i := range c.shard {
		s := &c.shard[i]
		octets, n := 0, 0
		for e := s.used.next; e != &s.used; e = e.next {
			octets += e.cost()
			n++
		}
		if octets != s.octets || n != len(s.entries) {
			t.Errorf("shard %d: %d octets in %d entries, said to be %d in %d", i, octets, n, s.octets, len(s.entries))
		}
	}
}

func TestCacheTimes(t *testing.T) {
	c := newCache(1<<20, 1000, time.Hour)
	for _, s := range []struct {
		at   time.Duration
		want string
	}{{0, "fresh"}, {59 * time.Second, "fresh"}, {60 * time.Second, "stale"}, {time.Hour, "stale"}, {time.Hour + time.Minute, "none"}, {0, "none"}} {
		key := append([]byte("\x01a\x00\x00\x01\x00\x01"), 0)
		if s.at == 0 && s.want == "fresh" {
			key = put(c, "a", 10, 0, time.Minute)
		}
		if got := c.has(key, s.at); got != s.want {
			t.Errorf("after %s: %s, want %s", s.at, got, s.want)
		}
	}
}

// TestCacheTellsKeysApart although their hashes meet.
func TestCacheTellsKeysApart(t *testing.T) {
	c := newCache(1<<20, 1000, 0)
	key := put(c, "a", 10, 0, time.Minute)
	other := append([]byte(nil), key...)
	other[1] = 'b'
	do := append([]byte(nil), key...)
	do[len(do)-1] = keyDO
	for _, k := range [][]byte{other, do} {
		if e, _ := c.find(c.hash(key), k, 0); e != nil {
			t.Errorf("%q finds what is kept for %q", k, key)
		}
	}
	if c.has(key, 0) != "fresh" {
		t.Error("the key itself finds nothing")
	}
}
