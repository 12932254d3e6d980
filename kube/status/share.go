package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"pavise.dev/pavise/api"
)

const (
	// maxShare bounds what a replica publishes, in octets. An object of the API server may
	// have 1 MiB, in front of which etcd stops.
	maxShare = 900_000
	// maxRefused bounds the part of it that names refusals.
	maxRefused = 300_000
	// shareVersion is that of the form; another is not read.
	shareVersion = 1
)

// share is what one replica counts. Refusals are in a table, since one sidecar that refuses
// concerns every policy that selects it.
type share struct {
	Version  int               `json:"version"`
	Replica  string            `json:"replica"`
	Revision string            `json:"revision"`
	Policies []json.RawMessage `json:"policies"` // sharedPolicy
	Refusals []api.Refusal     `json:"refusals,omitempty"`
	// Left counts the policies that did not fit.
	Left int `json:"left,omitempty"`

	policies map[key]*counts // as read
}

type sharedPolicy struct {
	Kind       string    `json:"kind"`
	Namespace  string    `json:"namespace,omitempty"`
	Name       string    `json:"name"`
	UID        types.UID `json:"uid"`
	Generation int64     `json:"generation"`
	Selected   int       `json:"selected"`
	Programmed int       `json:"programmed"`
	Refused    int       `json:"refused,omitempty"`
	// Refusals are places in the table, from 0.
	Refusals []int `json:"refusals,omitempty"`
}

// encode writes counts in at most maxShare octets. Policies that select nothing are left out.
func encode(replica, revision string, all map[key]*counts) ([]byte, error) {
	s := share{Version: shareVersion, Replica: replica, Revision: revision, Policies: []json.RawMessage{}}
	at := map[string]int{}
	room := maxRefused
	size := 1024 // what is around
	for _, k := range slices.SortedFunc(maps.Keys(all), key.compare) {
		c := all[k]
		if c.selected == 0 {
			continue
		}
		p := sharedPolicy{
			Kind: k.kind, Namespace: k.namespace, Name: k.name, UID: c.uid, Generation: c.generation,
			Selected: c.selected, Programmed: c.programmed, Refused: c.refused,
		}
		for _, r := range c.refusals {
			i, known := at[r.Node]
			if !known {
				text, err := json.Marshal(r)
				if err != nil {
					return nil, err
				}
				if room -= len(text); room < 0 {
					continue // it is counted, and not named
				}
				size += len(text) + 1
				i = len(s.Refusals)
				at[r.Node], s.Refusals = i, append(s.Refusals, r)
			}
			p.Refusals = append(p.Refusals, i)
		}
		text, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		if size+len(text)+1 > maxShare {
			s.Left++
			continue
		}
		size += len(text) + 1
		s.Policies = append(s.Policies, text)
	}
	return json.Marshal(s)
}

// decode reads what another replica wrote, or what somebody else put there.
func decode(text string) (*share, error) {
	if len(text) > maxShare+1024 {
		return nil, fmt.Errorf("%d octets; at most %d are read", len(text), maxShare)
	}
	var s share
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, err
	}
	if s.Version != shareVersion {
		return nil, fmt.Errorf("its version is %d; %d is read here", s.Version, shareVersion)
	}
	for i := range s.Refusals {
		r := &s.Refusals[i]
		r.Node, r.Message, r.Time = cut(r.Node, maxNode), api.StatusMessage(r.Message), seconds(r.Time.Time)
	}
	s.policies = make(map[key]*counts, len(s.Policies))
	for _, raw := range s.Policies {
		var p sharedPolicy
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, err
		}
		if !sane(p.Selected) || !sane(p.Programmed) || !sane(p.Refused) {
			return nil, errors.New("a count is below zero or above a million")
		}
		c := &counts{uid: p.UID, generation: p.Generation, selected: p.Selected, programmed: p.Programmed, refused: p.Refused}
		for _, i := range p.Refusals[:min(len(p.Refusals), api.MaxRefusals)] {
			if i < 0 || i >= len(s.Refusals) {
				return nil, fmt.Errorf("refusal %d is not in the table", i)
			}
			c.refusals = addRefusal(c.refusals, s.Refusals[i])
		}
		s.policies[key{p.Kind, p.Namespace, p.Name}] = c
	}
	return &s, nil
}

func sane(n int) bool { return n >= 0 && n <= 1_000_000 }

// merge adds what others count to what this replica counts, of the same version of each policy.
// All replicas of one revision see the same pods, so what is selected is that of one of them.
func merge(own map[key]*counts, revision string, others []*share) map[key]*counts {
	out := make(map[key]*counts, len(own))
	for k, c := range own {
		sum := *c
		sum.refusals = slices.Clone(c.refusals)
		selected := map[string]int{}
		for _, o := range others {
			p := o.policies[k]
			if p == nil {
				if o.Left > 0 {
					sum.uncounted++
				}
				continue
			}
			if p.uid != c.uid {
				continue
			}
			selected[o.Revision] = max(selected[o.Revision], p.selected)
			if p.generation != c.generation {
				continue
			}
			sum.programmed += p.programmed
			sum.refused += p.refused
			for _, r := range p.refusals {
				sum.refusals = addRefusal(sum.refusals, r)
			}
		}
		for r, n := range selected {
			if r != revision {
				sum.selected += n
			}
		}
		// For as long as a replica that died is counted, a sidecar may be counted twice.
		sum.refused = min(sum.refused, sum.selected)
		sum.programmed = min(sum.programmed, sum.selected-sum.refused)
		out[k] = &sum
	}
	return out
}
