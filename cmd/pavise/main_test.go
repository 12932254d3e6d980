package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"pavise.dev/pavise/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pavise": func() { os.Exit(run(context.Background(), root())) }})
}

// TestScripts are stories of the commands as a user types them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			wd, err := os.Getwd()
			e.Setenv("QUICKSTART", wd+"/../../examples/quickstart/config")
			e.Setenv("PAVISE_ENVOY", os.Getenv("PAVISE_ENVOY"))
			e.Setenv("XDG_RUNTIME_DIR", e.WorkDir)
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/state-home")
			return err
		},
	})
}

// TestCheckSaysWhereListsAreAskedInTurn: rules of two kinds in turn cannot be split by
// one field within bounds, and whoever writes them should know.
func TestCheckSaysWhereListsAreAskedInTurn(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: pavise.dev/v1alpha1\nkind: Workload\nmetadata: {name: w, namespace: n}\nspec: {inbound: [{port: 80, upstream: \"127.0.0.1:1\"}]}\n---\n")
	b.WriteString("apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p, namespace: n}\nspec:\n  ingress:\n")
	for i := range 600 {
		fmt.Fprintf(&b, "  - {action: Allow, http: [{paths: [{exact: /p%d}]}]}\n  - {action: Allow, http: [{hosts: [h%d.test]}]}\n", i, i)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var l api.Loader
	c := compileFolder(&l, dir, offline, nil)
	if !c.usable() {
		t.Fatal(c.problems)
	}
	if !slices.ContainsFunc(c.problems, func(p api.Problem) bool { return p.Code == "PAV0802" && p.Object == "n/w/inbound-80/policy" }) {
		t.Errorf("problems: %v", c.problems)
	}
}
