package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
)

// HasSidecars is a Source that gives Envoys what they enforce.
type HasSidecars interface {
	// Sidecars are those that are connected, or were, in any order. It returns a new slice.
	Sidecars() []Sidecar
}

// sidecarStates are all that a Sidecar can be in.
var sidecarStates = []string{"in-force", "pending", "refused", "away"}

// Sidecar is what is known of one Envoy.
type Sidecar struct {
	// Node is how it calls itself: NAMESPACE/POD in a cluster.
	Node string `json:"node"`
	// Workload is NAMESPACE/NAME; empty where it is not known, or where the Envoy is that of several.
	Workload string `json:"workload,omitempty"`
	// State is a word: in-force, if it took over all that it was given; pending, if it has not
	// acknowledged all of it; refused, if it goes on with what it had; away, if it is not connected.
	State string `json:"state"`
	// Wanted is the digest of the policies that it shall enforce, Acked of those that it does.
	Wanted string `json:"wanted,omitempty"`
	Acked  string `json:"acked,omitempty"`
	// Pending is how many resources it has not acknowledged.
	Pending int `json:"pending,omitempty"`
	// NACK is the last refusal in Envoy's words, at NACKTime; NACKs counts them.
	NACK     string    `json:"nack,omitempty"`
	NACKTime time.Time `json:"nackTime,omitzero"`
	NACKs    int       `json:"nacks,omitempty"`
	// Since is when its stream began, and InForceAt when all was last acknowledged.
	Since     time.Time `json:"since,omitzero"`
	InForceAt time.Time `json:"inForceAt,omitzero"`
	// Snapshot is the digest of the feeds that it decides by, of SnapshotTime.
	Snapshot     string    `json:"snapshot,omitempty"`
	SnapshotTime time.Time `json:"snapshotTime,omitzero"`
}

// namespace is that of its workload, which its node is in too; empty for none.
func (s *Sidecar) namespace() string {
	namespace, _, ok := strings.Cut(cmp.Or(s.Workload, s.Node), "/")
	if !ok {
		return ""
	}
	return namespace
}

// Sidecars is a page of them.
type Sidecars struct {
	Sidecars []Sidecar `json:"sidecars"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

func noSidecars(s Source) string {
	if _, ok := s.(HasSidecars); !ok {
		return "this process serves no sidecars: ask the control plane, or `pavise run`"
	}
	return ""
}

// serveSidecars gives a page in the order of nodes. The cursor is the last node of the page before,
// which need not be there any more.
func serveSidecars(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	if err != nil {
		parameter400(w, err)
		return
	}
	namespace, state, cursor := v.Get("namespace"), v.Get("state"), v.Get("cursor")
	all := slices.DeleteFunc(e.source.(HasSidecars).Sidecars(), func(s Sidecar) bool {
		return namespace != "" && s.namespace() != namespace || state != "" && s.State != state || cursor != "" && s.Node <= cursor
	})
	slices.SortFunc(all, func(a, b Sidecar) int { return strings.Compare(a.Node, b.Node) })
	page := Sidecars{Sidecars: append([]Sidecar{}, all[:min(most, len(all))]...)}
	if len(all) > most {
		page.Next = all[most-1].Node
	}
	for i := range page.Sidecars {
		page.Sidecars[i].NACK = clip(page.Sidecars[i].NACK)
	}
	reply(w, page)
}
