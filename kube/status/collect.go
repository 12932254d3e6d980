package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const (
	// maxPageBytes bounds a page, in octets: 1,000 sidecars of 2 KiB.
	maxPageBytes = 4 << 20
	// maxSidecars bounds what is collected of one replica.
	maxSidecars = 200_000
)

// Fetch asks one replica for /debug/sidecars with a query, such as through the API server's
// proxy. The caller of it closes what it returns.
type Fetch func(ctx context.Context, query url.Values) (io.ReadCloser, error)

// Collect asks replicas for all pages and returns each sidecar once, sorted by name: as the
// replica sees it that it is connected to, and of several the one where it came last; with the
// snapshot that it told any of them last. What can
// be had of the others is returned with the error of one.
func Collect(ctx context.Context, replicas map[string]Fetch) ([]Sidecar, error) {
	best := map[string]Sidecar{}
	var failed error
	for _, name := range slices.Sorted(maps.Keys(replicas)) {
		if err := collect(ctx, replicas[name], best); err != nil && failed == nil {
			failed = fmt.Errorf("sidecars of replica %s: %w", name, err)
		}
	}
	out := make([]Sidecar, 0, len(best))
	for _, node := range slices.Sorted(maps.Keys(best)) {
		out = append(out, best[node])
	}
	return out, failed
}

func collect(ctx context.Context, fetch Fetch, best map[string]Sidecar) error {
	after := ""
	for seen := 0; seen < maxSidecars; {
		page, err := fetchPage(ctx, fetch, after)
		if err != nil {
			return err
		}
		for _, s := range page.Sidecars {
			was, known := best[s.Node]
			best[s.Node] = s.with(&was, known)
		}
		if page.Next == "" {
			return nil
		}
		if page.Next <= after || len(page.Sidecars) == 0 {
			return fmt.Errorf("the page behind %q leads to %q, not further", after, page.Next)
		}
		after, seen = page.Next, seen+len(page.Sidecars)
	}
	return fmt.Errorf("more than %d sidecars", maxSidecars)
}

func fetchPage(ctx context.Context, fetch Fetch, after string) (*Page, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := fetch(ctx, url.Values{"after": {after}, "limit": {strconv.Itoa(maxPage)}})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxPageBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPageBytes {
		return nil, fmt.Errorf("a page of more than %d octets", maxPageBytes)
	}
	var page Page
	if err := json.Unmarshal(text, &page); err != nil {
		return nil, fmt.Errorf("a page that cannot be read: %w", err)
	}
	return &page, nil
}

// with is what two replicas know of a sidecar. It may follow the feeds of another one than it
// has its policies from.
func (s Sidecar) with(was *Sidecar, known bool) Sidecar {
	out, other := s, was
	if known && !s.better(was) {
		out, other = *was, &s
	}
	if other.SnapshotAt.After(out.SnapshotAt) {
		out.Snapshot, out.SnapshotAt = other.Snapshot, other.SnapshotAt
	}
	return out
}

// better says which of two views of a sidecar is the one to show.
func (s *Sidecar) better(o *Sidecar) bool {
	mine, theirs := s.State != string(stateDisconnected), o.State != string(stateDisconnected)
	if mine != theirs {
		return mine
	}
	return s.Since.After(o.Since)
}
