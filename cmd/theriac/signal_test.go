//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What waits for a pipe that nobody reads does not notice the first interrupt; the second ends it.
func TestASecondInterruptEndsWhatHangs(t *testing.T) {
	node := startServe(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	require.NoError(t, node.open(t).Register("r").Set(t.Context(), make([]byte, 1<<20)))
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	path, err := binary()
	require.NoError(t, err)
	cmd := exec.Command(path, "export", "--file", pipe, "--addr", node.ready["clients"], "--insecure")
	require.NoError(t, cmd.Start())
	reader, err := os.Open(pipe) // waits for the writer
	require.NoError(t, err)
	defer reader.Close()
	_, err = reader.Read(make([]byte, 1)) // of far more than a pipe holds
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for sent := 0; ; {
		select {
		case <-again.C:
			if err := cmd.Process.Signal(os.Interrupt); err == nil {
				sent++
			}
			continue
		case err = <-ended:
		}
		var exit *exec.ExitError
		require.True(t, errors.As(err, &exit), "%v", err)
		require.Equal(t, os.Interrupt, os.Signal(exit.Sys().(syscall.WaitStatus).Signal()))
		require.Greater(t, sent, 1)
		return
	}
}
