//go:build unix

package cli

import (
	"os"
	"syscall"
)

// lockFolder takes an advisory lock on a folder, for the moment in which a file in it is replaced.
// The folder, and not the file: that is replaced, and a lock on what it was before locks nobody out.
func lockFolder(name string) (unlock func(), err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil // closing releases the lock
}
