package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Digest names the content of a file: the SHA-256 of its header and table, which hold
// the root, the SHA-256 of the SHA-256 of each piece of 1 MiB behind them. So the name of
// an open file costs one hash of some hundred octets, and checking a file that came from
// elsewhere uses every processor.
type Digest [32]byte

func (d Digest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

// ParseDigest reads what String writes.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	text, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(text) != 2*len(d) {
		return d, fmt.Errorf("digest %q: it is sha256: and 64 hexadecimal digits", s)
	}
	if _, err := hex.Decode(d[:], []byte(text)); err != nil {
		return d, fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

const piece = 1 << 20

// rootOf is the root of what is behind header and table.
func rootOf(b []byte) Digest {
	sums := make([]Digest, (len(b)+piece-1)/piece)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range sums {
		part := b[i*piece : min((i+1)*piece, len(b))]
		g.Go(func() error {
			sums[i] = sha256.Sum256(part)
			return nil
		})
	}
	_ = g.Wait()
	return rootOfSums(sums)
}

func rootOfSums(sums []Digest) Digest {
	root := sha256.New()
	for _, sum := range sums {
		root.Write(sum[:])
	}
	return Digest(root.Sum(nil))
}
