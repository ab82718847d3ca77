//go:build unix

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/cmd/theriac/cli"
)

// processesOf are the processes with a text in their command lines, by number.
func processesOf(t *testing.T, text string) (pids []string) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	require.NotEmpty(t, files, "this test looks for processes in /proc")
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(line), text) { // it may have ended
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// TestJepsenOnRealNodes: three processes, counters, a partition; the verdict is valid, and nothing is left running.
func TestJepsenOnRealNodes(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "run")
	out, err := exec.Command(path, "jepsen", "test", "--workload", "counter", "--nemesis", "partition-halves", "--time-limit", "8s", "--out", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "valid    nodes")
	require.Contains(t, string(out), "counter under partition-halves: ")
	for _, region := range []string{"eu", "us", "ap"} {
		require.FileExists(t, filepath.Join(dir, "cluster", region, "log"))
		require.NoDirExists(t, filepath.Join(dir, "cluster", region, "data"))
	}
	require.Empty(t, processesOf(t, dir))
}

// TestJepsenHeedsAnInterrupt: it ends every node that it has started, and keeps the history.
func TestJepsenHeedsAnInterrupt(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.Command(path, "jepsen", "test", "--workload", "bank", "--nemesis", "pause", "--time-limit", "1h", "--out", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	require.Eventually(t, func() bool { return len(processesOf(t, filepath.Join(dir, "cluster"))) == 3 }, 60*time.Second, 50*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	select {
	case err = <-ended:
	case <-time.After(60 * time.Second):
		require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT))
		t.Fatalf("it does not end: %v", <-ended)
	}
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v %s", err, stderr.String())
	require.Equal(t, cli.ExitUnavailable, exit.ExitCode(), stderr.String())
	require.Empty(t, processesOf(t, dir))
}
