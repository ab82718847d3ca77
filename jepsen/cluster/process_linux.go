package cluster

import (
	"runtime"
	"syscall"
)

// attributes put a node into a process group of its own, and have the kernel kill it when the thread
// that started it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func lockThread() { runtime.LockOSThread() }
