package cluster

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// attributes put a node into a process group of its own, and have the kernel kill it when the thread
// that started it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// pauseTimeout bounds how long a process takes to stand still once it was told to.
const pauseTimeout = 10 * time.Second

// pause returns once the process stands still, which one that has ended does not. On a busy machine its
// threads go on for a while, until the one that takes the signal gets its turn.
func (p *process) pause() (stands bool, err error) {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return false, err
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	late := time.NewTimer(pauseTimeout)
	defer late.Stop()
	for p.running() {
		if stopped(p.cmd.Process.Pid) {
			return true, nil
		}
		select {
		case <-again.C:
		case <-late.C:
			return false, fmt.Errorf("process %d goes on %v after SIGSTOP", p.cmd.Process.Pid, pauseTimeout)
		}
	}
	return false, nil
}

// stopped reports whether the kernel says that a process is stopped.
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// PID (NAME) STATE ...; the name may hold anything.
	state := strings.TrimLeft(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return strings.HasPrefix(state, "T")
}

func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

func lockThread() { runtime.LockOSThread() }
