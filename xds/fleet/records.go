package fleet

import (
	"strings"

	"pavise.dev/pavise/api"
)

// id is the name of an object.
type id struct{ kind, namespace, name string }

func (i id) String() string { return api.ObjectName(i.kind, i.namespace, i.name) }

// record is what is known of an object.
type record struct {
	id       id
	object   api.Object    // as it was last given
	problems []api.Problem // with the object by itself
	invalid  bool          // one of them is an error
	refused  *api.Problem  // why it does not go with the others
	good     api.Object    // the last that was in force, nil if none was
	unknown  bool          // had errors at the first update, so what stood before it is not known
	gone     bool          // a NetworkSet that was deleted, and is named
	seen     bool          // in the update that is being taken over
}

// problem is why the object is not in force as it was given, or nil.
func (r *record) problem() *api.Problem {
	if r.invalid {
		for i := range r.problems {
			if r.problems[i].Severity == api.Error {
				return &r.problems[i]
			}
		}
	}
	return r.refused
}

// standing is the object that takes part: as given, else the last good one, else none.
func (r *record) standing() api.Object {
	if r.gone || r.problem() != nil {
		return r.good
	}
	return r.object
}

// look takes over the objects of one kind, and reports whether any came or changed.
func look[T interface {
	comparable
	api.Object
}](f *Fleet, kind string, list []T) bool {
	changed := false
	for _, o := range list {
		key := id{kind, o.GetNamespace(), o.GetName()}
		r := f.records[key]
		if r == nil {
			r = &record{id: key}
			f.records[key] = r
		}
		r.seen = true
		if r.object != nil && r.object.(T) == o && !r.gone {
			continue
		}
		changed = true
		r.object, r.gone, r.refused = o, false, nil
		r.problems = api.Validate(o)
		r.invalid = api.HasErrors(r.problems)
	}
	return changed
}

// standing is the list of the objects of one kind that take part; the list itself, where that
// is all of them.
func standing[T interface {
	comparable
	api.Object
}](f *Fleet, kind string, list []T) []T {
	var out []T
	for i, o := range list {
		s := f.records[id{kind, o.GetNamespace(), o.GetName()}].standing()
		if s != nil && s.(T) == o {
			if out != nil {
				out = append(out, o)
			}
			continue
		}
		if out == nil {
			out = append(make([]T, 0, len(list)), list[:i]...)
		}
		if s != nil {
			out = append(out, s.(T))
		}
	}
	if out == nil {
		return list
	}
	return out
}

// takeOver makes the records those of the set. What was refused because of others is tried
// again where any of the others that may matter changed.
func (f *Fleet) takeOver(set *api.Set) {
	for _, r := range f.records {
		r.seen = false
	}
	changed := look(f, api.KindAccessPolicy, set.AccessPolicies)
	changed = look(f, api.KindClusterAccessPolicy, set.ClusterAccessPolicies) || changed
	changed = look(f, api.KindNetworkSet, set.NetworkSets) || changed
	look(f, api.KindThreatFeed, set.ThreatFeeds)
	look(f, api.KindWorkload, set.Workloads)
	look(f, api.KindNamespace, set.Namespaces)
	for key, r := range f.records {
		if r.seen {
			continue
		}
		if key.kind == api.KindNetworkSet && r.good != nil {
			r.gone = true // until no policy names it, see namedSets
			continue
		}
		changed = changed || key.kind != api.KindNamespace && key.kind != api.KindThreatFeed
		delete(f.records, key)
	}
	if changed {
		for _, r := range f.records {
			r.refused = nil
		}
	}
}

// effective is the set of what takes part.
func (f *Fleet) effective(set *api.Set) *api.Set {
	out := &api.Set{
		AccessPolicies:        standing(f, api.KindAccessPolicy, set.AccessPolicies),
		ClusterAccessPolicies: standing(f, api.KindClusterAccessPolicy, set.ClusterAccessPolicies),
		ThreatFeeds:           standing(f, api.KindThreatFeed, set.ThreatFeeds),
		Workloads:             standing(f, api.KindWorkload, set.Workloads),
		Namespaces:            standing(f, api.KindNamespace, set.Namespaces),
		NetworkSets:           standing(f, api.KindNetworkSet, set.NetworkSets),
	}
	named := f.namedSets(out)
	for key, r := range f.records {
		if r.gone && len(named[key.namespace+"/"+key.name]) > 0 {
			out.NetworkSets = insert(out.NetworkSets, r.good.(*api.NetworkSet))
		}
	}
	return out
}

// insert puts a set into a sorted copy of the list.
func insert(list []*api.NetworkSet, n *api.NetworkSet) []*api.NetworkSet {
	i := 0
	for i < len(list) && (list[i].Namespace < n.Namespace || list[i].Namespace == n.Namespace && list[i].Name < n.Name) {
		i++
	}
	out := append(make([]*api.NetworkSet, 0, len(list)+1), list[:i]...)
	return append(append(out, n), list[i:]...)
}

// namedSets is which policies name a NetworkSet, by its NAMESPACE/NAME. Only where one was
// deleted is there a need to know.
func (f *Fleet) namedSets(set *api.Set) map[string][]id {
	out := map[string][]id{}
	gone := false
	for _, r := range f.records {
		gone = gone || r.gone
	}
	if !gone {
		return out
	}
	note := func(by id, p *api.Peer) {
		for _, n := range p.NetworkSets {
			if !strings.Contains(n, "/") {
				n = by.namespace + "/" + n
			}
			if l := out[n]; len(l) == 0 || l[len(l)-1] != by {
				out[n] = append(l, by)
			}
		}
	}
	spec := func(by id, s *api.AccessPolicySpec) {
		for i := range s.Ingress {
			for j := range s.Ingress[i].From {
				note(by, &s.Ingress[i].From[j])
			}
		}
		for i := range s.Egress {
			for j := range s.Egress[i].To {
				note(by, &s.Egress[i].To[j].Peer)
			}
		}
	}
	for _, p := range set.AccessPolicies {
		spec(id{api.KindAccessPolicy, p.Namespace, p.Name}, &p.Spec)
	}
	for _, p := range set.ClusterAccessPolicies {
		spec(id{api.KindClusterAccessPolicy, "", p.Name}, &p.Spec.AccessPolicySpec)
	}
	return out
}
