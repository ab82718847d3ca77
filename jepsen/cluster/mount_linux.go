package cluster

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// mayMount says whether regions can have disks of their own.
func mayMount(bytes int64) error {
	switch {
	case bytes < MinDisk:
		return fmt.Errorf("cluster: disks of %d bytes: want at least %d", bytes, MinDisk)
	case os.Geteuid() != 0:
		return fmt.Errorf("cluster: a disk of its own for each region needs root: run as root, or leave the size of the disks out; their nodes then take a quota")
	}
	return nil
}

func mount(dir string, bytes int64) error {
	return syscall.Mount("theriac-jepsen", dir, "tmpfs", 0, "size="+strconv.FormatInt(bytes, 10))
}

func unmount(dir string) error {
	if err := syscall.Unmount(dir, 0); err != nil {
		return fmt.Errorf("cluster: unmounting %s: %w", dir, err)
	}
	return nil
}
