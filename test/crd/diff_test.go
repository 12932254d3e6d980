package crd

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/validate"
)

var update = flag.Bool("update", false, "write the golden file anew")

// onlyText are problems of the YAML text, which an API server does not get to see: kubectl has
// expanded the alias, read 017 as 15 and taken the second of two equal keys.
var onlyText = map[string]bool{
	api.CodeNotText: true, api.CodeSyntax: true, api.CodeYAMLFeature: true, api.CodeTooDeep: true,
	api.CodeDuplicateKey: true, api.CodeNumber: true, api.CodeTooLarge: true,
}

// notOnACluster are refused of objects and fine in files.
var notOnACluster = map[string]bool{api.CodeFeedLocal: true}

// onlyFiles are refused in files and fine in objects: the status there is the API server's to drop.
var onlyFiles = map[string]bool{api.CodeStatus: true}

// item is one object of a file, as check reads it and as an API server does.
type item struct {
	name   string
	object *unstructured.Unstructured
	check  []api.Problem
}

var separator = regexp.MustCompile(`(?m)^---.*$`)

// items cuts a file into the objects of the four kinds.
func items(t *testing.T, path string, kinds map[string]*resource) []item {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []item
	for i, doc := range separator.Split(string(data), -1) {
		u := &unstructured.Unstructured{}
		if yaml.Unmarshal([]byte(doc), &u.Object) != nil || u.Object == nil || kinds[u.GetKind()] == nil {
			continue
		}
		if u.Object, err = wholeNumbers([]byte(doc)); err != nil {
			continue
		}
		_, problems := api.Parse("f.yaml", []byte(doc))
		out = append(out, item{name: fmt.Sprintf("%s#%d", filepath.Base(path), i), object: u, check: problems})
	}
	return out
}

// wholeNumbers reads an object with its whole numbers as such, and not as floats.
func wholeNumbers(doc []byte) (map[string]any, error) {
	data, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return u.Object, nil
}

// review asks the validator about an object.
func review(t *testing.T, u *unstructured.Unstructured) *admissionv1.AdmissionResponse {
	t.Helper()
	raw, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	req := &admissionv1.AdmissionRequest{
		UID: "1", Operation: admissionv1.Create, Name: u.GetName(), Namespace: u.GetNamespace(),
		Kind: metav1.GroupVersionKind{Group: api.Group, Version: api.Version, Kind: u.GetKind()},
	}
	req.Object.Raw = raw
	return validate.New(validate.Config{}).Review(context.Background(), req)
}

// about reports that two field paths are of one thing: the same, or one above the other.
func about(a, b string) bool {
	return a == b || within(a, b) || within(b, a)
}

func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (outer == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// TestSchemaBesideCheck holds what the schemas and the webhook say of every good and bad file
// of package api beside what check says of it. Nothing that check refuses gets into a cluster, and the
// schemas refuse no value that check takes. testdata/refused.txt counts, by code, how many problems
// the schemas find by themselves, which is what is left while the webhook is away.
func TestSchemaBesideCheck(t *testing.T) {
	kinds := load(t)
	var paths []string
	for _, pattern := range []string{"../../api/testdata/bad/*.yaml", "../../api/testdata/good/*.y*ml", "../../examples/*/*/*.yaml", "testdata/bad/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no files %s (%v)", pattern, err)
		}
		paths = append(paths, found...)
	}
	schemas, webhook, objects := map[string]int{}, map[string]int{}, 0
	refused := map[string]int{}
	for _, path := range paths {
		for _, it := range items(t, path, kinds) {
			objects++
			errs := kinds[it.object.GetKind()].admit(it.object)
			answer := review(t, it.object)
			compare(t, it, errs, answer)
			var bad bool
			for _, p := range it.check {
				if p.Severity != api.Error || onlyText[p.Code] || onlyFiles[p.Code] {
					continue
				}
				bad = true
				if slices.ContainsFunc(errs, func(e *field.Error) bool { return about(e.Field, p.Field) }) {
					schemas[p.Code]++
				} else {
					webhook[p.Code]++
				}
			}
			switch {
			case !bad:
				refused["accepted"]++
			case len(errs) > 0:
				refused["refused by the schema"]++
			default:
				refused["refused by the webhook alone"]++
			}
		}
	}
	golden(t, table(schemas, webhook, refused, objects))
}

func compare(t *testing.T, it item, errs field.ErrorList, answer *admissionv1.AdmissionResponse) {
	t.Helper()
	var bad []api.Problem
	for _, p := range it.check {
		if p.Severity == api.Error {
			bad = append(bad, p)
		}
	}
	counts := func(p api.Problem) bool { return !onlyText[p.Code] && !onlyFiles[p.Code] }
	if slices.ContainsFunc(bad, counts) && len(errs) == 0 && answer.Allowed {
		t.Errorf("%s: check refuses it, and it gets into a cluster: %v", it.name, bad)
	}
	for _, e := range errs {
		if e.Field == "<nil>" {
			e.Field = "metadata.name" // the one rule at the root
		}
		if strings.Contains(e.Error(), "hidden") {
			t.Errorf("%s: the refusal shows a password: %v", it.name, e)
		}
		if !slices.ContainsFunc(bad, func(p api.Problem) bool { return about(e.Field, p.Field) || follows(e.Field, p.Field) }) {
			t.Errorf("%s: check takes what the schema refuses: %v", it.name, shortly(e.Error()))
		}
	}
	if len(bad) == 0 && !answer.Allowed {
		for _, c := range answer.Result.Details.Causes {
			code, _, _ := strings.Cut(c.Message, ":")
			if !notOnACluster[code] {
				t.Errorf("%s: check takes what the webhook refuses: %s: %s", it.name, c.Field, c.Message)
			}
		}
	}
}

// follows reports a field that is wrong beside another: check does not say that action is
// missing where it found acton.
func follows(a, b string) bool {
	i, j := strings.LastIndexByte(a, '.'), strings.LastIndexByte(b, '.')
	return i > 0 && j > 0 && a[:i] == b[:j] && !strings.HasSuffix(a, "]")
}

func shortly(s string) string { return s[:min(len(s), 300)] }

func table(schemas, webhook, refused map[string]int, objects int) string {
	var b bytes.Buffer
	codes := slices.Concat(slices.Collect(maps.Keys(schemas)), slices.Collect(maps.Keys(webhook)))
	slices.Sort(codes)
	sum, alone := 0, 0
	fmt.Fprintf(&b, "%-8s %7s %13s\n", "code", "schema", "webhook alone")
	for _, c := range slices.Compact(codes) {
		fmt.Fprintf(&b, "%-8s %7d %13d\n", c, schemas[c], webhook[c])
		sum, alone = sum+schemas[c], alone+webhook[c]
	}
	fmt.Fprintf(&b, "%-8s %7d %13d\n\nobjects: %d\n", "all", sum, alone, objects)
	for _, k := range slices.Sorted(maps.Keys(refused)) {
		fmt.Fprintf(&b, "%s: %d\n", k, refused[k])
	}
	return b.String()
}

func golden(t *testing.T, got string) {
	t.Helper()
	const path = "testdata/refused.txt"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s differs (%v); with -update it becomes:\n%s", path, err, got)
	}
}
