package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// The processors.
const (
	envoyCore = "0"
	loadCore  = "1"
)

// apart begins this program anew, on the processor of the load, where what it starts
// stays; in a network namespace of its own, and before other work of the machine, if
// those are permitted.
func apart(o options) error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	if set.Count() == 1 && set.IsSet(1) {
		runtime.GOMAXPROCS(4) // a thread that waits for an answer is not to stop the others
		return nil
	}
	if n := runtime.NumCPU(); n < 2 {
		return fmt.Errorf("it needs two processors, one for Envoy and one for the load; there is %d", n)
	}
	for _, tool := range []string{"wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is needed; on Debian: apt-get install wrk util-linux: %w", tool, err)
		}
	}
	args := os.Args[1:]
	if slices.Contains(o.only, "opa") && o.opa == "" {
		// Here, since modules are fetched from elsewhere.
		binary, err := buildOPA()
		if err != nil {
			return err
		}
		args = append([]string{"-opa", binary}, args...)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return err
	}
	// A namespace and a priority are a thread's, and this one goes on as the program.
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -15)
	if unix.Unshare(unix.CLONE_NEWNET) == nil {
		if err := loopback(); err != nil {
			return fmt.Errorf("loopback of a new network namespace: %w", err)
		}
	}
	return syscall.Exec(taskset, append([]string{"taskset", "-c", loadCore, self}, args...), os.Environ())
}

// loopback switches it on, which a new namespace does not.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// buildOPA builds the contender, which is a module of its own, into the cache.
func buildOPA() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(cache, "pavise", "bench-filter-opa")
	out, err := exec.Command("go", "build", "-C", "benchmarks/filter/opa", "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build benchmarks/filter/opa, from the folder of the repository: %w: %s", err, out)
	}
	return binary, nil
}
