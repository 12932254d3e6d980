package injector

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// operation of RFC 6902.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Patch is what makes the second pod of the first, as JSON patch (RFC 6902), or nil if they are
// the same. It names only what differs, so fields of a newer API server that this package does
// not know stay as they are.
func Patch(before, after *corev1.Pod) ([]byte, error) {
	a, err := generic(before)
	if err != nil {
		return nil, err
	}
	b, err := generic(after)
	if err != nil {
		return nil, err
	}
	var d differ
	d.value("", a, b)
	if len(d.ops) == 0 {
		return nil, nil
	}
	return json.Marshal(d.ops)
}

func generic(p *corev1.Pod) (any, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("injector: pod: %w", err)
	}
	var v any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("injector: pod: %w", err)
	}
	return v, nil
}

type differ struct{ ops []operation }

// pointer escapes a key in a path (RFC 6901).
var pointer = strings.NewReplacer("~", "~0", "/", "~1")

func (d *differ) value(path string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	switch b := b.(type) {
	case map[string]any:
		if a, ok := a.(map[string]any); ok {
			d.object(path, a, b)
			return
		}
	case []any:
		if a, ok := a.([]any); ok && d.list(path, a, b) {
			return
		}
	}
	// To add replaces what is there. It is a field in any case: items of lists that are
	// compared are objects.
	d.ops = append(d.ops, operation{"add", path, b})
}

func (d *differ) object(path string, a, b map[string]any) {
	keys := map[string]bool{}
	for _, m := range []map[string]any{a, b} {
		for k := range m {
			keys[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		at := path + "/" + pointer.Replace(k)
		was, had := a[k]
		now, has := b[k]
		switch {
		case !has:
			d.ops = append(d.ops, operation{Op: "remove", Path: at})
		case !had:
			d.ops = append(d.ops, operation{"add", at, now})
		default:
			d.value(at, was, now)
		}
	}
}

// list compares by name, and returns false where there are no names, or those that both have
// are in another order. Ours count as new wherever they stand, since they may move.
func (d *differ) list(path string, a, b []any) bool {
	na, nb := names(a), names(b)
	if na == nil || nb == nil {
		return false
	}
	ours := func(n string) bool { return slices.Contains(ownContainers, n) || slices.Contains(ownVolumes, n) }
	stays := func(n string) bool {
		ia, ib := slices.Index(na, n), slices.Index(nb, n)
		return ia >= 0 && ib >= 0 && (!ours(n) || ia == ib)
	}
	both := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(n string) bool { return !stays(n) })
	}
	if !slices.Equal(both(na), both(nb)) {
		return false
	}
	for i, n := range slices.Backward(na) {
		if !stays(n) {
			d.ops = append(d.ops, operation{Op: "remove", Path: path + "/" + strconv.Itoa(i)})
		}
	}
	for i, n := range nb {
		at := path + "/" + strconv.Itoa(i)
		if stays(n) {
			d.value(at, a[slices.Index(na, n)], b[i])
		} else {
			d.ops = append(d.ops, operation{"add", at, b[i]})
		}
	}
	return true
}

// names of the items, or nil if one has none or two have the same.
func names(list []any) []string {
	var out []string
	seen := map[string]bool{}
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil
		}
		n, ok := m["name"].(string)
		if !ok || seen[n] {
			return nil
		}
		seen[n] = true
		out = append(out, n)
	}
	return out
}
