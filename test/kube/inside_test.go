package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process finds a process of a pod by the name of its program; the machine sees those of the
// node. The API server is not needed, which may be away: ask for the UID before.
func process(t *testing.T, uid, program string) (pid int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		group, err := os.ReadFile(dir + "/cgroup")
		if err != nil {
			continue // it ended
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		argv := strings.Split(string(line), "\x00")
		if !bytes.Contains(group, []byte("pod"+uid)) || filepath.Base(argv[0]) != program {
			continue
		}
		if pid, err = strconv.Atoi(filepath.Base(dir)); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	return 0
}

func (l *lab) uid(t *testing.T, pod string) string {
	t.Helper()
	namespace, name, _ := strings.Cut(pod, "/")
	return l.kubectl(t, "-n", namespace, "get", "pod", name, "-o", "jsonpath={.metadata.uid}")
}

// kill ends a process of a pod as the system does when memory runs out, and waits for another
// one in its place.
func kill(t *testing.T, uid, program string) {
	t.Helper()
	was := process(t, uid, program)
	if was == 0 {
		t.Fatalf("pod %s has no process %s", uid, program)
	}
	if err := syscall.Kill(was, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if now := process(t, uid, program); now != 0 && now != was {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("pod %s has no other process %s within %s", uid, program, patience)
		}
	}
}

// inside asks from pods without the API server, in the namespaces of their applications.
type inside map[string]int // by NAMESPACE/NAME

func (l *lab) enter(t *testing.T, rows []row) inside {
	t.Helper()
	in := inside{}
	for _, r := range rows {
		if in[r.pod] == 0 {
			in[r.pod] = process(t, l.uid(t, r.pod), "app")
		}
		if in[r.pod] == 0 {
			t.Fatalf("the application of %s does not run", r.pod)
		}
	}
	return in
}

// ask has more time than a resolver takes to ask again: what is lost on a busy machine is not
// what faults are to be told by.
func (in inside) ask(ctx context.Context, pod, target string) (answer, error) {
	var a answer
	cmd := exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(in[pod]), "-m", "-n", "--", "/app", "get", "-timeout", "15s", target)
	out, err := cmd.Output()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		return a, err
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("%s asks for %s: %w: %s", pod, target, err, out)
	}
	return a, nil
}

// check is lab.check without the API server.
func (in inside) check(t *testing.T, l *lab, rows []row) {
	t.Helper()
	l.await(t, "every request is decided as it should be", func() (string, bool) {
		for _, r := range rows {
			a, err := in.ask(t.Context(), r.pod, r.target)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.verdict(); !strings.HasPrefix(got, r.want) {
				return fmt.Sprintf("%s: %s asks for %s: %s, want %s (%.200s %s)", r.what, r.pod, r.target, got, r.want, a.Body, a.Error), false
			}
		}
		return "", true
	})
}

// How much of a fault a sidecar may show while it is watched.
const (
	undisturbed = true  // every request is decided as before
	restarting  = false // it may be broken off, and is never allowed what it was not
)

// watch asks for all rows again and again, at least once, until it is stopped. An answer that
// should not have been fails the test.
func (l *lab) watch(t *testing.T, rows []row, strict bool) (stop func()) {
	t.Helper()
	return l.enter(t, rows).watch(t, rows, strict)
}

// watch is lab.watch without the API server.
func (in inside) watch(t *testing.T, rows []row, strict bool) (stop func()) {
	t.Helper()
	ended := make(chan struct{})
	var done sync.WaitGroup
	var wrong []string
	done.Go(func() {
		for asked := 0; ; asked++ {
			select {
			case <-ended:
				if asked >= len(rows) {
					return
				}
			default:
			}
			r := rows[asked%len(rows)]
			a, err := in.ask(context.WithoutCancel(t.Context()), r.pod, r.target)
			got := a.verdict()
			switch {
			case err != nil:
				got = err.Error()
			case r.want != "200" && got == "200":
				got += ", which was never allowed"
			case strings.HasPrefix(got, r.want) || !strict && got != "200":
				continue
			}
			if len(wrong) < 10 {
				wrong = append(wrong, fmt.Sprintf("%s %s: %s asks for %s: %s, want %s (%.200s %s)",
					time.Now().Format("15:04:05.000"), r.what, r.pod, r.target, got, r.want, a.Body, a.Error))
			}
		}
	})
	var once sync.Once
	stop = func() {
		t.Helper()
		once.Do(func() {
			close(ended)
			done.Wait()
			if len(wrong) > 0 {
				t.Errorf("during the fault:\n%s", strings.Join(wrong, "\n"))
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// shown is what pavise status --kubernetes says.
type shown struct {
	Replicas map[string]string
	Sidecars []struct {
		Node, State, NACK, Snapshot string
	}
	Unshielded []string
}

// states are those of the sidecars, by node.
func (s *shown) states() map[string]string {
	out := map[string]string{}
	for _, x := range s.Sidecars {
		out[x.Node] = x.State
	}
	return out
}

func (l *lab) status(t *testing.T) (s shown, text string, code int) {
	t.Helper()
	text, code = l.run(t, "status", "--kubernetes", "-o", "json")
	if at := strings.Index(text, "{"); at >= 0 {
		_ = json.NewDecoder(strings.NewReader(text[at:])).Decode(&s) // the text is shown where it matters
	}
	return s, text, code
}

// inOrder waits until status has nothing to complain of, and every one of these sidecars.
func (l *lab) inOrder(t *testing.T, nodes ...string) {
	t.Helper()
	l.await(t, "status is in order", func() (string, bool) {
		s, text, code := l.status(t)
		states := s.states()
		return text, code == 0 && !slices.ContainsFunc(nodes, func(n string) bool { return states[n] != "Synced" })
	})
}

// plane are the pods of the control plane, by one field of each.
func (l *lab) plane(t *testing.T, field string) []string {
	t.Helper()
	return strings.Fields(l.kubectl(t, "-n", "pavise-system", "get", "pods", "-l", "app.kubernetes.io/component=control-plane",
		"-o", "jsonpath={range .items[*]}{"+field+"} {end}"))
}

// away takes the control plane away at once.
func (l *lab) away(t *testing.T) {
	t.Helper()
	l.kubectl(t, "-n", "pavise-system", "scale", "deployment/pavise-control-plane", "--replicas=0")
	l.kubectl(t, "-n", "pavise-system", "delete", "pods", "-l", "app.kubernetes.io/component=control-plane", "--force", "--grace-period=0")
}

func (l *lab) back(t *testing.T) {
	t.Helper()
	l.kubectl(t, "-n", "pavise-system", "scale", "deployment/pavise-control-plane", "--replicas=2")
	l.kubectl(t, "-n", "pavise-system", "rollout", "status", "deployment/pavise-control-plane", "--timeout=90s")
}

// web is the one pod of the shop's server.
func (l *lab) web(t *testing.T) string {
	t.Helper()
	names := strings.Fields(l.kubectl(t, "-n", "shop", "get", "pods", "-l", "app=web", "-o", "jsonpath={range .items[*]}{.metadata.name} {end}"))
	if len(names) != 1 {
		t.Fatalf("pods of web: %v", names)
	}
	return "shop/" + names[0]
}
