//go:build unix && !linux

package cluster

import "syscall"

// attributes put a node into a process group of its own. Nothing here ends it when this process is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (p *process) pause() error { return p.signal(syscall.SIGSTOP) }

func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

func lockThread() {}
