package feeds

import (
	"time"

	"pavise.dev/pavise/api"
)

// Status is one feed with what is known of it.
type Status struct {
	Name      string            `json:"name"`
	Action    api.FeedAction    `json:"action"`
	Direction api.FeedDirection `json:"direction"`
	Format    api.FeedFormat    `json:"format,omitempty"`
	Required  bool              `json:"required,omitempty"`

	api.ThreatFeedStatus
}

func statusOf(f *Feed, st *state, now time.Time) Status {
	return Status{
		Name: f.Name, Action: f.Spec.Action.OrDefault(), Direction: f.Spec.Direction.OrDefault(),
		Format: st.Format, Required: f.Spec.Required,
		ThreatFeedStatus: st.status(&f.Spec, now),
	}
}

// ReadStatus reads from a folder what its Manager wrote, in the order of the feeds. A
// state that cannot be read is in the Error of its feed.
func ReadStatus(dir string, feeds []Feed, now time.Time) []Status {
	out := make([]Status, 0, len(feeds))
	for i := range feeds {
		st, err := readState(dir, &feeds[i])
		if err != nil {
			st.Error = err.Error()
		}
		out = append(out, statusOf(&feeds[i], &st, now))
	}
	return out
}
