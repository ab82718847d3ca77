package docs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

// noNetwork is the exit code of a run that could not bring up its loopback.
const noNetwork = 97

// again runs this test program once more, in a new network namespace, as root of a new user
// namespace. It reports false where the system refuses.
func again() (code int, done bool) {
	runtime.LockOSThread() // Pdeathsig fires when the thread ends that started the child
	defer runtime.UnlockOSThread()
	c := exec.Command(os.Args[0], os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	var exit *exec.ExitError
	err := c.Run()
	if err != nil && !errors.As(err, &exit) {
		return 0, false
	}
	return c.ProcessState.ExitCode(), c.ProcessState.ExitCode() != noNetwork
}

// inside runs the tests in the new namespace.
func inside(m *testing.M) int {
	if err := loopbackUp(); err != nil {
		fmt.Fprintln(os.Stderr, "loopback:", err)
		return noNetwork
	}
	return m.Run()
}

// loopbackUp turns on the interface lo, which is off in a new namespace (netdevice(7)).
func loopbackUp() error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP}
	copy(request.name[:], "lo")
	_, _, number := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)))
	if number != 0 {
		return number
	}
	return nil
}
