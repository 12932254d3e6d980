package injector

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestChart catches a chart that the control plane would not read: a value that is not in its
// schema or is no longer known, a configuration that is refused, and a Service by another name
// than sidecars ask for.
func TestChart(t *testing.T) {
	text, err := os.ReadFile("../deploy/chart/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Injector struct {
				Properties map[string]any `json:"properties"`
			} `json:"injector"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var want []string
	for f := range reflect.TypeFor[Config]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" && name != "image" { // which is a value of its own
			want = append(want, name)
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(schema.Properties.Injector.Properties)); !slices.Equal(got, want) {
		t.Errorf("the schema has %q, want %q", got, want)
	}
	manifests, err := os.ReadFile("../deploy/manifests/pavise.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, d := range documents(manifests) {
		var o struct {
			Kind     string                           `json:"kind"`
			Metadata struct{ Name, Namespace string } `json:"metadata"`
			Data     map[string]string                `json:"data"`
		}
		if err := yaml.Unmarshal(d.body, &o); err != nil && strings.Contains(string(d.body), "kind: ConfigMap") {
			t.Fatal(err)
		}
		if o.Kind == "ConfigMap" && o.Metadata.Name == "pavise-injector" {
			found["config"] = true
			if _, err := Read([]byte(o.Data["config.yaml"]), o.Metadata.Namespace, "default"); err != nil {
				t.Error(err)
			}
		}
		if o.Kind == "Service" {
			found[o.Metadata.Name+"."+o.Metadata.Namespace+".svc:15012"] = true
		}
	}
	if !found["config"] || !found[Default("pavise-system", "default").ControlPlane] {
		t.Errorf("there are %v", found)
	}
}
