package parse

import (
	"hash/maphash"
	"time"
)

const (
	// maxHeld is how many objects are held back, and maxHeldText how many octets of
	// what they list.
	maxHeld     = 1 << 17
	maxHeldText = 16 << 20
)

// object is what is held of a STIX object until it is given.
type object struct {
	id         uint64
	modified   time.Time
	until      time.Time
	line       int64
	confidence int16 // -1 for none
	// values are empty for one that was revoked, expired or replaced: it stands there to
	// keep older versions out.
	values []indicated
	unsure []string // alternatives of the pattern that cannot be expressed
}

// held keeps objects back, so that a newer version of one can take its place. What
// comes first leaves first, once there are too many.
type held struct {
	seed  maphash.Seed
	queue []object
	first int64 // number of the object at the head of the queue
	at    map[uint64]int64
	text  int
}

func newHeld() *held {
	return &held{seed: maphash.MakeSeed(), at: map[uint64]int64{}}
}

// put takes an object, and gives those that have to leave for it.
func (h *held) put(id string, o object, out *emitter) error {
	o.id = maphash.String(h.seed, id)
	if n, ok := h.at[o.id]; ok && id != "" {
		old := &h.queue[n-h.first]
		out.rep.Skipped++
		if o.modified.Before(old.modified) {
			return nil
		}
		h.text += o.size() - old.size()
		*old = o
	} else {
		h.at[o.id] = h.first + int64(len(h.queue))
		h.queue = append(h.queue, o)
		h.text += o.size()
	}
	for len(h.queue) > maxHeld || h.text > maxHeldText && len(h.queue) > 0 {
		if err := h.pop(out); err != nil {
			return err
		}
	}
	return nil
}

func (h *held) pop(out *emitter) error {
	o := h.queue[0]
	h.queue[0] = object{}
	h.queue = h.queue[1:]
	if h.at[o.id] == h.first {
		delete(h.at, o.id)
	}
	h.first++
	h.text -= o.size()
	return o.give(out)
}

// flush gives all.
func (h *held) flush(out *emitter) error {
	for len(h.queue) > 0 {
		if err := h.pop(out); err != nil {
			return err
		}
	}
	return nil
}

func (o *object) size() (n int) {
	for _, v := range o.values {
		n += len(v.text)
	}
	for _, s := range o.unsure {
		n += len(s)
	}
	return n
}

func (o *object) give(out *emitter) error {
	for _, s := range o.unsure {
		out.begin(o.line)
		out.unsupported([]byte(s), notExpressible)
	}
	for _, v := range o.values {
		out.begin(o.line)
		out.e.Confidence, out.e.Until = int8(o.confidence), o.until //nolint:gosec // -1 to 100
		text, err := []byte(v.text), error(nil)
		switch v.kind {
		case indicatesAddress:
			err = out.address(text)
		case indicatesName:
			err = out.exact(trim(text), out.bare)
		case indicatesURL:
			err = out.url(text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
