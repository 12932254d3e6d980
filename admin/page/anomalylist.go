package page

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/policy"
)

// alertList is a part of what was unusual.
type alertList struct {
	Form   *form
	Alerts []anomaly.Alert
	Pages  pager
	Stats  anomaly.Stats
}

// alertPage is one alert.
type alertPage struct {
	anomaly.Alert
	// Flows is a link to the flows that it is about, empty where they are not kept.
	Flows string
}

const looksForNone = "This process does not look for anomalies."

func (s *site) anomalies(w http.ResponseWriter, r *http.Request) {
	d := s.src.Anomalies()
	if d == nil {
		s.nothing(w, r, http.StatusNotFound, "Anomalies", looksForNone)
		return
	}
	f := &form{Path: "/anomalies", Button: "Show", Fields: []*field{
		{Kind: text, Name: "namespace", Label: "Namespace"},
		{Kind: text, Name: "workload", Label: "Workload", Hint: "NAMESPACE/NAME"},
		{Kind: pick, Name: "kind", Label: "Kind", Options: options(anomaly.Kinds)},
		{Kind: pick, Name: "severity", Label: "Severity, at least", Options: options(anomaly.Severities)},
		{Kind: text, Name: "since", Label: "Since", Hint: "10m, or a time"},
		{Kind: parameter, Name: "cursor"},
		{Kind: parameter, Name: "limit"},
	}}
	f.read(r)
	filter := anomaly.Filter{
		Namespace: f.value("namespace"), Workload: f.value("workload"),
		Kind: anomaly.Kind(f.value("kind")), Severity: anomaly.Severity(f.value("severity")),
	}
	var err error
	if filter.Since, err = since(f.value("since"), s.now()); err != nil {
		f.fail("since", err.Error())
	}
	limit := f.number("limit", anomaly.MostPage)
	if limit == 0 {
		limit = pageSize
	}
	list := alertList{Form: f, Stats: d.Stats()}
	if len(f.Problems) == 0 {
		page, err := d.Alerts(filter, f.value("cursor"), limit)
		if err != nil {
			f.fail("cursor", err.Error())
		}
		list.Alerts = page.Alerts
		list.Pages = pager{Of: "anomalies", Text: strconv.Itoa(len(page.Alerts)) + " anomalies, the latest first"}
		v := f.again("cursor")
		if f.value("cursor") != "" {
			list.Pages.First = withValues(f.Path, v)
		}
		if page.Next != "" {
			v.Set("cursor", page.Next)
			list.Pages.Next = withValues(f.Path, v)
		}
	}
	s.show(w, "anomalies", "/anomalies", "Anomalies", f, list)
}

func (s *site) anomaly(w http.ResponseWriter, r *http.Request) {
	d := s.src.Anomalies()
	if d == nil {
		s.nothing(w, r, http.StatusNotFound, "Anomalies", looksForNone)
		return
	}
	f := &form{Path: "/anomaly", Fields: []*field{{Kind: text, Name: "id", Label: "Anomaly"}}}
	f.read(r)
	a, ok := d.Alert(f.value("id"))
	if !ok {
		s.write(w, http.StatusNotFound, "nothing", frame{
			Title: "There is no such anomaly", Menu: s.menu("/anomalies"), Problems: f.unplaced(),
			Body: "It may have made room for others.",
		})
		return
	}
	p := alertPage{Alert: a}
	if s.src.Flows() != nil {
		p.Flows = closer(&a)
	}
	s.show(w, "anomaly", "/anomalies", "Anomaly: "+string(a.Kind)+" at "+visible(a.Workload), f, p)
}

// around is how much before and after an alert its flows are looked for: a window of anomaly.
const around = 10 * time.Minute

// closer is a link to the flows that an alert is about. "*" and what is too long to be asked
// for is left out; the other conditions find it too.
func closer(a *anomaly.Alert) string {
	f := flows.Filter{Direction: a.Direction, Since: a.First.Add(-around), Until: a.Last.Add(around)}
	for _, c := range []struct {
		into  *string
		value string
	}{{&f.Workload, a.Workload}, {&f.Peer, a.Peer}, {&f.Name, a.Name}} {
		if c.value != flows.Star && len(c.value) <= mostValue {
			*c.into = c.value
		}
	}
	if a.Kind == anomaly.Denials {
		f.Verdict = policy.Denied
	}
	return withValues("/flows", f.Values())
}

// options are any and all of a list.
func options[T ~string](list []T) []string {
	out := []string{""}
	for _, x := range list {
		out = append(out, string(x))
	}
	return out
}

// since is a time, or how long ago one is.
func since(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, errors.New("it is a time such as 2006-01-02T15:04:05Z, or how long ago, such as 10m")
	}
	return t, nil
}
