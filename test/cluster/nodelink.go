package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// unplug makes sure that no process, socket or interface of an earlier life is left.
func (c *Cluster) unplug() error {
	for _, name := range []string{"pid", "var/pavise/containerd.sock"} {
		if err := os.Remove(c.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return c.node.removeGroups()
}

// plug joins the node's network namespace to the host's, once it exists.
func (c *Cluster) plug(ctx context.Context) error {
	pid, err := os.ReadFile(c.path("pid"))
	if err != nil {
		return err
	}
	n := c.node
	steps := [][]string{
		{"link", "add", n.Link, "type", "veth", "peer", "name", "eth0", "netns", strings.TrimSpace(string(pid))},
		{"address", "replace", n.Host + "/30", "dev", n.Link},
		{"link", "set", n.Link, "up"},
		{"route", "replace", n.Pods, "via", n.IP},
		{"route", "replace", n.Services, "via", n.IP},
	}
	if n.IPv6 {
		steps = append(steps, []string{"address", "replace", n.Host6 + "/64", "dev", n.Link, "nodad"},
			[]string{"route", "replace", n.Pods6, "via", n.IP6}, []string{"route", "replace", n.Services6, "via", n.IP6})
	}
	for _, args := range steps {
		if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			if args[1] != "add" {
				n.unlink() // or the next attempt would find it there
			}
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// remove takes away what a dead node leaves: the link, if the system has not yet, and the control groups.
func (n *node) remove() error {
	defer n.lock.Close()
	n.unlink()
	return n.removeGroups()
}

// unlink removes the link where it is there. It may go by itself in this moment, as the namespace of its other end does.
func (n *node) unlink() {
	if _, err := net.InterfaceByName(n.Link); err == nil {
		_ = exec.Command("ip", "link", "delete", n.Link).Run()
	}
}

// removeGroups removes the control groups, with those that kubelet made in them. A process that was killed holds
// its group for a moment.
func (n *node) removeGroups() error {
	deadline := time.Now().Add(10 * time.Second)
	for _, group := range n.cgroups {
		for {
			err := removeTree(group)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("control group of the node: %w", err)
			}
			time.Sleep(poll)
		}
	}
	return nil
}

// removeTree removes a tree of empty folders. The kernel's files in a control group go with its folder.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}
