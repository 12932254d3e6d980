package names

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// What Learn says.
var (
	ErrClosed  = errors.New("the table of names is closed")
	ErrAddress = errors.New("no address that a connection could be made to")
	ErrName    = errors.New("no canonical name: 1 to 253 octets of a-z, 0-9, - and _, in labels of 1 to 63 between dots")
)

// Learn says that an address was answered for a name: lower case, ACE, no dot at its end. An
// IPv4-mapped address is the IPv4 one. For ttl see the package's comment; a name that is
// known for longer already stays so. It does not allocate, and may be called from any
// number of goroutines. An error is one of those above, and the table is as before.
func (t *Table) Learn(addr netip.Addr, name string, ttl time.Duration) error {
	switch {
	case !addr.IsValid() || addr.Zone() != "":
		t.refused.Add(1)
		return ErrAddress
	case !canonical(name):
		t.refused.Add(1)
		return ErrName
	}
	life := min(max(ttl, t.o.MinTTL), t.o.MaxTTL) + t.o.Grace
	a := addr.As16()

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return ErrClosed
	}
	now := t.now()
	s := t.place(&a, seconds(now))
	s.copyTo(&t.old)
	t.fresh = record{}
	copy(t.fresh[addressAt:], a[:])
	binary.LittleEndian.PutUint64(t.fresh[learntAt:], uint64(now)) //nolint:gosec // not negative
	if !s.isFor(&a) {
		t.old = record{}
	}
	// One second more, since both were cut to whole ones.
	t.merge(name, seconds(now), seconds(now+life)+1)
	s.write(&t.fresh)
	t.learnt.Add(1)
	return nil
}

// place is the slot of an address, or the one that is given to it: the first that is over,
// else the one that was learnt longest ago.
func (t *Table) place(a *[16]byte, now uint32) slot {
	first := t.slots.bucket(a)
	var found slot
	var over bool
	var oldest uint64
	for i := first; i < first+ways; i++ {
		s := t.slots.at(i)
		s.copyTo(&t.old)
		last := t.old.last()
		if last != 0 && s.isFor(a) {
			return s
		}
		learnt := t.old.learnt()
		if last <= now {
			learnt = 0
		}
		if found == nil || !over && learnt < oldest {
			found, over, oldest = s, last <= now, learnt
		}
	}
	if !over {
		t.evicted.Add(1)
	}
	return found
}

// merge writes a name and those of the old record into the fresh one, as far as there is
// room for them and their time is not over.
func (t *Table) merge(name string, now, expiry uint32) {
	type known struct {
		text   []byte
		expiry uint32
	}
	var others [MaxNames]known
	n := 0
	for i, at := 0, textAt; ; i++ {
		text, ok := t.old.name(i, at)
		if !ok {
			break
		}
		at += len(text)
		switch {
		case string(text) == name:
			expiry = max(expiry, t.old.expiry(i))
		case t.old.expiry(i) > now:
			others[n] = known{text, t.old.expiry(i)}
			n++
		}
	}
	at, _ := add(&t.fresh, 0, textAt, name, expiry)
	i := 1
	for _, o := range others[:n] {
		next, ok := add(&t.fresh, i, at, o.text, o.expiry)
		if !ok {
			t.displaced.Add(1)
			continue
		}
		i, at = i+1, next
	}
}

// canonical says whether a name is one that Envoy would look up a rule for. A comma, or
// what ends a line, would let a hostile answer write a second name.
func canonical(name string) bool {
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0
}
