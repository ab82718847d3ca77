package demo

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/cmd/theriac/cli"
	"github.com/theriac-db/theriac/kv"
)

func TestEveryClaimHolds(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Run(t.Context(), Options{Out: &out}), out.String())
	require.Contains(t, out.String(), "Every claim above was checked")
	require.Contains(t, out.String(), "run theriac demo --serve", "the commands that it shows need regions that are up")

	staying, stop := context.WithCancel(t.Context())
	watched := writer(func(p []byte) (int, error) {
		if strings.Contains(string(p), "The regions stay up") {
			stop()
		}
		require.NotContains(t, string(p), "The regions end here")
		return len(p), nil
	})
	require.NoError(t, Run(staying, Options{Out: watched, Stay: true}))
	require.Error(t, staying.Err(), "it stayed until it was told to end")
}

// writer is a function that what is printed goes to.
type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// exitCode runs theriac demo.
func exitCode(ctx context.Context, o Options, args ...string) (code int, stderr string) {
	var out, errs bytes.Buffer
	app := cli.App{Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &errs, Commands: func() []*cobra.Command { return []*cobra.Command{command(o)} }}
	code = app.Run(ctx, append([]string{"demo"}, args...))
	return code, errs.String()
}

// A tour that can't fail would prove nothing: without replication its claims do not hold.
func TestExitCodeIsOneWhenAClaimDoesNotHold(t *testing.T) {
	cut := func(c *embedded.Cluster) {
		for _, r := range c.Regions() {
			c.Isolate(r)
		}
	}
	code, stderr := exitCode(t.Context(), Options{Out: &bytes.Buffer{}, Spoil: cut, Patience: time.Second})
	require.Equal(t, cli.ExitFailure, code)
	require.Contains(t, stderr, errClaim.Error()+": all regions hold the same content within 1s")
}

// A call that fails breaks a claim too, whatever its kind of error.
func TestExitCodeIsOneWhenACallFails(t *testing.T) {
	crash := func(c *embedded.Cluster) { c.Crash("us") }
	code, stderr := exitCode(t.Context(), Options{Out: &bytes.Buffer{}, Spoil: crash})
	require.Equal(t, cli.ExitFailure, code)
	require.Contains(t, stderr, errClaim.Error()+": region us is down")
}

func TestExitCodeOfMistakesAndInterruptions(t *testing.T) {
	code, stderr := exitCode(t.Context(), Options{Out: &bytes.Buffer{}}, "--no-such-flag")
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, stderr, "unknown flag")
	for _, flag := range []string{"--bucket=b", "--consistency=eventual", "--durability=applied", "--config=x"} {
		code, stderr = exitCode(t.Context(), Options{Out: &bytes.Buffer{}}, flag)
		require.Equal(t, cli.ExitUsage, code)
		name, _, _ := strings.Cut(flag, "=")
		require.Contains(t, stderr, "demo takes no "+name+", which is for commands on data")
	}

	ctx, cancel := context.WithCancel(t.Context())
	code, stderr = exitCode(ctx, Options{Out: &bytes.Buffer{}, Spoil: func(*embedded.Cluster) { cancel() }})
	require.Equal(t, cli.ExitUnavailable, code)
	require.Contains(t, stderr, "interrupted: ")
	require.NotContains(t, stderr, errClaim.Error())
	require.Equal(t, kv.KindDeadline, kv.KindOf(Run(ctx, Options{Out: &bytes.Buffer{}})), "before it begins")
}
