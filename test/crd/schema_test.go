package crd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

const folder = "../../deploy/crds"

// resource does with an object what the API server does before it asks a webhook.
type resource struct {
	namespaced bool
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

// load reads the resources by kind and fails for what an API server would not take: a schema
// that is not structural, a default that is wrong, a rule that may cost too much.
func load(t *testing.T) map[string]*resource {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(paths) != 4 {
		t.Fatalf("%v in %s (%v), want four resources", paths, folder, err)
	}
	out := map[string]*resource{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var external apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &external); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(&external)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&external.Spec)
		var d apiextensions.CustomResourceDefinition
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&external, &d, nil); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		d.Status.StoredVersions = []string{"v1alpha1"}
		for _, e := range crdvalidation.ValidateCustomResourceDefinition(context.Background(), &d) {
			t.Errorf("%s: %v", path, e)
		}
		props := d.Spec.Versions[0].Schema
		if props == nil {
			props = d.Spec.Validation
		}
		s, err := schema.NewStructural(props.OpenAPIV3Schema)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		v, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out[d.Spec.Names.Kind] = &resource{
			namespaced: d.Spec.Scope == apiextensions.NamespaceScoped, structural: s, schema: v,
			rules: cel.NewValidator(s, true, celconfig.PerCallLimit),
		}
	}
	return out
}

// admit changes the object as the API server does and returns why it would be refused. An
// unknown field is a reason: kubectl asks for that.
func (r *resource) admit(u *unstructured.Unstructured) field.ErrorList {
	var errs field.ErrorList
	if r.namespaced && u.GetNamespace() == "" {
		u.SetNamespace("default")
	}
	unknown := pruning.PruneWithOptions(u.Object, r.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		errs = append(errs, field.Forbidden(field.NewPath(path), "unknown"))
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, r.structural)
	defaulting.Default(u.Object, r.structural)
	errs = append(errs, metavalidation.ValidateObjectMetaAccessor(u, r.namespaced, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	errs = append(errs, validation.ValidateCustomResource(nil, u.UnstructuredContent(), r.schema)...)
	if r.rules != nil {
		found, _ := r.rules.Validate(context.Background(), nil, r.structural, u.Object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, found...)
	}
	return errs
}

// TestResources: what an API server refuses of the resources themselves, and what Helm and
// people look for.
func TestResources(t *testing.T) {
	load(t)
	paths, _ := filepath.Glob(filepath.Join(folder, "*.yaml"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"helm.sh/resource-policy: keep", "app.kubernetes.io/part-of: pavise", "- pavise\n", "subresources:", "observedGeneration:"} {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s has no %s", path, want)
			}
		}
	}
}
