//go:build unix && !linux

package envoy

import "syscall"

// childAttributes is without the tie to our own death, which only Linux has.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
