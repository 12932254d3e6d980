package api

import (
	"reflect"
	"strings"
	"sync"
)

// structFields is what the decoder knows of a struct: its fields by the names
// users write, those of inlined structs among them.
type structFields struct {
	list   []fieldInfo
	byName map[string]int
}

type fieldInfo struct {
	name     string
	index    []int
	optional bool
}

var statusTypes = map[reflect.Type]bool{
	reflect.TypeFor[AccessPolicyStatus](): true,
	reflect.TypeFor[NetworkSetStatus]():   true,
	reflect.TypeFor[ThreatFeedStatus]():   true,
}

var structCache sync.Map // reflect.Type to *structFields

func fieldsOf(t reflect.Type) *structFields {
	if f, ok := structCache.Load(t); ok {
		return f.(*structFields)
	}
	f := &structFields{byName: map[string]int{}}
	f.add(t, nil)
	structCache.Store(t, f)
	return f
}

func (f *structFields) add(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		index := append(append([]int(nil), prefix...), i)
		switch {
		case name == "" && field.Anonymous:
			f.add(field.Type, index)
		case name == "status" && statusTypes[field.Type]:
			// Written by Pavise, and no field of what users write.
		case name != "" && name != "-" && field.IsExported():
			f.byName[name] = len(f.list)
			f.list = append(f.list, fieldInfo{
				name: name, index: index,
				optional: strings.Contains(options, "omitempty"),
			})
		}
	}
}

// suggest says which known field an unknown name was probably meant to be.
func (f *structFields) suggest(name string) string {
	names := make([]string, len(f.list))
	for i, info := range f.list {
		names[i] = info.name
	}
	if best := nearest(name, names); best != "" {
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(names, ", ")
}

// nearest returns the name that is a slip of the keyboard away, or "".
func nearest(name string, names []string) string {
	if len(name) > 64 {
		return ""
	}
	best, least := "", 3
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return n
		}
		limit := least
		// Two changes make any short word any other.
		if len(name) <= 4 {
			limit = min(limit, 2)
		}
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < limit {
			best, least = n, d
		}
	}
	return best
}

// distance is how many letters have to be added, removed, changed or swapped with
// their neighbour to make a into b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
