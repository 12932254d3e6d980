package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
)

// anomalyPages serves what was unusual, and what is usual.
func anomalyPages(mux *http.ServeMux, d *anomaly.Detector) {
	mux.HandleFunc("GET /api/v1/anomalies", func(w http.ResponseWriter, r *http.Request) {
		f, cursor, limit, err := anomalyFilter(r.URL.Query(), time.Now())
		if err != nil {
			parameter(w, err)
			return
		}
		page, err := d.Alerts(f, cursor, limit)
		if err != nil {
			parameter(w, &flows.FieldError{Field: "cursor", Message: err.Error()})
			return
		}
		reply(w, page)
	})
	mux.HandleFunc("GET /api/v1/baselines", func(w http.ResponseWriter, r *http.Request) {
		b, ok := d.Baseline(r.URL.Query().Get("workload"))
		if !ok {
			fail(w, http.StatusNotFound, "nothing was learnt of that workload; workload=NAMESPACE/NAME")
			return
		}
		reply(w, b)
	})
}

// mostParameter bounds a parameter, in octets.
const mostParameter = 512

// anomalyFilter reads the parameters namespace, workload, kind, severity, since, cursor and limit.
func anomalyFilter(v url.Values, now time.Time) (f anomaly.Filter, cursor string, limit int, err error) {
	limit = flows.DefaultLimit
	for name, values := range v {
		if len(values) != 1 || len(values[0]) > mostParameter {
			return f, "", 0, &flows.FieldError{Field: known(name), Message: "it is given once, with at most 512 octets"}
		}
		s := values[0]
		bad := ""
		switch name {
		case "namespace":
			f.Namespace = s
		case "workload":
			f.Workload = s
		case "kind":
			if f.Kind = anomaly.Kind(s); s != "" && !slices.Contains(anomaly.Kinds, f.Kind) {
				bad = "there is no such kind"
			}
		case "severity":
			if f.Severity = anomaly.Severity(s); s != "" && !slices.Contains(anomaly.Severities, f.Severity) {
				bad = "it is info, warning or critical"
			}
		case "since":
			if f.Since, err = sinceOf(s, now); err != nil {
				bad = err.Error()
			}
		case "cursor":
			cursor = s
		case "limit":
			if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > flows.MaxLimit {
				bad = "it is a number from 1 to " + strconv.Itoa(flows.MaxLimit)
			}
		default:
			bad = "there is no such parameter; there are namespace, workload, kind, severity, since, cursor, limit"
		}
		if bad != "" {
			return f, "", 0, &flows.FieldError{Field: known(name), Message: bad}
		}
	}
	return f, cursor, limit, nil
}

// known is a name that may be said again.
func known(name string) string {
	if len(name) > 20 {
		return "parameter"
	}
	return strconv.QuoteToASCII(name)[1 : len(strconv.QuoteToASCII(name))-1]
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
