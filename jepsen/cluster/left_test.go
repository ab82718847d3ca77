package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// helperEnv makes the test binary start a cluster in the folder that it names and then end in the manner that
// helperHow names. See TestNothingIsLeft.
const (
	helperEnv = "JEPSEN_CLUSTER_TEST_DIR"
	helperHow = "JEPSEN_CLUSTER_TEST_HOW"
)

// runHelper is a program that uses a cluster.
func runHelper(dir string) {
	c, err := Start(context.Background(), Options{Binary: os.Getenv("JEPSEN_CLUSTER_TEST_BINARY"), Dir: dir, Regions: []string{"eu", "us"}})
	if err != nil {
		panic(err)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	if os.Getenv(helperHow) == "paused" {
		if err := c.Pause(context.Background(), "us"); err != nil {
			panic(err)
		}
	}
	fmt.Println("started")
	if os.Getenv(helperHow) == "panic" {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		panic("as any program may")
	}
	<-interrupted
	if err := c.Close(); err != nil {
		panic(err)
	}
}

// Whatever way a program ends that has a cluster, no process of it is left.
func TestNothingIsLeft(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	for how, end := range map[string]func(p *exec.Cmd, stdin func()) error{
		"interrupted": func(p *exec.Cmd, _ func()) error { return p.Process.Signal(os.Interrupt) },
		"paused":      func(p *exec.Cmd, _ func()) error { return p.Process.Signal(os.Interrupt) },
		"killed":      func(p *exec.Cmd, _ func()) error { return p.Process.Kill() },
		"panic":       func(_ *exec.Cmd, stdin func()) error { stdin(); return nil },
		// At a terminal an interrupt goes to the whole group.
		"group": func(p *exec.Cmd, _ func()) error { return syscall.Kill(-p.Process.Pid, syscall.SIGINT) },
	} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperEnv+"="+dir, helperHow+"="+how, "JEPSEN_CLUSTER_TEST_BINARY="+path)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
			require.NoError(t, err)
			cmd.Stderr = said
			stdin, err := cmd.StdinPipe()
			require.NoError(t, err)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			line, err := bufio.NewReader(stdout).ReadString('\n')
			require.NoError(t, err, contents(said))
			require.Equal(t, "started\n", line)
			require.Len(t, processesOf(t, dir), 2)
			require.NoError(t, end(cmd, func() { _ = stdin.Close() }))
			err = cmd.Wait()
			var exit *exec.ExitError
			if how == "killed" || how == "panic" {
				require.True(t, errors.As(err, &exit), "%v", err)
			} else {
				require.NoError(t, err, contents(said))
			}
			eventually(t, "no process is left", func() bool { return len(processesOf(t, dir)) == 0 })
		})
	}
}

// contents is what a file holds by now.
func contents(f *os.File) string {
	text, _ := os.ReadFile(f.Name())
	return string(text)
}
