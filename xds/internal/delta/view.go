package delta

import "maps"

// unknown is the version of what a client may have or not, since it refused it among others.
const unknown = ""

// view is what a client has of a type: all of a set, or where that is not so, versions by
// name.
type view struct {
	base *set
	odd  map[string]string // nil: all of base
}

func (v *view) version(name string) (string, bool) {
	if v.odd != nil {
		version, ok := v.odd[name]
		return version, ok
	}
	if p := v.base.find(name); p != nil {
		return p.version, true
	}
	return "", false
}

// spread makes it one of versions.
func (v *view) spread() {
	if v.odd != nil {
		return
	}
	v.odd = make(map[string]string, len(v.base.pieces))
	for _, p := range v.base.pieces {
		v.odd[p.name] = p.version
	}
}

// fold makes it a pointer, if it is all of the set.
func (v *view) fold(s *set) {
	if v.odd == nil || len(v.odd) != len(s.pieces) {
		return
	}
	for _, p := range s.pieces {
		if v.odd[p.name] != p.version {
			return
		}
	}
	v.base, v.odd = s, nil
}

// keepOnly drops what is not wanted.
func (v *view) keepOnly(wanted func(string) bool) {
	v.spread()
	maps.DeleteFunc(v.odd, func(name, _ string) bool { return !wanted(name) })
}

// lacking counts what differs from a set.
func (v *view) lacking(s *set) int {
	if v.odd == nil && v.base == s {
		return 0
	}
	n := 0
	for _, p := range s.pieces {
		if version, _ := v.version(p.name); version != p.version {
			n++
		}
	}
	if v.odd != nil {
		for name := range v.odd {
			if s.find(name) == nil {
				n++
			}
		}
		return n
	}
	for _, p := range v.base.pieces {
		if s.find(p.name) == nil {
			n++
		}
	}
	return n
}
