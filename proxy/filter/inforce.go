package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// InForce is what a process that decides by a snapshot says of it, in a file beside it:
// Envoy, of which nobody can ask.
type InForce struct {
	// Digest of the snapshot in force; empty while there is none.
	Digest string `json:"digest"`
	// Since when.
	Since time.Time `json:"since,omitzero"`
	// Error of the latest attempt to load one; empty if that is in force.
	Error string `json:"error,omitempty"`
	// PID of who writes this, so that an older file is known as one.
	PID int `json:"pid"`
	// Panics that were caught.
	Panics uint64 `json:"panics,omitempty"`
	// Hits of every feed that there ever was in the process, sorted by name. They are
	// written when something else changes, and every ten seconds.
	Hits []Hits `json:"hits,omitempty"`
}

const (
	// InForceSuffix is what the name of the file has behind that of the snapshot.
	InForceSuffix = ".in-force"
	// maxInForce bounds the file, in octets: 4,096 feeds.
	maxInForce = 2 << 20
)

// Save puts it beside a snapshot, so that a reader finds this version or the one before. It
// is not synced: after a crash of the machine there is another process.
func (s *InForce) Save(snapshot string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(snapshot), ".pavise-in-force-")
	if err != nil {
		return err
	}
	_, werr := f.Write(append(b, '\n'))
	// The agent may be another user; there is no secret in it.
	if err := errors.Join(werr, f.Chmod(0o644), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return os.Rename(f.Name(), snapshot+InForceSuffix)
}

// ReadInForce reads what is said of a snapshot.
func ReadInForce(snapshot string) (InForce, error) {
	var s InForce
	f, err := os.Open(snapshot + InForceSuffix)
	if err != nil {
		return s, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxInForce+1))
	if err != nil {
		return s, err
	}
	if len(b) > maxInForce {
		return s, fmt.Errorf("%s: more than %d octets", f.Name(), maxInForce)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return s, nil
}
