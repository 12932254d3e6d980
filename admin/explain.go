package admin

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// Query asks how a request would be decided.
type Query struct {
	// Workload is NAMESPACE/NAME; it may be left out where there is only one.
	Workload string `json:"workload,omitempty"`
	// Listener names one of its listeners; it may be left out where the URL's port or the
	// kind of traffic tells.
	Listener string `json:"listener,omitempty"`
	// Method and URL of a request; both empty asks about a connection.
	Method string `json:"method,omitempty"`
	URL    string `json:"url,omitempty"`
	// Headers are NAME: VALUE.
	Headers []string `json:"headers,omitempty"`
	// Source is an address or the NAMESPACE/NAME of a workload.
	Source string `json:"source,omitempty"`
	// Destination is the address that a name resolves to, for egress, or ADDRESS:PORT where
	// a redirected connection goes.
	Destination string `json:"destination,omitempty"`
	ServerName  string `json:"serverName,omitempty"`
	// Names that the destination was resolved from, at a transparent listener. Nil takes the
	// name in the URL, or else the server name, as if it had been resolved; empty is none.
	Names  []string `json:"names,omitzero"`
	Egress bool     `json:"egress,omitempty"`
	// Record is a recorded decision to explain. Nothing else is given with it.
	Record *decisions.Record `json:"record,omitempty"`
}

// Explanation is the answer to a Query.
type Explanation struct {
	Workload string `json:"workload"`
	Listener string `json:"listener"`
	policy.Decision
	// Feed is the entry of a threat feed that denies it, before any rule is asked.
	Feed *FeedHit `json:"feed,omitempty"`
	// Alert is one of a feed that only alerts.
	Alert *FeedHit `json:"alert,omitempty"`
	// ReasonID is the reason as it is logged and sent to clients.
	ReasonID string `json:"reasonID"`
	// Words is the reason in words.
	Words string `json:"words"`
	// Remedy is what would have allowed what was denied, in words.
	Remedy string `json:"remedy,omitempty"`
	// File and Line of the rule that decided, where it was read from files.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Digest of the model that was asked.
	Digest string `json:"digest"`
	// Decided is what was decided, where a recorded decision was asked about.
	Decided *Decided `json:"decided,omitempty"`
}

// FeedHit is an entry of a threat feed.
type FeedHit struct {
	Name string `json:"name"`
	// Line and Entry are left out where no entry decided.
	Line  uint32 `json:"line,omitempty"`
	Entry string `json:"entry,omitempty"`
	// Asked is what of the request met it: source, destination, serverName, host or name.
	Asked string `json:"asked,omitempty"`
}

// QueryError is a question that cannot be answered as it stands.
type QueryError struct{ Field, Message string }

func (e *QueryError) Error() string { return e.Field + ": " + e.Message }

// Explain answers a query from a model; set says where rules were read, and may be nil, and
// so may feeds, which then are not asked.
func Explain(m *policy.Model, set *api.Set, feeds *filter.Engine, q Query) (*Explanation, error) {
	if q.Record != nil {
		if !reflect.DeepEqual(q, Query{Record: q.Record}) {
			return nil, &QueryError{"record", "it says everything; give nothing else with it"}
		}
		return explainRecord(m, set, feeds, q.Record)
	}
	w, err := findWorkload(m, q.Workload)
	if err != nil {
		return nil, err
	}
	req, port, err := request(m, q)
	if err != nil {
		return nil, err
	}
	l, err := findListener(w, q, port)
	if err != nil {
		return nil, err
	}
	resolve(l, req, q)
	e := &Explanation{Workload: w.Key(), Listener: l.Name, Decision: l.Evaluate(req), Digest: m.Digest}
	if feeds != nil {
		e.askFeeds(feeds, l, req)
	}
	e.ReasonID, e.Words, e.Remedy = e.Reason.String(), e.Reason.Explain(), remedy(e)
	if i := slices.IndexFunc(e.Trace, func(s policy.Step) bool { return s.Matched && s.Reason.String() == e.ReasonID }); i >= 0 && set != nil {
		kind := api.KindAccessPolicy
		if e.Reason.Policy.Namespace == "" {
			kind = api.KindClusterAccessPolicy
		}
		e.File, e.Line = set.Position(kind, e.Reason.Policy.Namespace, e.Reason.Policy.Name, e.Trace[i].Field)
	}
	return e, nil
}

func findWorkload(m *policy.Model, key string) (*policy.Workload, error) {
	var names []string
	for _, w := range m.Workloads {
		if len(w.Listeners) == 0 {
			continue
		}
		if w.Key() == key || key == "" && len(m.Workloads) == 1 {
			return w, nil
		}
		names = append(names, w.Key())
	}
	if key == "" && len(names) == 1 {
		return findWorkload(m, names[0])
	}
	if len(names) == 0 {
		return nil, &QueryError{"workload", "there is no workload with a listener"}
	}
	return nil, &QueryError{"workload", fmt.Sprintf("name one of %s", strings.Join(names, ", "))}
}

// request turns a query into a request; port is that of the URL, 0 if it has none.
func request(m *policy.Model, q Query) (req *policy.Request, port uint16, err error) {
	req = &policy.Request{ServerName: q.ServerName}
	if req.Source, err = address(m, "source", q.Source); err != nil {
		return nil, 0, err
	}
	if to, perr := netip.ParseAddrPort(q.Destination); perr == nil {
		req.Destination, req.Port = to.Addr().Unmap(), to.Port()
	} else if req.Destination, err = address(m, "destination", q.Destination); err != nil {
		return nil, 0, err
	}
	if q.URL == "" {
		return req, 0, nil
	}
	h := &policy.HTTPRequest{Method: q.Method}
	if h.Method == "" {
		h.Method = "GET"
	}
	rest, ok := strings.CutPrefix(q.URL, "http://")
	if !ok {
		if rest, ok = strings.CutPrefix(q.URL, "https://"); !ok {
			rest = q.URL
		}
	}
	// The path is taken as it is written, not as a URL parser would clean it.
	h.Authority, h.Path = rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		h.Authority, h.Path = rest[:i], rest[i:]
		if h.Path[0] == '?' {
			h.Path = "/" + h.Path
		}
	}
	if u, uerr := url.Parse("http://" + h.Authority); uerr == nil && u.Port() != "" {
		if n, perr := strconv.ParseUint(u.Port(), 10, 16); perr == nil {
			port = uint16(n)
		}
	}
	for _, line := range q.Headers {
		name, value, found := strings.Cut(line, ":")
		if !found {
			return nil, 0, &QueryError{"headers", fmt.Sprintf("%q is not NAME: VALUE", line)}
		}
		if strings.EqualFold(name, "host") {
			h.Authority = strings.TrimSpace(value)
			continue
		}
		h.Headers = append(h.Headers, policy.HeaderField{Name: name, Value: strings.TrimSpace(value)})
	}
	req.HTTP = h
	return req, port, nil
}

func address(m *policy.Model, field, s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), nil
	}
	for _, w := range m.Workloads {
		if w.Key() == s && len(w.Addresses) > 0 {
			return w.Addresses[0], nil
		}
	}
	return netip.Addr{}, &QueryError{field, fmt.Sprintf("%q is neither an address nor a workload, NAMESPACE/NAME, that has one", s)}
}

func findListener(w *policy.Workload, q Query, port uint16) (*policy.Listener, error) {
	var names []string
	var fits []*policy.Listener
	for _, l := range w.Listeners {
		if l.Name == q.Listener {
			return l, nil
		}
		names = append(names, l.Name)
		if (l.Direction == policy.Egress) != (q.Egress || q.Method == "CONNECT") {
			continue
		}
		if q.URL != "" && (l.Traffic == policy.TCP || l.Traffic == policy.TLS) {
			continue
		}
		if port != 0 && l.Direction == policy.Ingress && l.Address.Port() == port {
			return l, nil
		}
		fits = append(fits, l)
	}
	if q.Listener == "" && len(fits) == 1 {
		return fits[0], nil
	}
	return nil, &QueryError{"listener", fmt.Sprintf("name one of %s", strings.Join(names, ", "))}
}
