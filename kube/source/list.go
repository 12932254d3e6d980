package source

import (
	"cmp"
	"slices"
)

// name is NAMESPACE/NAME; the namespace is empty for what has none.
type name struct{ namespace, name string }

func (n name) String() string { return n.namespace + "/" + n.name }

func (n name) compare(o name) int {
	return cmp.Or(cmp.Compare(n.namespace, o.namespace), cmp.Compare(n.name, o.name))
}

type object interface {
	comparable
	GetNamespace() string
	GetName() string
}

func nameOf[T interface {
	GetNamespace() string
	GetName() string
}](o T) name {
	return name{o.GetNamespace(), o.GetName()}
}

// list is objects by name, and sorted as an api.Set has them. A slice that was handed out does
// not change.
type list[T object] struct {
	byName  map[name]T
	sorted  []T
	touched map[name]struct{} // since settle
}

func newList[T object]() list[T] {
	return list[T]{byName: map[name]T{}, touched: map[name]struct{}{}}
}

func (l *list[T]) put(o T) {
	n := nameOf(o)
	if l.byName[n] != o {
		l.byName[n] = o
		l.touched[n] = struct{}{}
	}
}

func (l *list[T]) remove(n name) {
	if _, there := l.byName[n]; there {
		delete(l.byName, n)
		l.touched[n] = struct{}{}
	}
}

// settle brings the sorted slice up to date and reports whether it is another. The cost is
// linear in it where anything changed, and nothing otherwise.
func (l *list[T]) settle() bool {
	if len(l.touched) == 0 {
		return false
	}
	names := make([]name, 0, len(l.touched))
	for n := range l.touched {
		names = append(names, n)
	}
	slices.SortFunc(names, name.compare)
	clear(l.touched)
	out := make([]T, 0, len(l.byName))
	rest := l.sorted
	for _, n := range names {
		i, found := slices.BinarySearchFunc(rest, n, func(o T, n name) int { return nameOf(o).compare(n) })
		out = append(out, rest[:i]...)
		if found {
			i++
		}
		rest = rest[i:]
		if o, there := l.byName[n]; there {
			out = append(out, o)
		}
	}
	out = append(out, rest...)
	if slices.Equal(out, l.sorted) {
		return false
	}
	l.sorted = out
	return true
}
