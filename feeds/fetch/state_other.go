//go:build !linux

package fetch

import (
	"fmt"
	"io/fs"
	"time"
)

// stateOf identifies a state of a file, and says when it was last changed.
func stateOf(st fs.FileInfo) (string, time.Time) {
	return fmt.Sprintf("%d:%d", st.Size(), st.ModTime().UnixNano()), st.ModTime()
}
