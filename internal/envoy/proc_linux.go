package envoy

import "syscall"

func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		// A group of its own: Ctrl-C in a terminal goes to the whole foreground
		// group, and would end Envoy before it could be drained.
		Setpgid: true,
		// Envoy never outlives us, not even after kill -9. The kernel ties this
		// to the thread that forked, hence the locked thread in startChild.
		Pdeathsig: syscall.SIGKILL,
	}
}
