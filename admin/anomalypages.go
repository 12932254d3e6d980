package admin

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
)

// anomalyRoutes serve what was unusual, and what is usual.
func anomalyRoutes() []route {
	workload := workloadParameter
	workload.words, workload.required = "NAMESPACE/NAME", true
	return []route{
		{
			method: "GET", path: "/api/v1/anomalies", summary: "What was unusual, the newest first.", answer: anomaly.Page{},
			parameters: alertParameters, lacks: noAnomalies, serve: serveAnomalies,
		},
		{
			method: "GET", path: "/api/v1/baselines", summary: "What is usual for a workload.", answer: anomaly.Baseline{},
			parameters: []parameter{workload}, lacks: noAnomalies, serve: serveBaseline,
		},
	}
}

func serveAnomalies(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	f, err := alertFilter(v, time.Now())
	most, lerr := limit(v)
	if err = errors.Join(err, lerr); err != nil {
		parameter400(w, err)
		return
	}
	page, err := e.source.Anomalies().Alerts(f, v.Get("cursor"), most)
	if err != nil {
		parameter400(w, &flows.FieldError{Field: "cursor", Message: err.Error()})
		return
	}
	reply(w, page)
}

func serveBaseline(e *endpoint, w http.ResponseWriter, r *http.Request) {
	b, ok := e.source.Anomalies().Baseline(r.URL.Query().Get("workload"))
	if !ok {
		fail(w, http.StatusNotFound, "nothing was learnt of that workload; workload=NAMESPACE/NAME")
		return
	}
	reply(w, b)
}

// alertFilter reads the parameters that were checked already.
func alertFilter(v url.Values, now time.Time) (f anomaly.Filter, err error) {
	f = anomaly.Filter{
		Namespace: v.Get("namespace"), Workload: v.Get("workload"), Kind: anomaly.Kind(v.Get("kind")), Severity: anomaly.Severity(v.Get("severity")),
	}
	if f.Since, err = sinceOf(v.Get("since"), now); err != nil {
		err = &flows.FieldError{Field: "since", Message: err.Error()}
	}
	return f, err
}

func sinceOf(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, errors.New("it is a time (RFC 3339), or how long ago: 10m")
	}
	return t, nil
}
