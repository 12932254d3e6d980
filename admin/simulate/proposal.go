package simulate

import (
	"fmt"
	"slices"

	"pavise.dev/pavise/api"
)

// propose is the current set with the proposed objects added or put in place of those of the
// same name, and without the removed ones. Objects that stay are the same pointers.
func propose(current *api.Set, proposed []api.Object, opt *Options) (*api.Set, []api.Problem, error) {
	removed := map[string]bool{}
	for _, name := range opt.Removed {
		removed[name] = false
	}
	replaced := map[string]bool{}
	for _, o := range proposed {
		name, err := nameOf(o)
		if err != nil {
			return nil, nil, err
		}
		if _, also := removed[name]; also {
			return nil, nil, &InputError{fmt.Sprintf("%s is both proposed and removed; keep one of them", name)}
		}
		replaced[name] = true
	}
	var objects []api.Object
	for _, o := range objectsOf(current) {
		name, err := nameOf(o)
		if err != nil {
			return nil, nil, err
		}
		if _, gone := removed[name]; gone {
			removed[name] = true
		} else if !replaced[name] {
			objects = append(objects, o)
		}
	}
	for _, name := range opt.Removed {
		if !removed[name] {
			return nil, nil, &InputError{fmt.Sprintf("removed: there is no %q; write KIND NAMESPACE/NAME of an object that is in force", name)}
		}
	}
	for _, o := range proposed {
		if opt.Enforce {
			o = enforced(o)
		}
		objects = append(objects, o)
	}
	set, problems := api.NewSet(objects...)
	return set, problems, nil
}

func enforced(o api.Object) api.Object {
	switch p := o.(type) {
	case *api.AccessPolicy:
		p = p.DeepCopy()
		p.Spec.Mode = api.ModeEnforce
		return p
	case *api.ClusterAccessPolicy:
		p = p.DeepCopy()
		p.Spec.Mode = api.ModeEnforce
		return p
	}
	return o
}

func objectsOf(s *api.Set) []api.Object {
	return slices.Concat(asObjects(s.AccessPolicies), asObjects(s.ClusterAccessPolicies), asObjects(s.NetworkSets),
		asObjects(s.Workloads), asObjects(s.ThreatFeeds), asObjects(s.Namespaces))
}

func asObjects[T api.Object](in []T) []api.Object {
	out := make([]api.Object, len(in))
	for i, o := range in {
		out[i] = o
	}
	return out
}

// nameOf is what problems call the object.
func nameOf(o api.Object) (string, error) {
	kind := ""
	switch o.(type) {
	case *api.AccessPolicy:
		kind = api.KindAccessPolicy
	case *api.ClusterAccessPolicy:
		kind = api.KindClusterAccessPolicy
	case *api.NetworkSet:
		kind = api.KindNetworkSet
	case *api.Workload:
		kind = api.KindWorkload
	case *api.ThreatFeed:
		kind = api.KindThreatFeed
	case *api.Namespace:
		kind = api.KindNamespace
	default:
		return "", &InputError{fmt.Sprintf("proposed: an object of type %T is not known here", o)}
	}
	return api.ObjectName(kind, o.GetNamespace(), o.GetName()), nil
}
