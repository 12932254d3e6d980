package replica

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"pavise.dev/pavise/feeds/snapshot"
)

const (
	currentPath  = "/feeds/current"
	snapshotPath = "/feeds/snapshot/"
	deltaPath    = "/feeds/delta/"

	// maxDocument and maxDeltas bound what a follower reads of a document.
	maxDocument = 64 << 10
	maxDeltas   = 64
	// maxSteps is how many deltas a follower takes instead of the whole: each writes a file.
	maxSteps = 3
	// mostWait bounds how long a request may wait for a change; proxies seldom let one idle
	// for longer.
	mostWait = 60 // seconds
)

// document is /feeds/current.
type document struct {
	Digest string          `json:"digest"`
	Size   int64           `json:"size"`
	Deltas []documentDelta `json:"deltas,omitempty"`
}

type documentDelta struct {
	From string `json:"from"`
	To   string `json:"to"`
	Size int64  `json:"size"`
}

// offer is a document that makes sense.
type offer struct {
	digest snapshot.Digest
	size   int64
	deltas []step
}

// step is a delta that is offered.
type step struct {
	from, to snapshot.Digest
	size     int64
}

func hexOf(d snapshot.Digest) string { return hex.EncodeToString(d[:]) }

func urlOf(d snapshot.Digest) string     { return snapshotPath + hexOf(d) }
func (s step) url() string               { return deltaPath + hexOf(s.from) + "/" + hexOf(s.to) }
func weakTag(d snapshot.Digest) string   { return `W/"` + hexOf(d) + `"` }
func strongTag(d snapshot.Digest) string { return `"` + hexOf(d) + `"` }
func (s step) tag() string               { return `"` + hexOf(s.from) + "-" + hexOf(s.to) + `"` }

func (o *offer) marshal() ([]byte, error) {
	d := document{Digest: o.digest.String(), Size: o.size}
	for _, s := range o.deltas {
		d.Deltas = append(d.Deltas, documentDelta{s.from.String(), s.to.String(), s.size})
	}
	b, err := json.Marshal(d)
	return append(b, '\n'), err
}

var errDocument = errors.New("it is longer than such a document ever is")

// readOffer reads a document to its end. Fields that it does not know are of a later
// version, and mean nothing to this one.
func readOffer(r io.Reader) (*offer, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDocument {
		return nil, errDocument
	}
	return parseOffer(b)
}

func parseOffer(b []byte) (*offer, error) {
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("it is no such document: %w", err)
	}
	digest, err := snapshot.ParseDigest(d.Digest)
	if err != nil {
		return nil, err
	}
	if d.Size <= 0 {
		return nil, fmt.Errorf("a snapshot of %d octets", d.Size)
	}
	if len(d.Deltas) > maxDeltas {
		return nil, fmt.Errorf("%d deltas are offered; at most %d make sense", len(d.Deltas), maxDeltas)
	}
	o := &offer{digest: digest, size: d.Size}
	for _, x := range d.Deltas {
		from, err := snapshot.ParseDigest(x.From)
		if err != nil {
			return nil, err
		}
		to, err := snapshot.ParseDigest(x.To)
		if err != nil {
			return nil, err
		}
		if x.Size <= 0 {
			return nil, fmt.Errorf("a delta of %d octets", x.Size)
		}
		o.deltas = append(o.deltas, step{from, to, x.Size})
	}
	return o, nil
}

// path returns the deltas of the fewest octets in all, at most most, that lead from a
// snapshot to the offered one; nil if none do. It compares sums of no more than maxSteps
// deltas for each that is offered, whatever a server offers.
func (o *offer) path(from snapshot.Digest, most int64) []step {
	type way struct {
		octets int64
		steps  []step
	}
	best := map[snapshot.Digest]way{from: {}}
	for range maxSteps {
		next := maps.Clone(best)
		for _, s := range o.deltas {
			before, ok := best[s.from]
			if !ok || s.size > most-before.octets {
				continue
			}
			octets := before.octets + s.size
			if known, ok := next[s.to]; !ok || octets < known.octets {
				next[s.to] = way{octets, append(slices.Clip(before.steps), s)}
			}
		}
		best = next
	}
	return best[o.digest].steps
}
