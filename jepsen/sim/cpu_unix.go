//go:build unix

package sim

import (
	"syscall"
	"time"
)

// cpuTime is how long processors have worked for this process: what a run costs, also where others
// want them too.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
