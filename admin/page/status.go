package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
)

// notice is something that is not in force, and why.
type notice struct {
	What, Why string
	// Link leads to where there is more; it may be empty.
	Link string
}

// fact is a value of a status under its name.
type fact struct{ Name, Value string }

const (
	// mostFacts is how many values of a status are shown, and mostDeep how deep they may be.
	mostFacts = 60
	mostDeep  = 4
)

// status is what is known of a process: what every kind of process says, as far as it does.
type status struct {
	// Problems of the policies, errors first.
	Problems []api.Problem
	found    []notice
	rest     map[string]any
}

// readStatus reads what Source.Status gives. What has another form than expected is a fact.
func readStatus(x any) *status {
	s := &status{}
	data, err := json.Marshal(x)
	if err != nil {
		s.found = append(s.found, notice{What: "the status", Why: "it cannot be read: " + err.Error()})
		return s
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		s.rest = map[string]any{"status": string(data)}
		return s
	}
	take := func(name string, into any) bool {
		if raw, ok := parts[name]; !ok || json.Unmarshal(raw, into) != nil {
			return false
		}
		delete(parts, name)
		return true
	}
	if take("problems", &s.Problems) {
		slices.SortStableFunc(s.Problems, func(a, b api.Problem) int {
			return cmp.Compare(rank(a.Severity), rank(b.Severity))
		})
	}
	s.take(take)
	s.rest = make(map[string]any, len(parts))
	for name, raw := range parts {
		var v any
		if json.Unmarshal(raw, &v) == nil { // it was marshalled just now
			s.rest[name] = v
		}
	}
	return s
}

func rank(s api.Severity) int {
	if s == api.Error {
		return 0
	}
	return 1
}

// take makes notices of the fields that say that something is not in force.
func (s *status) take(take func(name string, into any) bool) {
	add := func(what, why, to string) { s.found = append(s.found, notice{what, why, to}) }
	for _, t := range []struct{ field, what string }{
		{"missing", "this process"}, {"certificateTrouble", "its certificate"}, {"feedTrouble", "threat feeds"}, {"lastExit", "Envoy"},
	} {
		var why string
		if take(t.field, &why) && why != "" {
			add(t.what, why, "")
		}
	}
	var broken bool
	if take("broken", &broken) && broken {
		add("the files of policies", "they have errors; what was in force before them stays", "")
	}
	running := true
	if take("inForce", &running) && !running {
		add("policies", "Envoy has not taken over all of them", "")
	}
	var envoy struct {
		NACK *struct{ Message string } `json:"nack"`
	}
	if take("envoy", &envoy) && envoy.NACK != nil {
		add("policies", "Envoy refuses them: "+envoy.NACK.Message, "")
	}
	for _, l := range []struct{ field, why string }{
		{"outOfForce", "it has errors, and there is no earlier version without"},
		{"lastGood", "it has errors; its last version without is in force"},
		{"unshielded", "it has no sidecar, though its namespace asks for one"},
	} {
		var names []string
		if take(l.field, &names) {
			for _, name := range names {
				add(name, l.why, "")
			}
		}
	}
	var held map[string]string
	if take("held", &held) {
		for _, name := range slices.Sorted(maps.Keys(held)) {
			add("workload "+name, "it is given nothing new: "+held[name], link("/workload", "name", name))
		}
	}
	// Those of admin.HasFeeds say the same.
	var list []feeds.Status
	take("feeds", &list)
}

func (s *status) notices() []notice { return s.found }

// facts are the other values, by name.
func (s *status) facts() (out []fact, left int) {
	var walk func(name string, v any, deep int)
	walk = func(name string, v any, deep int) {
		m, ok := v.(map[string]any)
		if ok && deep < mostDeep {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				walk(strings.TrimPrefix(name+"."+k, "."), m[k], deep+1)
			}
			return
		}
		if len(out) == mostFacts {
			left++
			return
		}
		switch v := v.(type) {
		case nil:
		case []any:
			out = append(out, fact{name, fmt.Sprintf("%d items", len(v))})
		case map[string]any:
			out = append(out, fact{name, fmt.Sprintf("%d fields", len(v))})
		case float64:
			out = append(out, fact{name, fmt.Sprintf("%.15g", v)})
		default:
			out = append(out, fact{name, fmt.Sprint(v)})
		}
	}
	walk("", s.rest, 0)
	return out, left
}

// feedNotices are of feeds with which something is wrong, in the order of their names.
func feedNotices(list []feeds.Status) []notice {
	var out []notice
	for i := range list {
		f := &list[i]
		if f.State == api.FeedCurrent && f.Error == "" {
			continue
		}
		why := string(f.State)
		if f.Error != "" {
			why += ": " + f.Error
		}
		if f.Required && f.Entries == 0 {
			why += "; it is required, so that all that it could list is denied"
		}
		out = append(out, notice{"feed " + f.Name, why, link("/feed", "name", f.Name)})
	}
	slices.SortFunc(out, func(a, b notice) int { return cmp.Compare(a.What, b.What) })
	return out
}
