package cluster

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the system kill the child when a test is killed before it could. A group of
// its own keeps a terminal's Ctrl-C for the parent, which then closes in order.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
