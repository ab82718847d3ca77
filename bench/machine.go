package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Machine says where and how figures were measured.
type Machine struct {
	Command string
	Commit  string // with "+" behind it when files were changed
	Date    time.Time
	Cores   int
	CPU     string
	System  string
	Go      string
}

// ThisMachine describes the machine and the source tree in the working directory. What can't be
// found out is "unknown".
func ThisMachine(command string, now time.Time) Machine {
	return Machine{
		Command: command, Commit: commit(), Date: now, Cores: runtime.NumCPU(), CPU: cpuModel(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
}

func (m Machine) String() string {
	return fmt.Sprintf("`%s` on %s: commit %s, %s, %d cores (%s), %s.\n",
		m.Command, m.Date.UTC().Format("2006-01-02"), m.Commit, m.System, m.Cores, m.CPU, m.Go)
}

func commit() string {
	head, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	c := strings.TrimSpace(string(head))
	// Documents don't change what is measured.
	changed, err := exec.Command("git", "status", "--porcelain", "--", "*.go", "go.mod").Output()
	if err != nil || len(changed) > 0 {
		c += "+"
	}
	return c
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
