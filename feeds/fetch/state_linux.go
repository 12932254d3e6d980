package fetch

import (
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

// stateOf identifies a state of a file, and says when it was last changed. The time of
// change (ctime) is in it since, unlike that of modification, nobody can set it back.
func stateOf(st fs.FileInfo) (string, time.Time) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", st.ModTime()
	}
	changed := time.Unix(sys.Ctim.Unix())
	return fmt.Sprintf("%d:%d:%d:%d:%d", sys.Dev, sys.Ino, st.Size(), st.ModTime().UnixNano(), changed.UnixNano()), changed
}
