package story

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/test/programs"
)

// TestStories runs the scripts in testdata against the real binary and a real Envoy.
func TestStories(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is missing, which builds the module")
	}
	found, err := envoy.Find("")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	made, err := programs.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			for name, value := range map[string]string{
				"PATH":            filepath.Dir(made.Pavise) + string(os.PathListSeparator) + os.Getenv("PATH"),
				"PAVISE_ENVOY":    found,
				"XDG_RUNTIME_DIR": e.WorkDir, "XDG_STATE_HOME": e.WorkDir + "/state",
			} {
				e.Setenv(name, value)
			}
			servers := &servers{by: map[string]*server{}}
			e.Values[serversKey{}] = servers
			e.Defer(servers.close)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"port": port, "serve": serve, "away": away, "fill": fill, "request": request, "capture": capture, "eventually": eventually,
		},
	})
}
