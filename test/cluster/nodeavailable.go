package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// onNode is what [Node] needs beside the control plane.
var onNode = []string{
	"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "runc",
	"ptp", "loopback", "host-local", "coredns",
}

// NodeAvailable returns why [Node] can't run here, such as a user that is not root, or nil.
func NodeAvailable() error {
	if os.Getenv("PAVISE_NO_NODE") != "" {
		return errors.New("PAVISE_NO_NODE is set: `make e2e` tests what needs a node")
	}
	if os.Geteuid() != 0 {
		return errors.New("a node needs root, for namespaces and control groups of its own")
	}
	for _, tool := range []string{"bash", "unshare", "mount", "ip", "nft", "ldd", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("a node needs the program %s: %w", tool, err)
		}
	}
	for _, name := range slices.Concat(controlPlane, onNode) {
		if _, err := binary(name); err != nil {
			return err
		}
	}
	parents, err := hierarchies()
	if err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syscall.Access(parent, 2); err != nil { // 2: to write
			return fmt.Errorf("a node needs a control group in %s: %w", parent, err)
		}
	}
	out, err := exec.Command("unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/run").
		CombinedOutput()
	if err != nil {
		return fmt.Errorf("a node needs namespaces of its own, with mounts: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hierarchies returns this process's control group in each hierarchy of version 1.
func hierarchies() ([]string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(string(groups), string(mounts))
}

func parseHierarchies(groups, mounts string) ([]string, error) {
	var parents []string
	found := map[string]bool{}
	for line := range strings.Lines(groups) {
		// 4:cpu,cpuacct:/user/1
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[1] == "" {
			continue // version 2
		}
		parent, err := mountedAt(mounts, strings.Split(fields[1], ","), fields[2])
		if err != nil {
			return nil, err
		}
		parents = append(parents, parent)
		for name := range strings.SplitSeq(fields[1], ",") {
			found[name] = true
		}
	}
	for _, need := range []string{"cpu", "cpuset", "memory", "pids", "devices"} {
		if !found[need] {
			return nil, fmt.Errorf("a node needs control groups of version 1, and this machine has none of %q", need)
		}
	}
	return parents, nil
}

// mountedAt returns where the file system shows a control group of the hierarchy with these controllers.
func mountedAt(mounts string, controllers []string, group string) (string, error) {
	for line := range strings.Lines(mounts) {
		// 33 31 0:30 /root /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
		before, after, ok := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 3 || rest[0] != "cgroup" {
			continue
		}
		options := strings.Split(rest[2], ",")
		if slices.ContainsFunc(controllers, func(name string) bool { return !slices.Contains(options, name) }) {
			continue
		}
		below, err := filepath.Rel(fields[3], group)
		if err != nil || below == ".." || strings.HasPrefix(below, "../") {
			continue // the mount shows another part of the hierarchy
		}
		return filepath.Join(fields[4], below), nil
	}
	return "", fmt.Errorf("a node needs the control groups of %s mounted", strings.Join(controllers, ","))
}
