package cluster

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// mayMount says whether regions can have disks of their own.
func mayMount(bytes int64) error { return mayMountIf(bytes, os.Geteuid(), probe) }

func mayMountIf(bytes int64, user int, probe func() error) error {
	switch {
	case bytes < MinDisk:
		return fmt.Errorf("cluster: disks of %d bytes: want at least %d", bytes, MinDisk)
	case user != 0:
		return fmt.Errorf("cluster: a disk of its own for each region needs root: run as root, or leave the size of the disks out; their nodes then take a quota")
	}
	if err := probe(); err != nil { // as of root in a container
		return fmt.Errorf("cluster: a disk of its own for each region can't be mounted, though this is root: %w; leave the size of the disks out; their nodes then take a quota", err)
	}
	return nil
}

// probe mounts a disk and unmounts it, once: root need not have that right.
var probe = sync.OnceValue(func() error { return probeIn(os.TempDir()) })

func probeIn(parent string) error {
	dir, err := os.MkdirTemp(parent, "theriac-mount-")
	if err != nil {
		return err
	}
	err = mount(dir, MinDisk)
	if err == nil {
		err = unmount(dir)
	}
	return errors.Join(err, os.Remove(dir))
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
