package feeds

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/guard"
)

const (
	stateName    = "state.json"
	bodyPrefix   = "body-"
	incoming     = ".incoming-" // a body that is being fetched; what a crash leaves is removed
	snapshotName = "snapshot"
	maxState     = 4 << 20
)

// state is what is kept of one feed, as state.json.
type state struct {
	// Origin is Feed.origin of the feed that the body is of.
	Origin string `json:"origin"`
	// Body is the file of the last good, empty for none.
	Body       string           `json:"body,omitempty"`
	Digest     string           `json:"digest,omitempty"`
	Size       int64            `json:"size,omitempty"`
	Validators fetch.Validators `json:"validators,omitzero"`
	Format     api.FeedFormat   `json:"format,omitempty"`

	// ReadAs is how the body was read, Tried how it could not be read since, and Misread
	// why.
	ReadAs  reading `json:"readAs,omitzero"`
	Tried   reading `json:"tried,omitzero"`
	Misread string  `json:"misread,omitempty"`

	Counts     guard.Counts      `json:"counts"`
	Exceptions int64             `json:"exceptions,omitempty"`
	Left       []api.FeedLeftOut `json:"left,omitempty"`
	Added      int64             `json:"added,omitempty"`
	Removed    int64             `json:"removed,omitempty"`

	FirstSuccess time.Time `json:"firstSuccess,omitzero"`
	LastSuccess  time.Time `json:"lastSuccess,omitzero"`
	LastChange   time.Time `json:"lastChange,omitzero"`
	LastAttempt  time.Time `json:"lastAttempt,omitzero"`
	NextAttempt  time.Time `json:"nextAttempt,omitzero"`
	// Failures in a row, and the error of the last attempt if it failed. Refused says that
	// something came and was not believed.
	Failures int    `json:"failures,omitempty"`
	Error    string `json:"error,omitempty"`
	Refused  bool   `json:"refused,omitempty"`
}

// dirOf is the folder of one feed. Names are checked by api to be file names.
func dirOf(dir, name string) string { return filepath.Join(dir, "feeds", name) }

// readState returns the state of a feed, the zero one where there is none or where it is
// of a feed with another URL.
func readState(dir string, f *Feed) (state, error) {
	var st state
	path := filepath.Join(dirOf(dir, f.Name), stateName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if info.Size() > maxState {
		return st, fmt.Errorf("%s: %d octets are more than it ever has", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return state{}, fmt.Errorf("%s: %w", path, err)
	}
	if st.Body != "" && (!strings.HasPrefix(st.Body, bodyPrefix) || strings.ContainsRune(st.Body, '/')) {
		return state{}, fmt.Errorf("%s: %q is not the name of a body", path, st.Body)
	}
	if st.Origin != f.origin() {
		return state{Origin: f.origin()}, nil
	}
	return st, nil
}

// writeState replaces the state of a feed, and then removes bodies that it does not name.
func writeState(dir, name string, st state) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	folder := dirOf(dir, name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(folder, stateName), append(b, '\n'), 0o600); err != nil {
		return err
	}
	return clean(folder, st.Body)
}

// clean removes what a crash or an earlier version left in the folder of a feed.
func clean(folder, body string) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		old := strings.HasPrefix(f.Name(), bodyPrefix) && f.Name() != body
		left := strings.HasPrefix(f.Name(), incoming) || strings.HasPrefix(f.Name(), "."+stateName)
		if old || left {
			errs = append(errs, os.Remove(filepath.Join(folder, f.Name())))
		}
	}
	return errors.Join(errs...)
}

// staleAfter is how many intervals without success make a feed stale.
const staleAfter = 3

// status is the state in the words of the API.
func (st *state) status(s *api.ThreatFeedSpec, now time.Time) api.ThreatFeedStatus {
	out := api.ThreatFeedStatus{
		State:       st.word(s, now),
		LastAttempt: timeOf(st.LastAttempt), LastSuccess: timeOf(st.LastSuccess),
		LastChange: timeOf(st.LastChange), NextAttempt: timeOf(st.NextAttempt),
		Entries: st.Counts.Entries, Added: st.Added, Removed: st.Removed,
		Unreadable: st.Counts.Unreadable, Unsupported: st.Counts.Unsupported, Guarded: st.Counts.Guarded,
		Digest: st.Digest, Error: cmp.Or(st.Error, st.Misread), Left: st.Left,
	}
	if !st.inForce(s, now) {
		out.Entries = 0
	}
	return out
}

func (st *state) word(s *api.ThreatFeedSpec, now time.Time) api.FeedState {
	switch {
	case s.Suspend:
		return api.FeedSuspended
	case st.expired(s, now):
		return api.FeedExpired
	case st.Refused:
		return api.FeedRefused
	case st.Error != "":
		return api.FeedFailed
	case st.Misread != "":
		return api.FeedRefused
	case st.Body == "":
		return api.FeedPending
	case now.Sub(st.LastSuccess) > staleAfter*s.Interval():
		return api.FeedStale
	default:
		return api.FeedCurrent
	}
}

func (st *state) expired(s *api.ThreatFeedSpec, now time.Time) bool {
	return st.Body != "" && s.Expiry() > 0 && now.Sub(st.LastSuccess) > s.Expiry()
}

// inForce says whether the entries of the body are to be in the snapshot.
func (st *state) inForce(s *api.ThreatFeedSpec, now time.Time) bool {
	return st.Body != "" && !s.Suspend && !st.expired(s, now)
}

func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	m := metav1.NewTime(t)
	return &m
}
