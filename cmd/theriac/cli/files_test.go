//go:build unix

package cli

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
)

func link(t *testing.T, target, name string) string {
	require.NoError(t, os.Symlink(target, name))
	return name
}

func isLink(t *testing.T, name string) {
	info, err := os.Lstat(name)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink, "%s", name)
}

// A symbolic link stays, and what it leads to is new, whether it was there or not.
func TestFilesAreReplacedThroughLinks(t *testing.T) {
	dir, svc := t.TempDir(), memkv.New().Node(1, "eu")
	code, _, stderr := runOn(svc, "", "counter", "add", "likes", "7")
	require.Equal(t, ExitOK, code, stderr)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	target := filepath.Join(dir, "sub", "target")
	name := link(t, "sub/second", filepath.Join(dir, "first"))
	link(t, target, filepath.Join(dir, "sub", "second"))
	for range 2 {
		code, _, stderr := runOn(svc, "", "export", "--file", name)
		require.Equal(t, ExitOK, code, stderr)
		isLink(t, name)
		text, err := os.ReadFile(target)
		require.NoError(t, err)
		require.Contains(t, string(text), `"value":7`)
		require.NoError(t, os.WriteFile(target, []byte("old"), 0o600))
	}

	session := link(t, "sub/token", filepath.Join(dir, "session"))
	for range 2 {
		code, _, stderr := runOn(svc, "", "counter", "add", "likes", "--session", session)
		require.Equal(t, ExitOK, code, stderr)
	}
	isLink(t, session)
	token, err := sessionFile(filepath.Join(dir, "sub", "token")).read()
	require.NoError(t, err)
	require.NotEmpty(t, token.Seen)

	round := link(t, "round", filepath.Join(dir, "round"))
	code, _, stderr = runOn(svc, "", "export", "--file", round)
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "more than 40 symbolic links")
	code, _, stderr = runOn(svc, "", "counter", "get", "likes", "--session", round)
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "more than 40 symbolic links")
	left, err := filepath.Glob(filepath.Join(dir, "sub", ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "temporary files")
}

// What is no file is written to, and stays what it is.
func TestExportWritesToPipes(t *testing.T) {
	dir, svc := t.TempDir(), memkv.New().Node(1, "eu")
	code, _, stderr := runOn(svc, "", "counter", "add", "likes", "7")
	require.Equal(t, ExitOK, code, stderr)
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := os.ReadFile(pipe)
		got <- answer{text, err}
	}()
	code, _, stderr = runOn(svc, "", "export", "--file", link(t, "pipe", filepath.Join(dir, "link")))
	require.Equal(t, ExitOK, code, stderr)
	a := <-got
	require.NoError(t, a.err)
	require.Equal(t, `{"bucket":"default","key":"likes","type":"counter","value":7}`+"\n", string(a.text))
	info, err := os.Lstat(pipe)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeNamedPipe)

	// One whose reader has gone is an error, and a failure of no node.
	opened := make(chan error, 1)
	go func() {
		f, err := os.Open(pipe)
		opened <- errors.Join(err, f.Close())
	}()
	app, _, errs := newTestApp(svc, "")
	err = toFile(pipe, func(out *bufio.Writer) error {
		if err := <-opened; err != nil {
			return err
		}
		_, err := out.WriteString(strings.Repeat("x", outBuffer+1))
		return err
	})
	require.ErrorIs(t, err, syscall.EPIPE)
	require.Equal(t, ExitFailure, exitCode(err))

	code = app.Run(context.Background(), []string{"counter", "get", "likes", "--session", pipe})
	require.Equal(t, ExitUsage, code)
	require.Contains(t, errs.String(), "is not a regular file: it can't keep a session")
	code, _, stderr = runOn(svc, "", "export", "--file", dir)
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "is a directory")
}
