package envoy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKilledEnvoyIsRestarted(t *testing.T) {
	r := run(t, 1, nil)
	r.serves()
	before := r.State()
	if before.PID == 0 || before.Restarts != 0 || before.LastExit != nil || before.StartedAt.IsZero() {
		t.Fatalf("state of the first Envoy: %+v", before)
	}

	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another Envoy runs", func() error {
		if st := r.State(); st.Restarts != 1 || st.PID == 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	r.serves()

	after := r.State()
	if after.PID == before.PID || !after.StartedAt.After(before.StartedAt) || after.ExitedAt.IsZero() {
		t.Errorf("state after the restart: %+v", after)
	}
	wantContains(t, after.LastExit, "signal: killed", "out of memory")
	var status *exec.ExitError
	if !errors.As(after.LastExit, &status) {
		t.Errorf("LastExit %v does not lead to the operating system's error", after.LastExit)
	}
}

func TestEndLeavesNothing(t *testing.T) {
	r := run(t, 1, nil)
	r.serves()
	pid := r.State().PID
	r.cancel()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	if err := gone(pid); err != nil {
		t.Error(err)
	}
	if st := r.State(); st.PID != 0 || !st.Draining || st.LastExit != nil {
		t.Errorf("state at the end: %+v", st)
	}
}

func TestBootstrapIsPrivate(t *testing.T) {
	r := run(t, 1, nil)
	r.base()
	files, err := os.ReadDir(r.cfg.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if name := file.Name(); name == "bootstrap.json" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		} else if name != "bootstrap.json" && name != "admin.sock" {
			t.Errorf("%s was left over", name)
		}
	}
}

func TestBadBootstrapIsRetriedAndExplained(t *testing.T) {
	r := run(t, 1, func(cfg *Config) {
		cfg.Bootstrap = []byte(`{"static_resources": {"listeners": "none"}, "shield": 1}`)
	})
	eventually(t, "three restarts", func() error {
		if st := r.State(); st.Restarts < 3 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	err := r.State().LastExit
	wantContains(t, err, "exit status 1", "it said: ", "envoy.config.bootstrap.v3.Bootstrap")
	if strings.Contains(err.Error(), `\'`) {
		t.Errorf("Envoy's escapes are still in %q", err)
	}
}

func TestStuckEnvoyIsKilled(t *testing.T) {
	r := run(t, 1, func(cfg *Config) {
		cfg.DrainTime, cfg.KillAfter = 200*time.Millisecond, 200*time.Millisecond
	})
	r.base()
	pid := r.State().PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	r.cancel()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	// The bound has room for a busy machine; without SIGKILL it never ends.
	if took := time.Since(asked); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if err := gone(pid); err != nil {
		t.Error(err)
	}
}

func TestFirstStartMustBePossible(t *testing.T) {
	dir := t.TempDir()
	noLoader := filepath.Join(dir, "no-loader")
	notProgram := filepath.Join(dir, "not-a-program")
	for path, text := range map[string]string{noLoader: "#!/nonexistent/loader\n", notProgram: "text"} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, words := range map[string]string{
		filepath.Join(dir, "missing"): "no such file",
		dir:                           "permission denied",
		noLoader:                      "glibc",
		notProgram:                    "exec format error",
	} {
		s, err := NewSupervisor(Config{Path: path, Bootstrap: []byte("{}"), RunDir: filepath.Join(dir, "run")})
		if err != nil {
			t.Fatal(err)
		}
		wantContains(t, s.Run(context.Background()), "can't start Envoy", words)
	}
}

// A binary that vanishes later, as in an upgrade, is waited for.
func TestLaterStartIsRetried(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "envoy")
	r := run(t, 1, func(cfg *Config) {
		if err := os.Symlink(cfg.Path, path); err != nil {
			t.Fatal(err)
		}
		cfg.Path = path
	})
	r.serves()
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(r.State().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the start fails", func() error {
		if err := r.State().LastExit; err == nil || !strings.Contains(err.Error(), "can't start") {
			return fmt.Errorf("last exit: %w", err)
		}
		return nil
	})
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
	r.serves()
}

func TestCancelDuringBackoff(t *testing.T) {
	r := run(t, 1, func(cfg *Config) {
		cfg.Bootstrap = []byte(`{"shield": 1}`)
		cfg.Backoff = Backoff{Min: time.Hour, Max: time.Hour}
	})
	eventually(t, "the first exit", func() error {
		if r.State().LastExit == nil {
			return errors.New("none yet")
		}
		return nil
	})
	r.cancel()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Path: "/envoy", Bootstrap: []byte("{}"), RunDir: "/run/pavise", AdminSocket: "/run/pavise/admin.sock"}
	if _, err := NewSupervisor(good); err != nil {
		t.Fatal(err)
	}
	for words, spoil := range map[string]func(*Config){
		"no path":        func(c *Config) { c.Path = "" },
		"no folder":      func(c *Config) { c.RunDir = "" },
		"not JSON":       func(c *Config) { c.Bootstrap = []byte("admin: {}") },
		"at most 107":    func(c *Config) { c.AdminSocket = "/" + strings.Repeat("x", 107) },
		"is not JSON":    func(c *Config) { c.Bootstrap = nil },
		"shorter folder": func(c *Config) { c.AdminSocket = "/" + strings.Repeat("é", 60) },
	} {
		cfg := good
		spoil(&cfg)
		_, err := NewSupervisor(cfg)
		wantContains(t, err, words)
	}
}

// The kernel kills Envoy when the thread that forked it ends, and Go does end
// threads. Nothing shows that from outside until it happens, hence the stacks.
func TestEnvoyHasAThreadToItself(t *testing.T) {
	r := run(t, 1, nil)
	r.base()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if !strings.Contains(stack, "startChild.func1") || !strings.Contains(stack, "exec.(*Cmd).Wait") {
			continue
		}
		if head, _, _ := strings.Cut(stack, "\n"); !strings.Contains(head, "locked to thread") {
			t.Errorf("the goroutine that started Envoy is %s", head)
		}
		return
	}
	t.Fatalf("no goroutine waits for Envoy:\n%s", stacks)
}

// superviseVariable makes the test binary a supervisor in the folder it names.
const superviseVariable = "PAVISE_TEST_SUPERVISE"

func superviseUntilKilled(dir string) {
	path, err := Find("")
	if err == nil {
		var s *Supervisor
		s, err = NewSupervisor(Config{
			Path: path, RunDir: dir, Concurrency: 1,
			Bootstrap: bootstrap(filepath.Join(dir, "admin.sock"), 1),
		})
		if err == nil {
			go func() {
				for s.State().PID == 0 {
					time.Sleep(time.Millisecond)
				}
				fmt.Println(s.State().PID)
			}()
			err = s.Run(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestEnvoyDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a child's life to its parent's")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), superviseVariable+"="+shortDir(t))
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 32)
	n, readErr := out.Read(said)
	killErr := parent.Process.Kill()
	_ = parent.Wait() // it was killed
	if err := errors.Join(readErr, killErr); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(said[:n])))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Envoy is gone", func() error { return reapedOrGone(pid) })
}

// reapedOrGone also takes a zombie for an end: in a container whose first
// process reaps no orphans, dead ones stay.
func reapedOrGone(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])); fields[0] == "Z" {
		return nil
	}
	return fmt.Errorf("process %d: %s", pid, stat)
}
