package replica

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// Kind is what went wrong in a round of a Follower, in a word, for metrics.
type Kind string

const (
	// Connect is a server that cannot be reached, or is not trusted.
	Connect Kind = "Connect"
	// Authorize is Config.Authorize failing.
	Authorize Kind = "Authorize"
	// Timeout is an answer that did not begin in time.
	Timeout Kind = "Timeout"
	// Slow is a body that came, but hardly.
	Slow Kind = "Slow"
	// Truncated is a body that ended before its end; it is resumed.
	Truncated Kind = "Truncated"
	// Busy is an answer of 429 or 5xx.
	Busy Kind = "Busy"
	// Status is another answer that is not what was asked for.
	Status Kind = "Status"
	// Redirect is an answer that leads elsewhere, which is never followed.
	Redirect Kind = "Redirect"
	// Protocol is an answer that makes no sense.
	Protocol Kind = "Protocol"
	// OverLimit is more than was announced, or than Config.MaxBytes.
	OverLimit Kind = "OverLimit"
	// Digest is a file that is not what its digest names.
	Digest Kind = "Digest"
	// Delta is one that cannot be applied; the whole is fetched instead.
	Delta Kind = "Delta"
	// Refused is a snapshot that did not pass the check.
	Refused Kind = "Refused"
	// Damaged is a file in force that was removed or altered; it is fetched again.
	Damaged Kind = "Damaged"
	// Worker is a worker that died or took too long.
	Worker Kind = "Worker"
	// Disk is a folder that cannot be written to.
	Disk Kind = "Disk"
)

// Error is why a round failed, in words that hold no secret and of what the server sent
// only numbers.
type Error struct {
	Kind Kind
	// RetryAfter is how long the server asks to be left alone; 0 for no wish.
	RetryAfter time.Duration

	text  string
	cause error
}

func (e *Error) Error() string { return e.text }

// Unwrap returns the cause, where there is one.
func (e *Error) Unwrap() error { return e.cause }

func failed(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, text: err.Error(), cause: errors.Unwrap(err)}
}

// kindOf an error of a round; what has none is of the disk.
func kindOf(err error) Kind {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Kind
	}
	return Disk
}

// State is what a Follower knows, for readiness and metrics.
type State struct {
	// Digest of what is in force, sha256:HEX; empty for none. Size is in octets.
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"`
	// Since is when it was written to the folder.
	Since time.Time `json:"since,omitzero"`
	// LastSuccess is when the server last said what is in force and that was, or came to be,
	// in force here; zero for never since the start. Its age is how old what is in force may
	// be.
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	// Failures in a row, Error of the last of them, and NextAttempt.
	Failures    int       `json:"failures,omitempty"`
	Error       string    `json:"error,omitempty"`
	NextAttempt time.Time `json:"nextAttempt,omitzero"`

	Counters
}

// Counters only ever grow.
type Counters struct {
	// Rounds are questions what is in force, and NotModified those answered with: as you know.
	Rounds, NotModified uint64
	// Wholes and Deltas came into force. Resumed counts downloads taken up where they broke.
	Wholes, Deltas, Resumed uint64
	// Octets of bodies that came, documents left out.
	Octets uint64
	// Failed counts failures by kind, and so those of deltas, after which the whole was fetched.
	Failed map[Kind]uint64
}

// Status returns what is known now. It may be called from any goroutine, and never waits
// for a round.
func (f *Follower) Status() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.Failed = maps.Clone(s.Failed)
	return s
}

// update changes what Status returns.
func (f *Follower) update(change func(*State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
}

// count counts a failure.
func (f *Follower) count(err error) {
	f.update(func(s *State) { s.Failed[kindOf(err)]++ })
}
