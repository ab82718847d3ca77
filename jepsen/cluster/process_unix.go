//go:build unix && !linux

package cluster

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes put a node into a process group of its own. Nothing here ends it when this process is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// pause stops the process, and asks ps whether it stands still, which one that has ended does not.
func (p *process) pause() (stands bool, err error) {
	if err := p.signal(syscall.SIGSTOP); err != nil || !p.running() {
		return false, err
	}
	state, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(p.cmd.Process.Pid)).Output()
	if !p.running() {
		return false, nil // ps finds nothing
	}
	return strings.HasPrefix(strings.TrimSpace(string(state)), "T"), err
}

func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

func lockThread() {}
