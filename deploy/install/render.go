package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	syaml "sigs.k8s.io/yaml"

	"pavise.dev/pavise/deploy"
)

// DefaultNamespace is where Pavise lives unless told otherwise.
const DefaultNamespace = "pavise-system"

// Options are what Render, Apply and Uninstall are told.
type Options struct {
	// Namespace of the control plane. Default DefaultNamespace.
	Namespace string
	// Revision to install or remove. Default "default".
	Revision string
	// Values over those of values.yaml, of the types that JSON gives; ParseSet makes them from a
	// command line.
	Values map[string]any
	// Version of the images whose tag is not given. Default the chart's appVersion.
	Version string
}

func (o Options) normal() Options {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Revision == "" {
		o.Revision = "default"
	}
	return o
}

// files are the chart's, with the methods that its templates call.
type files map[string][]byte

// Get is the text of a file, empty where there is none, as Helm has it.
func (f files) Get(name string) string { return string(f[name]) }

// Glob is the files whose whole path matches.
func (f files) Glob(pattern string) files {
	out := files{}
	for name, content := range f {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			out[name] = content
		}
	}
	return out
}

// Render evaluates the chart and returns its objects in the order in which Apply puts them in.
// The error names the value or the template that is wrong.
func Render(o Options) ([]*unstructured.Unstructured, error) {
	o = o.normal()
	chart, err := deploy.Chart()
	if err != nil {
		return nil, err
	}
	values, err := valuesOf(chart, o)
	if err != nil {
		return nil, err
	}
	var about struct {
		Name, Version, AppVersion string
	}
	if err := syaml.Unmarshal(chart["Chart.yaml"], &about); err != nil {
		return nil, fmt.Errorf("file Chart.yaml: %w", err)
	}
	if o.Version != "" {
		about.AppVersion = o.Version
	}
	data := map[string]any{
		"Values": values, "Chart": about, "Files": files(chart),
		"Release": map[string]any{"Name": "pavise", "Namespace": o.Namespace, "Service": "pavise"},
	}
	root := template.New("chart").Option("missingkey=error")
	root.Funcs(functions(root))
	names := slices.Sorted(maps.Keys(chart))
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "templates/") })
	for _, n := range names {
		if _, err := root.New(n).Parse(string(chart[n])); err != nil {
			return nil, err
		}
	}
	var out []*unstructured.Unstructured
	for _, n := range names {
		if strings.HasSuffix(n, ".tpl") {
			continue
		}
		var b bytes.Buffer
		if err := root.ExecuteTemplate(&b, n, data); err != nil {
			return nil, err
		}
		objects, err := decode(b.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		out = append(out, objects...)
	}
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return out, nil
}

func valuesOf(chart map[string][]byte, o Options) (map[string]any, error) {
	var values map[string]any
	if err := syaml.Unmarshal(chart["values.yaml"], &values); err != nil {
		return nil, fmt.Errorf("values.yaml: %w", err)
	}
	values = Merge(values, o.Values)
	if o.Revision != "default" {
		values["revision"] = o.Revision
	}
	var s valuesSchema
	if err := json.Unmarshal(chart["values.schema.json"], &s); err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	return values, s.check("values", values)
}

// functions are those of Helm that the chart uses, with the same results.
func functions(root *template.Template) template.FuncMap {
	indent := func(n int, s string) string {
		pad := strings.Repeat(" ", n)
		return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
	}
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b strings.Builder
			err := root.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"toYaml": func(v any) (string, error) {
			b, err := syaml.Marshal(v)
			return strings.TrimSuffix(string(b), "\n"), err
		},
		"nindent": func(n int, s string) string { return "\n" + indent(n, s) },
		"quote":   func(v any) string { return strconv.Quote(fmt.Sprint(v)) },
		"list":    func(v ...any) []any { return v },
		"default": func(d, v any) any {
			if v == nil || v == "" {
				return d
			}
			return v
		},
	}
}

func decode(text []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var raw runtime.RawExtension
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		if len(raw.Raw) == 0 || string(raw.Raw) == "null" {
			continue // a document of comments
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(raw.Raw); err != nil {
			return nil, fmt.Errorf("object %d: %w", len(out)+1, err)
		}
		if o.GetName() == "" {
			return nil, fmt.Errorf("object %d, a %s, has no name", len(out)+1, o.GetKind())
		}
		out = append(out, o)
	}
}

// order of kinds; what is not named comes with the workloads.
var order = []string{
	"Namespace", "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap",
	"Issuer", "Certificate", "NetworkPolicy", "Service", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor",
	"PrometheusRule", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
}

func rank(o *unstructured.Unstructured) int {
	if i := slices.Index(order, o.GetKind()); i >= 0 {
		return i
	}
	return slices.Index(order, "Deployment")
}

// YAML is the objects as documents of one file.
func YAML(objects []*unstructured.Unstructured) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range objects {
		doc, err := syaml.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
		b.WriteString("---\n")
		b.Write(doc)
	}
	return b.Bytes(), nil
}
