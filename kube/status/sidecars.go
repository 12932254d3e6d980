package status

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// What a page of sidecars has.
const (
	defaultPage = 500
	maxPage     = 1000
	// maxShown of what a sidecar said, in characters; and of a digest, in digits.
	maxShown  = 256
	maxDigest = 12
)

// Sidecar is one sidecar as one replica sees it.
type Sidecar struct {
	// Node is NAMESPACE/POD, Workload what it stands beside.
	Node     string `json:"node"`
	Workload string `json:"workload,omitempty"`
	// Replica and Revision are those of the control plane that was asked.
	Replica  string `json:"replica"`
	Revision string `json:"revision,omitempty"`
	// State is Synced, Pending, Refused, Held or Disconnected. Held sidecars have taken over
	// what they were given, and are given nothing new.
	State string `json:"state"`
	// Since is when its latest stream began.
	Since time.Time `json:"since,omitzero"`
	// Wanted and Acked are the first digits of digests: of what it shall enforce, and of what
	// it took over as a whole. SyncedAt is when it last had all of what it was given.
	Wanted   string    `json:"wanted,omitempty"`
	Acked    string    `json:"acked,omitempty"`
	SyncedAt time.Time `json:"syncedAt,omitzero"`
	// NACK is the refusal that stands, cut to 256 characters, with its type and time; NACKs
	// counts those since the replica began.
	NACK     string    `json:"nack,omitempty"`
	NACKType string    `json:"nackType,omitempty"`
	NACKTime time.Time `json:"nackTime,omitzero"`
	NACKs    int       `json:"nacks,omitempty"`
	// Snapshot is the first digits of that of the feeds which it said to have when it last
	// asked for a newer one, at SnapshotAt. Empty where it has not asked this replica.
	Snapshot   string    `json:"snapshot,omitempty"`
	SnapshotAt time.Time `json:"snapshotAt,omitzero"`
}

// Heard is which snapshot of the feeds a sidecar has and when it said so; empty for not at all.
type Heard func(node string) (digest string, at time.Time)

// Page is what SidecarsHandler answers.
type Page struct {
	Replica  string    `json:"replica"`
	Revision string    `json:"revision,omitempty"`
	Sidecars []Sidecar `json:"sidecars"`
	// Next is the after of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// Identity is who answers.
type Identity struct{ Replica, Revision string }

// SidecarsHandler serves GET /debug/sidecars?after=NODE&limit=N: the sidecars that the replica
// knows, those of other replicas as Disconnected, sorted by name, from behind NODE, at most 500 by
// default and 1,000 at most, as a [Page]. It tells names and what Envoys said, and no secret.
func SidecarsHandler(s Server, f Fleet, i Identity, heard Heard) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		query := r.URL.Query()
		limit := defaultPage
		if text := query.Get("limit"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > maxPage {
				http.Error(w, "limit has to be 1 to "+strconv.Itoa(maxPage), http.StatusBadRequest)
				return
			}
			limit = n
		}
		page := pageOf(s, f, i, heard, query.Get("after"), limit)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(page) // the client has gone
	})
}

func pageOf(s Server, f Fleet, i Identity, heard Heard, after string, limit int) *Page {
	type entry struct {
		node string
		st   xds.NodeStatus
	}
	var list []entry
	for node, st := range s.Nodes() {
		if node > after {
			list = append(list, entry{node, st})
		}
	}
	slices.SortFunc(list, func(a, b entry) int {
		if a.node < b.node {
			return -1
		}
		return 1
	})
	p := &Page{Replica: i.Replica, Revision: i.Revision, Sidecars: []Sidecar{}}
	if len(list) > limit {
		list = list[:limit]
		p.Next = list[limit-1].node
	}
	model := digestsOf(f.Model())
	for _, e := range list {
		w := f.WorkloadOf(e.node)
		x := sidecarOf(e.node, w, &e.st, stateOf(&e.st, f.Digest(w), model[w]), i)
		if heard != nil {
			digest, at := heard(e.node)
			x.Snapshot, x.SnapshotAt = prefix(digest), at
		}
		p.Sidecars = append(p.Sidecars, x)
	}
	return p
}

func digestsOf(m *policy.Model) map[string]string {
	out := make(map[string]string, len(m.Workloads))
	for _, w := range m.Workloads {
		out[w.Key()] = w.Digest()
	}
	return out
}

func sidecarOf(node, workload string, st *xds.NodeStatus, is state, i Identity) Sidecar {
	out := Sidecar{
		Node: cut(node, maxNode), Workload: workload, Replica: i.Replica, Revision: i.Revision, State: string(is),
		Since: st.Since, Wanted: prefix(st.Wanted), Acked: prefix(st.Acked), SyncedAt: st.InForceAt, NACKs: st.NACKs,
	}
	if n := st.NACK; n != nil {
		out.NACK, out.NACKType, out.NACKTime = cut(n.Message, maxShown), cut(n.TypeURL, maxShown), n.Time
	}
	return out
}

func prefix(digest string) string { return digest[:min(len(digest), maxDigest)] }
