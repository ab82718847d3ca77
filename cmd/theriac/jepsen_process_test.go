//go:build unix

package main

import (
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

// longRun is theriac jepsen test on real nodes, under load.
type longRun struct {
	cmd   *exec.Cmd
	dir   string
	log   string // the file with what it says
	ended chan error
}

// startLongRun returns once the load has begun. The run ends with the test, whatever becomes of it.
func startLongRun(t *testing.T) *longRun {
	path, err := binary()
	require.NoError(t, err)
	r := &longRun{dir: filepath.Join(t.TempDir(), "run"), log: filepath.Join(t.TempDir(), "log"), ended: make(chan error, 1)}
	log, err := os.Create(r.log)
	require.NoError(t, err)
	defer log.Close() // the process has its own
	r.cmd = exec.Command(path, "jepsen", "test", "--workload", "bank", "--nemesis", "pause", "--time-limit", "1h", "--out", r.dir)
	r.cmd.Stderr = log
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	go func() { r.ended <- r.cmd.Wait() }()
	r.await(t, " of 1h0m0s: ")
	require.Len(t, processesOf(t, filepath.Join(r.dir, "cluster")), 3)
	return r
}

// await waits until it says something.
func (r *longRun) await(t *testing.T, text string) {
	require.Eventually(t, func() bool { return strings.Contains(r.said(t), text) }, 60*time.Second, 20*time.Millisecond, "%q", text)
}

func (r *longRun) said(t *testing.T) string {
	text, err := os.ReadFile(r.log)
	require.NoError(t, err)
	return string(text)
}

// end waits for its end.
func (r *longRun) end(t *testing.T) *exec.ExitError {
	var err error
	select {
	case err = <-r.ended:
	case <-time.After(60 * time.Second):
		require.NoError(t, r.cmd.Process.Signal(syscall.SIGQUIT))
		t.Fatalf("it does not end: %v %s", <-r.ended, r.said(t))
	}
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v %s", err, r.said(t))
	return exit
}

// TestJepsenHeedsAnInterrupt: it ends every node that it has started, and judges what there is.
func TestJepsenHeedsAnInterrupt(t *testing.T) {
	r := startLongRun(t)
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	require.Equal(t, cli.ExitUnavailable, r.end(t).ExitCode(), r.said(t))
	require.Empty(t, processesOf(t, r.dir))
	results, err := os.ReadFile(filepath.Join(r.dir, "results.json"))
	require.NoError(t, err)
	require.Contains(t, string(results), `"verdict": "interrupted"`)
	require.FileExists(t, filepath.Join(r.dir, "history.jsonl"))
	require.FileExists(t, filepath.Join(r.dir, "report.html"))
}

// TestJepsenHeedsASecondInterrupt: it ends then whatever it does, and its nodes with it.
func TestJepsenHeedsASecondInterrupt(t *testing.T) {
	r := startLongRun(t)
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	r.await(t, "a second interrupt ends it at once")
	if err := r.cmd.Process.Signal(os.Interrupt); err == nil { // else it has ended by the first
		r.end(t)
	}
	require.Eventually(t, func() bool { return len(processesOf(t, r.dir)) == 0 }, 60*time.Second, 20*time.Millisecond)
}
