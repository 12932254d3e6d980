package helmtest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	loader "helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/util/yaml"

	"pavise.dev/pavise/deploy/install"
)

// TestHelmAgrees: a function of templates that works here and not in Helm, or gives something
// else there, and a schema that Helm reads otherwise. The chart is loaded from its folder, as
// `helm install deploy/chart` does.
func TestHelmAgrees(t *testing.T) {
	chart, err := loader.Load("../chart")
	if err != nil {
		t.Fatal(err)
	}
	for _, sets := range [][]string{
		nil,
		{"createNamespace=true"},
		{"revision=canary", "webhook.failurePolicy=Ignore", "crds.install=false"},
		{"certManager.enabled=true", "networkPolicies=true", "clusterNetworkPolicies=true", "autoscaling.enabled=true"},
		{"monitoring.serviceMonitor=true", "monitoring.prometheusRule=true", "monitoring.dashboard=true", `monitoring.labels={"release":"prometheus"}`},
		{`controlPlane.tolerations=[{"operator":"Exists"}]`, `controlPlane.nodeSelector={"a":"b"}`, "controlPlane.priorityClassName=x", `image.pullSecrets=[{"name":"pull"}]`, `injector={"logLevel":"debug"}`},
	} {
		values, err := install.ParseSet(sets)
		if err != nil {
			t.Fatal(err)
		}
		ours := map[string]map[string]any{}
		objects, err := install.Render(install.Options{Values: values})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			ours[o.GetKind()+"/"+o.GetName()] = plain(t, o.Object)
		}
		release := common.ReleaseOptions{Name: "pavise", Namespace: install.DefaultNamespace, IsInstall: true}
		in, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
		if err != nil {
			t.Fatal(err)
		}
		// What differs by intent: who manages the objects.
		in["Release"].(map[string]any)["Service"] = "pavise"
		texts, err := engine.Render(chart, in)
		if err != nil {
			t.Fatal(err)
		}
		helms := map[string]map[string]any{}
		for name, text := range texts {
			if strings.HasSuffix(name, ".tpl") {
				continue
			}
			d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
			for {
				o := map[string]any{}
				if d.Decode(&o) != nil {
					break
				}
				if len(o) > 0 {
					helms[o["kind"].(string)+"/"+o["metadata"].(map[string]any)["name"].(string)] = plain(t, o)
				}
			}
		}
		if a, b := slices.Sorted(maps.Keys(ours)), slices.Sorted(maps.Keys(helms)); !slices.Equal(a, b) {
			t.Fatalf("%v: install makes %v, Helm %v", sets, a, b)
		}
		for name := range ours {
			if !reflect.DeepEqual(ours[name], helms[name]) {
				t.Errorf("%v: %s\ninstall %v\nHelm    %v", sets, name, ours[name], helms[name])
			}
		}
	}
}

// TestHelmRefusesToo: a value that one of the two takes in silence.
func TestHelmRefusesToo(t *testing.T) {
	chart, err := loader.Load("../chart")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"webhook.failurePolicy=Open", "webhook.failurPolicy=Fail", "webhook.timeoutSeconds=31", "revision=Canary", "image.digest=sha256:1", "nope=1"} {
		values, err := install.ParseSet([]string{set})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := util.ToRenderValues(chart, values, common.ReleaseOptions{}, common.DefaultCapabilities); err == nil {
			t.Errorf("Helm takes %s", set)
		}
		if _, err := install.Render(install.Options{Values: values}); err == nil {
			t.Errorf("install takes %s", set)
		}
	}
}

// plain makes numbers of both decoders the same.
func plain(t *testing.T, v map[string]any) (out map[string]any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
