package xds

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/structpb"

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
}

// recordedBy are the values that rules ask for. Those of names that speak of secrets are not
// kept: a rule may ask whether there is an authorization without anybody reading it.
func recordedBy(p *policy.Program) recorded {
	out := recorded{headers: map[string]bool{}, query: map[string]bool{}}
	for _, r := range p.Rules {
		for _, t := range r.Terms {
			if t.HTTP == nil {
				continue
			}
			for i := range t.HTTP.Values {
				v := &t.HTTP.Values[i]
				to := out.query
				if v.Place == policy.Header {
					to = out.headers
				}
				to[v.Name] = to[v.Name] || v.Compares() && !secret.Names(v.Name)
			}
		}
	}
	return out
}

// Keys of the metadata of a filter chain that says what is recorded, for who reads the log of
// a listener without its rules.
const (
	recordedMetadata = "pavise.recorded"
	headersField     = "headers"
	queryField       = "query"
)

// metadata is nil where nothing is recorded.
func (r recorded) metadata() *corev3.Metadata {
	if len(r.headers)+len(r.query) == 0 {
		return nil
	}
	object := func(m map[string]bool) *structpb.Value {
		fields := make(map[string]*structpb.Value, len(m))
		for name, value := range m {
			fields[name] = structpb.NewBoolValue(value)
		}
		return structpb.NewStructValue(&structpb.Struct{Fields: fields})
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{recordedMetadata: {
		Fields: map[string]*structpb.Value{headersField: object(r.headers), queryField: object(r.query)},
	}}}
}

// recordedIn reads the metadata of a listener's filter chains.
func recordedIn(l *listenerv3.Listener) recorded {
	out := recorded{headers: map[string]bool{}, query: map[string]bool{}}
	for _, c := range l.GetFilterChains() {
		fields := c.GetMetadata().GetFilterMetadata()[recordedMetadata].GetFields()
		for name, value := range fields[headersField].GetStructValue().GetFields() {
			out.headers[name] = value.GetBoolValue()
		}
		for name, value := range fields[queryField].GetStructValue().GetFields() {
			out.query[name] = value.GetBoolValue()
		}
	}
	return out
}

// names are the headers that Envoy shall log.
func (r recorded) names() []string { return slices.Sorted(maps.Keys(r.headers)) }

// lines are the headers of a request that are recorded. Envoy gives those of one name joined
// by commas, as rules compare them.
func (r recorded) lines(headers map[string]string) decisions.Lines {
	if len(r.headers) == 0 {
		return ""
	}
	var out []string
	for _, name := range r.names() {
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
