package status

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// key names an object.
type key struct{ kind, namespace, name string }

func (k key) String() string { return api.ObjectName(k.kind, k.namespace, k.name) }

func (k key) compare(o key) int {
	return cmp.Or(strings.Compare(k.kind, o.kind), strings.Compare(k.namespace, o.namespace), strings.Compare(k.name, o.name))
}

// counts is what became of one version of a policy.
type counts struct {
	uid        types.UID
	generation int64
	selected   int
	programmed int
	refused    int
	refusals   []api.Refusal // the first by name, at most api.MaxRefusals
	held       []string      // workloads that are given nothing new, sorted, at most maxHeld
	uncounted  int           // replicas that had more policies than they could publish
}

// maxHeld bounds the workloads that are named.
const maxHeld = 3

// tally is a workload's sidecars that are connected here.
type tally struct {
	programmed, refused int
	refusals            []api.Refusal
}

// state of a sidecar, in a word.
type state string

const (
	stateSynced       state = "Synced"
	statePending      state = "Pending"
	stateRefused      state = "Refused"
	stateHeld         state = "Held"
	stateDisconnected state = "Disconnected"
)

// stateOf compares what a sidecar has with what is in force. given is what its workload was
// given last, model what it was to be given.
func stateOf(s *xds.NodeStatus, given, model string) state {
	switch {
	case !s.Connected:
		return stateDisconnected
	case s.NACK != nil:
		return stateRefused
	case given != model:
		return stateHeld
	case s.InForce() && s.Wanted == given:
		return stateSynced
	default:
		return statePending
	}
}

// count goes through all sidecars and all policies once. Only objects that are in the API
// server, which have a UID, are counted.
func count(f Fleet, s Server) map[key]*counts {
	// The set first: what is read later may be newer, and then it is counted for a version
	// that is over, which harms nobody.
	set, model := f.Set(), f.Model()
	digests := make(map[string]string, len(model.Workloads))
	for _, w := range model.Workloads {
		digests[w.Key()] = w.Digest()
	}
	tallies := map[string]*tally{}
	for node, st := range s.Nodes() {
		w := f.WorkloadOf(node)
		if w == "" {
			continue
		}
		t := tallies[w]
		if t == nil {
			t = &tally{}
			tallies[w] = t
		}
		switch stateOf(&st, f.Digest(w), digests[w]) {
		case stateSynced:
			t.programmed++
		case stateRefused:
			t.refused++
			t.refusals = addRefusal(t.refusals, refusalOf(node, st.NACK))
		}
	}
	c := counter{fleet: f, digests: digests, tallies: tallies, sizes: map[string]int{}, out: map[key]*counts{}}
	for _, p := range set.AccessPolicies {
		c.add(key{api.KindAccessPolicy, p.Namespace, p.Name}, &p.ObjectMeta)
	}
	for _, p := range set.ClusterAccessPolicies {
		c.add(key{api.KindClusterAccessPolicy, "", p.Name}, &p.ObjectMeta)
	}
	return c.out
}

type counter struct {
	fleet   Fleet
	digests map[string]string
	tallies map[string]*tally
	sizes   map[string]int // sidecars by workload
	out     map[key]*counts
}

func (c *counter) add(k key, meta *metav1.ObjectMeta) {
	if meta.UID == "" {
		return
	}
	n := &counts{uid: meta.UID, generation: meta.Generation}
	for _, w := range c.fleet.Selected(policy.PolicyRef{Namespace: k.namespace, Name: k.name}) {
		name := w.Key()
		size, known := c.sizes[name]
		if !known {
			size = len(c.fleet.NodesOf(name))
			c.sizes[name] = size
		}
		if size == 0 {
			continue
		}
		n.selected += size
		if c.fleet.Digest(name) != c.digests[name] && len(n.held) < maxHeld {
			n.held = append(n.held, name)
		}
		if t := c.tallies[name]; t != nil {
			n.programmed += t.programmed
			n.refused += t.refused
			for _, r := range t.refusals {
				n.refusals = addRefusal(n.refusals, r)
			}
		}
	}
	c.out[k] = n
}

// addRefusal keeps the first by name.
func addRefusal(list []api.Refusal, r api.Refusal) []api.Refusal {
	i, found := slices.BinarySearchFunc(list, r.Node, func(a api.Refusal, node string) int { return strings.Compare(a.Node, node) })
	if found || i >= api.MaxRefusals {
		return list
	}
	list = slices.Insert(list, i, r)
	return list[:min(len(list), api.MaxRefusals)]
}

// maxNode is the longest name of a sidecar that a status takes, in characters.
const maxNode = 512

func refusalOf(node string, n *xds.NACK) api.Refusal {
	return api.Refusal{Node: cut(node, maxNode), Message: api.StatusMessage(n.Message), Time: seconds(n.Time)}
}

// seconds is a time as an API server keeps it.
func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.UTC().Truncate(time.Second)) }

// cut makes a text at most n characters of one line; n is at most api.MaxStatusMessage.
func cut(s string, n int) string {
	r := []rune(api.StatusMessage(s))
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}
