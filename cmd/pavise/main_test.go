package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
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
			return err
		},
	})
}
