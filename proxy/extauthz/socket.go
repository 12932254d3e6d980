package extauthz

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// closed lets nobody open a unix socket before its mode is set: the file gets the mode that
// the socket has when it is bound.
func closed(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); e != nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("close the socket to others: %w", err)
	}
	return nil
}
