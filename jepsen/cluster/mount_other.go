//go:build !linux

package cluster

import "errors"

var errNoMounts = errors.New("cluster: a disk of its own for each region needs Linux: leave the size of the disks out; their nodes then take a quota")

func mayMount(int64) error { return errNoMounts }

func mount(string, int64) error { return errNoMounts }

func unmount(string) error { return errNoMounts }
