package xds

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/secret"
	"pavise.dev/pavise/policy"
)

// recorded says what of a request is recorded for the rules of a listener to be explained
// later: what they ask for, and nothing else.
type recorded struct {
	// headers that are recorded. Of those with true the values are, of others that they
	// were there.
	headers map[string]bool
	// query has the parameters, likewise.
	query map[string]bool
	// names of the headers, in the order of records: one is made for every request.
	names []string
}

func newRecorded(headers, query map[string]bool) recorded {
	return recorded{headers, query, slices.Sorted(maps.Keys(headers))}
}

// recordedBy are the values that rules ask for. Those of names that speak of secrets are not
// kept: a rule may ask whether there is an authorization without anybody reading it.
func recordedBy(p *policy.Program) recorded {
	headers, query := map[string]bool{}, map[string]bool{}
	for _, r := range p.Rules {
		for _, t := range r.Terms {
			if t.HTTP == nil {
				continue
			}
			for i := range t.HTTP.Values {
				v := &t.HTTP.Values[i]
				to := query
				if v.Place == policy.Header {
					to = headers
				}
				to[v.Name] = to[v.Name] || v.Compares() && !secret.Names(v.Name)
			}
		}
	}
	return newRecorded(headers, query)
}

// recordedMark begins, in the name of a log, what is recorded in it. It stands there so that
// whoever reads a log knows, without the rules: while one filter chain takes the place of
// another, there are two logs of a listener that differ in it.
const recordedMark = "#recorded?"

// mark is the end of the name of a log; empty where nothing is recorded.
func (r recorded) mark() string {
	if len(r.headers)+len(r.query) == 0 {
		return ""
	}
	v := url.Values{}
	for place, names := range map[string]map[string]bool{"header": r.headers, "query": r.query} {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			key := place
			if !names[name] {
				key += "-present"
			}
			v.Add(key, name)
		}
	}
	return recordedMark + v.Encode()
}

// recordedIn reads the end of the name of a log. What cannot be read records nothing.
func recordedIn(mark string) recorded {
	v, err := url.ParseQuery(mark)
	if err != nil {
		return recorded{}
	}
	headers, query := map[string]bool{}, map[string]bool{}
	for place, names := range map[string]map[string]bool{"header": headers, "query": query} {
		for _, name := range v[place+"-present"] {
			names[name] = false
		}
		for _, name := range v[place] {
			names[name] = true
		}
	}
	return newRecorded(headers, query)
}

// lines are the headers of a request that are recorded. Envoy gives those of one name joined
// by commas, as rules compare them.
func (r recorded) lines(headers map[string]string) decisions.Lines {
	var out []string
	for _, name := range r.names {
		value, ok := headers[name]
		if !ok {
			continue
		}
		if !r.headers[name] {
			value = secret.Redacted
		}
		out = append(out, name+": "+value)
	}
	return decisions.JoinLines(out)
}

// parameters is what of a query is recorded, in the order in which it was sent. Some servers
// separate parameters by semicolons too, and so does a rule: what stands between two ampersands
// is kept if there is one of ours in it, with the values of the others taken out.
func (r recorded) parameters(query string) string {
	if len(r.query) == 0 || query == "" {
		return ""
	}
	var out []string
	for part := range strings.SplitSeq(query, "&") {
		if kept, ours := r.part(part); ours {
			out = append(out, kept)
		}
	}
	return strings.Join(out, "&")
}

// part is what is recorded of a part between ampersands, and whether there is one of ours in it.
func (r recorded) part(part string) (kept string, ours bool) {
	ones := strings.Split(part, ";")
	for i, one := range ones {
		name, _, valued := strings.Cut(one, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		value, asked := r.query[plain]
		ours = ours || asked
		if valued && !value {
			ones[i] = name + "=" + secret.Redacted
		}
	}
	return strings.Join(ones, ";"), ours
}
