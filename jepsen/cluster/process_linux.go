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

func (p *process) pause() error { return p.signal(syscall.SIGSTOP) }

func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

func lockThread() { runtime.LockOSThread() }
