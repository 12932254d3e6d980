package injector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// maxYAML bounds a file, in octets; maxDepth bounds lists within lists.
const (
	maxYAML  = 32 << 20
	maxDepth = 8
)

// templates are where kinds have their pod, below the object, and the group they are in.
var templates = map[string]struct{ group, path string }{
	"Pod":         {"v1", ""},
	"Deployment":  {"apps/", "spec/template"},
	"StatefulSet": {"apps/", "spec/template"},
	"DaemonSet":   {"apps/", "spec/template"},
	"ReplicaSet":  {"apps/", "spec/template"},
	"Job":         {"batch/", "spec/template"},
	"CronJob":     {"batch/", "spec/jobTemplate/spec/template"},
}

// InjectYAML reads documents of YAML or JSON, at most 32 MiB, and writes them with the shield in
// pods and whatever makes pods, also within a List. All other documents are written octet for
// octet; those that were injected lose comments and the order of keys. native is as in [Input].
//
// There is no cluster to ask, so the namespace counts as enabled and as one that allows its pods
// to opt out: the webhook has the last word. What was skipped, and warnings, are returned as
// lines. A pod that is refused is an error, and nothing is written from there on.
func InjectYAML(c Config, native bool, r io.Reader, w io.Writer) (notes []string, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxYAML+1))
	if err != nil {
		return nil, fmt.Errorf("inject: %w", err)
	}
	if len(text) > maxYAML {
		return nil, fmt.Errorf("inject: more than %d octets; give fewer documents at once", maxYAML)
	}
	f := file{config: c, native: native}
	for i, d := range documents(text) {
		out, err := f.document(d.body)
		if err != nil {
			return f.notes, fmt.Errorf("inject: document %d: %w", i+1, err)
		}
		if _, err := w.Write(append(bytes.Clone(d.separator), out...)); err != nil {
			return f.notes, fmt.Errorf("inject: %w", err)
		}
	}
	return f.notes, nil
}

// document of a stream, with the line before it, if any.
type document struct{ separator, body []byte }

func documents(text []byte) []document {
	var out []document
	var d document
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("---"))
		if ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			if len(d.separator) > 0 || len(d.body) > 0 {
				out = append(out, d)
			}
			d = document{}
			// What stands on the line is of the document.
			if len(bytes.TrimSpace(rest)) == 0 || bytes.HasPrefix(bytes.TrimSpace(rest), []byte("#")) {
				d.separator = line
				continue
			}
			d.separator, line = []byte("---"), rest
		}
		d.body = append(d.body, line...)
	}
	if len(d.separator) > 0 || len(d.body) > 0 {
		out = append(out, d)
	}
	return out
}

type file struct {
	config Config
	native bool
	notes  []string
}

func (f *file) document(text []byte) ([]byte, error) {
	// Two mappings to one key, or an anchor bomb, are errors.
	object, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	out, err := f.object(object, 0)
	if err != nil || bytes.Equal(out, object) {
		return text, err
	}
	return yaml.JSONToYAML(out)
}

type head struct {
	Kind     string            `json:"kind"`
	Metadata metav1.ObjectMeta `json:"metadata"`
}

// object returns the same octets for what it leaves alone.
func (f *file) object(object []byte, depth int) ([]byte, error) {
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if len(object) == 0 || object[0] != '{' {
		return object, nil
	}
	if err := json.Unmarshal(object, &kind); err != nil {
		return nil, err
	}
	at, known := templates[kind.Kind]
	listed, isList := strings.CutSuffix(kind.Kind, "List")
	_, ofKnown := templates[listed]
	switch {
	case isList && (listed == "" || ofKnown):
		return f.list(object, listed, depth)
	case !known || kind.APIVersion != at.group && !(strings.HasSuffix(at.group, "/") && strings.HasPrefix(kind.APIVersion, at.group)):
		return object, nil
	}
	var h head
	if err := json.Unmarshal(object, &h); err != nil {
		return nil, fmt.Errorf("%s: %w", kind.Kind, err)
	}
	name := fmt.Sprintf("%s %s/%s", h.Kind, namespaceOf(&h.Metadata), h.Metadata.Name+h.Metadata.GenerateName)
	out, err := f.template(object, at.path, namespaceOf(&h.Metadata), name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

func (f *file) list(object []byte, of string, depth int) ([]byte, error) {
	if depth == maxDepth {
		return nil, fmt.Errorf("lists within lists, deeper than %d", maxDepth)
	}
	var l struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(object, &l); err != nil {
		return nil, fmt.Errorf("%sList: %w", of, err)
	}
	changed := false
	for i, item := range l.Items {
		out, err := f.object(item, depth+1)
		if err != nil {
			return nil, fmt.Errorf("items[%d]: %w", i, err)
		}
		changed = changed || !bytes.Equal(out, item)
		l.Items[i] = out
	}
	if !changed {
		return object, nil
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(object, &whole); err != nil {
		return nil, err
	}
	items, err := json.Marshal(l.Items)
	if err != nil {
		return nil, err
	}
	whole["items"] = items
	return json.Marshal(whole)
}

// template injects the pod at a path of an object.
func (f *file) template(object []byte, path, namespace, name string) ([]byte, error) {
	raw := object
	steps := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for _, s := range steps {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		if raw = m[s]; raw == nil {
			return nil, fmt.Errorf("%s: there is none", strings.ReplaceAll(path, "/", "."))
		}
	}
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, err
	}
	before := pod.DeepCopy()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{
		InjectLabel: "enabled", OptOutLabel: allowed, RevisionLabel: f.config.Revision,
	}}}
	res, err := Inject(f.config, Input{Pod: &pod, Namespace: ns, Native: f.native})
	if err != nil {
		return nil, err
	}
	for _, warning := range res.Warnings {
		f.notes = append(f.notes, name+": "+warning)
	}
	switch {
	case len(res.Refused) > 0:
		return nil, join(res.Refused)
	case res.Skipped != "":
		f.notes = append(f.notes, fmt.Sprintf("%s: skipped: %s", name, res.Skipped))
		return object, nil
	}
	ops, err := Patch(before, res.Pod)
	if err != nil || ops == nil {
		return object, err
	}
	return apply(object, raw, ops, steps)
}

// apply patches the pod and puts it back where it was.
func apply(object, raw, ops []byte, steps []string) ([]byte, error) {
	patch, err := jsonpatch.DecodePatch(ops)
	if err != nil {
		return nil, err
	}
	options := jsonpatch.NewApplyOptions()
	options.EnsurePathExistsOnAdd = true // "metadata" may be missing in a template
	out, err := patch.ApplyWithOptions(raw, options)
	if err != nil {
		return nil, err
	}
	return put(object, steps, out)
}

func put(object []byte, steps []string, value []byte) ([]byte, error) {
	if len(steps) == 0 {
		return value, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(object, &m); err != nil {
		return nil, err
	}
	inner, err := put(m[steps[0]], steps[1:], value)
	if err != nil {
		return nil, err
	}
	m[steps[0]] = inner
	return json.Marshal(m)
}

func namespaceOf(m *metav1.ObjectMeta) string {
	if m.Namespace == "" {
		return "default"
	}
	return m.Namespace
}

func join(list []Refusal) error {
	var errs []error
	for _, r := range list {
		errs = append(errs, errors.New(r.String()))
	}
	return errors.Join(errs...)
}
