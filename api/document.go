package api

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.yaml.in/yaml/v3"
)

// Object is any of the kinds that are read.
//
// +kubebuilder:object:generate=false
type Object interface {
	metav1.Object
	// The unexported method keeps the set of kinds closed: Set has a field for each.
	kind() string
}

func (*AccessPolicy) kind() string        { return KindAccessPolicy }
func (*ClusterAccessPolicy) kind() string { return KindClusterAccessPolicy }
func (*NetworkSet) kind() string          { return KindNetworkSet }
func (*Workload) kind() string            { return KindWorkload }
func (*ThreatFeed) kind() string          { return KindThreatFeed }
func (*Namespace) kind() string           { return KindNamespace }

// kindInfo is what the reader has to know of a kind before it decodes one.
type kindInfo struct {
	apiVersion string
	namespaced bool
	make       func() Object
}

var kinds = map[string]kindInfo{
	KindAccessPolicy:        {APIVersion, true, func() Object { return new(AccessPolicy) }},
	KindClusterAccessPolicy: {APIVersion, false, func() Object { return new(ClusterAccessPolicy) }},
	KindNetworkSet:          {APIVersion, true, func() Object { return new(NetworkSet) }},
	KindWorkload:            {APIVersion, true, func() Object { return new(Workload) }},
	KindThreatFeed:          {APIVersion, false, func() Object { return new(ThreatFeed) }},
	KindNamespace:           {"v1", false, func() Object { return new(Namespace) }},
}

// kindList is what kubectl get prints around several objects.
const kindList = "List"

// defaultNamespace is where kubectl puts an object that names no namespace.
const defaultNamespace = "default"

// ObjectName is how problems name an object: KIND NAMESPACE/NAME, or KIND NAME
// where the kind has no namespaces. An object without a name is its KIND.
func ObjectName(kind, namespace, name string) string {
	if name == "" {
		return printable(kind)
	}
	if namespace != "" {
		name = namespace + "/" + name
	}
	return printable(kind + " " + name)
}

// document is one YAML document of a file with what came out of it.
type document struct {
	chunk
	objects  []located
	problems []Problem
	dropped  int
}

// located is an object and where in its document it is.
type located struct {
	Object
	item int // index in a List, or -1
	line int // of the file
}

// read parses, decodes and validates the document.
func (d *document) read(file string) {
	r := &reporter{file: file}
	defer func() { d.problems, d.dropped = r.problems, r.dropped }()
	root, line, f := parseYAML(d.text)
	if f != nil {
		r.reportLine(d.line-1+max(line, 1), f.code, f.fix, "%s", f.message)
		return
	}
	if root == nil {
		return
	}
	checkNodes(root, func(n *yaml.Node, f *fault) {
		r.reportLine(d.line-1+n.Line, f.code, f.fix, "%s", f.message)
	})
	if len(r.problems) > 0 {
		return
	}
	d.readObject(r, root, -1)
}

// readObject reads an object, or the objects of a List.
func (d *document) readObject(r *reporter, n *yaml.Node, item int) {
	base := d.line - 1
	if n.Kind != yaml.MappingNode {
		r.reportLine(base+n.Line, CodeNotObject, "an object begins with apiVersion: "+APIVersion,
			"an object has to be fields, not %s", describe(n))
		return
	}
	apiVersion, kind := textOf(field(n, "apiVersion")), textOf(field(n, "kind"))
	if apiVersion == "" || kind == "" {
		missing := "kind"
		if apiVersion == "" {
			missing = "apiVersion"
		}
		r.reportLine(base+n.Line, CodeNotObject, "", "an object needs a text as %s", missing)
		return
	}
	if apiVersion == "v1" && kind == kindList && item < 0 {
		d.readList(r, n)
		return
	}
	info, ok := kinds[kind]
	if !ok || info.apiVersion != apiVersion {
		r.reportLine(base+find(n, []step{{name: "kind"}}), CodeUnknownKind, suggestKind(apiVersion, kind),
			"%s of %s is not read here", quote(kind), quote(apiVersion))
		return
	}
	object := info.make()
	meta := field(n, "metadata")
	namespace, name := "", ""
	if meta != nil {
		namespace, name = textOf(field(meta, "namespace")), textOf(field(meta, "name"))
	}
	if namespace == "" && info.namespaced {
		namespace = defaultNamespace
	}
	one := &reporter{
		file: r.file, object: ObjectName(kind, namespace, name), path: r.path[:0:0],
		line: func(path []step) int { return base + find(n, path) },
	}
	dec := decoder{reporter: one, base: base}
	dec.decode(n, reflect.ValueOf(object).Elem())
	if info.namespaced && object.GetNamespace() == "" {
		object.SetNamespace(defaultNamespace)
	}
	misread := len(one.problems)
	validate(one, object)
	one.problems = dropConsequences(one.problems, misread)
	r.take(one)
	if name != "" {
		d.objects = append(d.objects, located{Object: object, item: item, line: base + n.Line})
	}
}

// readList reads the objects of a List, which may hold no further List.
func (d *document) readList(r *reporter, n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		r.in(key.Value)
		switch key.Value {
		case "apiVersion", "kind", "metadata":
		case "items":
			if value.Kind != yaml.SequenceNode {
				r.reportLine(d.line-1+value.Line, CodeType, "", "it has to be a list, not %s", describe(value))
				break
			}
			for i, item := range value.Content {
				r.at(i)
				d.readObject(r, item, i)
				r.out()
			}
		default:
			r.reportLine(d.line-1+key.Line, CodeUnknownField, "", "a List has no such field")
		}
		r.out()
	}
}

// take adds the problems that another reporter collected.
func (r *reporter) take(other *reporter) {
	room := max(0, maxProblems-len(r.problems))
	n := min(room, len(other.problems))
	r.problems = append(r.problems, other.problems[:n]...)
	r.dropped += other.dropped + len(other.problems) - n
}

// dropConsequences removes what validation said about a field that had not been
// read: who wrote "exakt" does not also want to hear that a path is missing. The
// first misread problems are those of decoding.
func dropConsequences(problems []Problem, misread int) []Problem {
	if misread == 0 || misread == len(problems) {
		return problems
	}
	broken, around, unknown := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range problems[:misread] {
		if p.Severity != Error {
			continue
		}
		broken[p.Field] = true
		if p.Code == CodeUnknownField {
			unknown[enclosing(p.Field)] = true
		}
		for f := p.Field; f != ""; f = enclosing(f) {
			around[f] = true
		}
	}
	consequence := func(p Problem) bool {
		if around[p.Field] || (p.Code == CodeMissing || p.Code == CodeExceptAlone) && unknown[enclosing(p.Field)] {
			return true
		}
		for f := p.Field; f != ""; f = enclosing(f) {
			if broken[f] {
				return true
			}
		}
		return false
	}
	return append(problems[:misread:misread], slices.DeleteFunc(slices.Clone(problems[misread:]), consequence)...)
}

// enclosing is the path of what a field is in.
func enclosing(field string) string {
	return field[:max(0, strings.LastIndexAny(field, ".["))]
}

func textOf(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		return ""
	}
	return n.Value
}

func suggestKind(apiVersion, kind string) string {
	if info, ok := kinds[kind]; ok {
		return fmt.Sprintf("write apiVersion: %s", info.apiVersion)
	}
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	if best := nearest(kind, names); best != "" {
		return "did you mean " + best + " of " + kinds[best].apiVersion + "?"
	}
	return "read are " + strings.Join(names, ", ") + " and v1 List"
}
