package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of times in /proc.
const tick = 10 * time.Millisecond

// processorTime is what processes have computed since they began, as Linux tells.
func processorTime(pids ...int) (sum time.Duration, err error) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("bench: processor time: %w", err)
		}
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // behind the name, which may hold anything
		fields := bytes.Fields(rest)
		if len(fields) < 13 {
			return 0, fmt.Errorf("bench: processor time: /proc/%d/stat has %d fields", pid, len(fields))
		}
		for _, f := range fields[11:13] { // in user mode and in the kernel
			n, err := strconv.Atoi(string(f))
			if err != nil {
				return 0, fmt.Errorf("bench: processor time: %w", err)
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}
