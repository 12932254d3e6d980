package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"golang.org/x/tools/go/packages"
	"sigs.k8s.io/controller-tools/pkg/crd"
	"sigs.k8s.io/controller-tools/pkg/deepcopy"
	"sigs.k8s.io/controller-tools/pkg/genall"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
	"sigs.k8s.io/yaml"
)

// crds is the folder of the resources, in the repository.
const crds = "deploy/crds"

// group of the resources, and the kinds that an API server has. Workload and Namespace are
// types of files alone.
const group = "pavise.dev"

var kinds = []string{"AccessPolicy", "ClusterAccessPolicy", "NetworkSet", "ThreatFeed"}

// generate returns every generated file by its path in the repository at root.
func generate(root string) (map[string][]byte, error) {
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	pkgs, err := loader.LoadRootsWithConfig(&packages.Config{Dir: dir}, "./api")
	if err != nil {
		return nil, err
	}
	registry := &markers.Registry{}
	for _, g := range []interface {
		RegisterMarkers(into *markers.Registry) error
	}{crd.Generator{}, deepcopy.Generator{}} {
		if err := g.RegisterMarkers(registry); err != nil {
			return nil, err
		}
	}
	collector := &markers.Collector{Registry: registry}
	files := output{}
	ctx := &genall.GenerationContext{
		Collector: collector, Roots: pkgs, OutputRule: files,
		Checker: &loader.TypeChecker{NodeFilters: []loader.NodeFilter{crd.Generator{}.CheckFilter(), deepcopy.Generator{}.CheckFilter()}},
	}
	if err := (deepcopy.Generator{}).Generate(ctx); err != nil {
		return nil, err
	}
	if err := resources(ctx, files); err != nil {
		return nil, err
	}
	if loader.PrintErrors(pkgs, packages.TypeError) {
		return nil, errors.New("package api has errors, see above")
	}
	out := map[string][]byte{}
	for name, content := range files {
		out[name] = content.Bytes()
	}
	return out, nil
}

// resources adds the custom resource of each kind.
func resources(ctx *genall.GenerationContext, files output) error {
	parser := &crd.Parser{Collector: ctx.Collector, Checker: ctx.Checker}
	crd.AddKnownTypes(parser)
	for _, p := range ctx.Roots {
		parser.NeedPackage(p)
	}
	for _, kind := range kinds {
		id := schema.GroupKind{Group: group, Kind: kind}
		parser.NeedCRDFor(id, nil)
		made, ok := parser.CustomResourceDefinitions[id]
		if !ok {
			return fmt.Errorf("package api has no kind %s", kind)
		}
		content, err := complete(made)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		files[path.Join(crds, group+"_"+made.Spec.Names.Plural+".yaml")] = bytes.NewBuffer(content)
	}
	return nil
}

// complete completes a resource and writes it. Helm keeps it when the release goes: every policy
// would go with it.
func complete(made apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	made.Annotations = map[string]string{"helm.sh/resource-policy": "keep"}
	made.Labels = map[string]string{"app.kubernetes.io/part-of": "pavise"}
	crd.FixTopLevelMetadata(made)
	data, err := yaml.Marshal(made)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	if err := yaml.Unmarshal(data, &object); err != nil {
		return nil, err
	}
	delete(object, "status")
	if meta, ok := object["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	if data, err = yaml.Marshal(object); err != nil {
		return nil, err
	}
	return append([]byte("# Generated from package api by internal/crdgen.\n"), data...), nil
}

// output collects files instead of writing them. Those of a package are of package api.
type output map[string]*bytes.Buffer

func (o output) Open(pkg *loader.Package, name string) (io.WriteCloser, error) {
	if pkg == nil {
		return nil, fmt.Errorf("the file %s is of no package", name)
	}
	b := &bytes.Buffer{}
	o[path.Join("api", name)] = b
	return closer{b}, nil
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }
