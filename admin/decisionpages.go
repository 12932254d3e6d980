package admin

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
)

// keptDecisions is more than any process keeps.
const keptDecisions = 1 << 16

// Decisions is a page of them.
type Decisions struct {
	Decisions []decisions.Record `json:"decisions"`
	// Next is the cursor of the next page, which has older ones; empty on the last.
	Next string `json:"next,omitempty"`
}

func serveDecisions(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	if err != nil {
		parameter400(w, err)
		return
	}
	list, _ := e.source.Decisions(keptDecisions).([]decisions.Record)
	if c := v.Get("cursor"); c != "" {
		var hash, older uint64
		if n, err := fmt.Sscanf(c, "%16x-%d", &hash, &older); n != 2 || err != nil || decisionCursor(hash, older) != c {
			parameter400(w, &flows.FieldError{Field: "cursor", Message: "it is the next of an earlier page"})
			return
		}
		list = after(list, hash, older)
	}
	page := Decisions{Decisions: list}
	if len(list) > most {
		last := hashOf(&list[most-1])
		older := uint64(0)
		for i := most; i < len(list); i++ {
			if hashOf(&list[i]) == last {
				older++
			}
		}
		page.Decisions, page.Next = list[:most], decisionCursor(last, older)
	}
	if page.Decisions == nil {
		page.Decisions = []decisions.Record{}
	}
	reply(w, page)
}

// A cursor names a decision by its content, and by how many of the same content are older:
// decisions have no number, and new ones come in front.
func decisionCursor(hash, older uint64) string { return fmt.Sprintf("%016x-%d", hash, older) }

// after is what is older than the decision of a cursor; nothing if that is kept no more.
func after(list []decisions.Record, hash, older uint64) []decisions.Record {
	for i := len(list) - 1; i >= 0; i-- {
		if hashOf(&list[i]) != hash {
			continue
		}
		if older == 0 {
			return list[i+1:]
		}
		older--
	}
	return nil
}

func hashOf(r *decisions.Record) uint64 {
	h := fnv.New64a()
	text, _ := json.Marshal(r) // it writes itself, and cannot fail
	_, _ = h.Write(text)
	return h.Sum64()
}
