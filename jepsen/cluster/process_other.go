//go:build !unix

package cluster

import (
	"errors"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return nil }

func (*process) pause() (stands bool, err error) {
	return false, errors.New("processes can't be paused on this system")
}

func (*process) resume() error { return nil } // none is paused

func lockThread() {}
