//go:build unix

package decisions

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Stdout is standard output by another file descriptor. To write to it after the reader has
// gone is an error, as elsewhere; written to descriptor 1 it is a signal that ends the
// program (os/signal, SIGPIPE), and a sidecar does not end because nobody reads its log.
func Stdout() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("standard output cannot be written to: %w", err)
	}
	return os.NewFile(uintptr(fd), "standard output"), nil
}
