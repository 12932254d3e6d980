package main

import (
	"fmt"
	"os"
	"syscall"
)

// privateDir makes a directory that only this user can enter, or makes sure that one
// that is there is such: in a folder that all may write to, somebody else may have made
// it first, to answer in our place. flag is the one that names it.
func privateDir(flag, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !st.IsDir() || st.Mode().Perm()&0o077 != 0 || ok && int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("--%s %s: it has to be a directory of this user with mode 0700, and is %s of user %d; name another", flag, dir, st.Mode(), owner.Uid)
	}
	return nil
}
