package api

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Set is everything that was read, each kind sorted by namespace and name. An
// object with problems is in it as far as it could be read; whether the set may
// be used, HasErrors says.
//
// A Set and its objects must not be changed: the next Set of the same Loader shares
// what did not change. It is safe for concurrent use.
//
// +kubebuilder:object:generate=false
type Set struct {
	AccessPolicies        []*AccessPolicy
	ClusterAccessPolicies []*ClusterAccessPolicy
	NetworkSets           []*NetworkSet
	Workloads             []*Workload
	ThreatFeeds           []*ThreatFeed
	Namespaces            []*Namespace

	places  map[objectKey]place
	between reporter // what is wrong between objects, until the set is finished

	// The document last asked about, because problems come in bunches.
	mu   sync.Mutex
	last *document
	root *yaml.Node
}

type objectKey struct{ kind, namespace, name string }

func keyOf(o Object) objectKey { return objectKey{o.kind(), o.GetNamespace(), o.GetName()} }

// place is where an object was read: nowhere, for one that was not read from text.
type place struct {
	file string
	doc  *document
	item int
	line int
}

// NewSet makes a set of objects that come from elsewhere than files, such as an
// API server. The problems are those of each object and those between objects; they
// have no file and no line.
func NewSet(objects ...Object) (*Set, []Problem) {
	s := &Set{places: map[objectKey]place{}}
	var problems []Problem
	for _, o := range objects {
		problems = append(problems, Validate(o)...)
		s.add(o, place{})
	}
	problems = append(problems, s.finish("")...)
	SortProblems(problems)
	return s, problems
}

// add puts an object into the set, unless it is there already.
func (s *Set) add(o Object, at place) {
	key := keyOf(o)
	if first, twice := s.places[key]; twice {
		s.between.file, s.between.object = at.file, ObjectName(key.kind, key.namespace, key.name)
		s.between.reportLine(at.line, CodeDuplicateObject, "remove or rename one of them", "the object is already given%s", first)
		return
	}
	s.places[key] = at
	switch o := o.(type) {
	case *AccessPolicy:
		s.AccessPolicies = append(s.AccessPolicies, o)
	case *ClusterAccessPolicy:
		s.ClusterAccessPolicies = append(s.ClusterAccessPolicies, o)
	case *NetworkSet:
		s.NetworkSets = append(s.NetworkSets, o)
	case *Workload:
		s.Workloads = append(s.Workloads, o)
	case *ThreatFeed:
		s.ThreatFeeds = append(s.ThreatFeeds, o)
	case *Namespace:
		s.Namespaces = append(s.Namespaces, o)
	}
}

// String follows the words of a message: " in FILE:LINE", or nothing.
func (p place) String() string {
	if p.file == "" {
		return ""
	}
	return fmt.Sprintf(" in %s:%d", p.file, p.line)
}

// finish sorts the set and returns the problems between its objects. The name is that
// of the folder.
func (s *Set) finish(name string) []Problem {
	sortObjects(s.AccessPolicies)
	sortObjects(s.ClusterAccessPolicies)
	sortObjects(s.NetworkSets)
	sortObjects(s.Workloads)
	sortObjects(s.ThreatFeeds)
	sortObjects(s.Namespaces)
	checkWorkloads(s)
	checkFeeds(s)
	problems := moreProblems(s.between.problems, name, s.between.dropped)
	s.between = reporter{}
	return problems
}

func sortObjects[T Object](list []T) {
	slices.SortFunc(list, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// Objects are all objects of the set: by kind, and sorted within it.
func (s *Set) Objects() []Object {
	out := appendObjects(nil, s.Namespaces)
	out = appendObjects(out, s.Workloads)
	out = appendObjects(out, s.NetworkSets)
	out = appendObjects(out, s.ThreatFeeds)
	out = appendObjects(out, s.ClusterAccessPolicies)
	return appendObjects(out, s.AccessPolicies)
}

func appendObjects[T Object](to []Object, list []T) []Object {
	for _, o := range list {
		to = append(to, o)
	}
	return to
}

// Folder is the folder of the file that an object of the set was read from, which is
// where its relative paths begin. It is "" for an object that was not read from a file,
// and costs nothing, unlike Position.
func (s *Set) Folder(o Object) string {
	at := s.places[keyOf(o)]
	if at.file == "" {
		return ""
	}
	return filepath.Dir(at.file)
}

// Position returns the file and line of a field of an object, such as
// spec.ingress[0].http[1].paths[0].regex, or of the nearest field around it that was
// written. An empty field is the object itself. For an object that was not read
// from a file it returns "" and 0.
//
// Lines are not kept: the document is parsed again, which takes about a
// millisecond for each thousand lines of it. It is meant for problems.
func (s *Set) Position(kind, namespace, name, field string) (file string, line int) {
	at, ok := s.places[objectKey{kind, namespace, name}]
	if !ok || at.doc == nil {
		return "", 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != at.doc {
		root, _, f := parseYAML(at.doc.text)
		if f != nil || root == nil {
			return at.file, at.line
		}
		s.last, s.root = at.doc, root
	}
	path := parseFieldPath(field)
	if at.item >= 0 {
		path = append([]step{{name: "items"}, {kind: stepItem, index: at.item}}, path...)
	}
	return at.file, at.doc.line - 1 + find(s.root, path)
}
