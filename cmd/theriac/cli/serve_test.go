package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
)

// serve runs the serve command with a function that keeps its settings.
func serve(env []string, args ...string) (c config.Serve, code int, stderr string) {
	app, _, errs := newTestApp(nil, "")
	app.Env = env
	app.Serve = func(_ context.Context, got config.Serve, _ io.Writer) error {
		c = got
		return nil
	}
	code = app.Run(context.Background(), append([]string{"serve"}, args...))
	return c, code, errs.String()
}

func TestServeWithoutFlagsIsOnLoopback(t *testing.T) {
	c, code, stderr := serve(nil)
	require.Equal(t, ExitOK, code, stderr)
	require.True(t, c.Insecure)
	require.Equal(t, []string{"127.0.0.1:6700", "127.0.0.1:6701", "127.0.0.1:6702", "127.0.0.1:6703"},
		[]string{c.Listen, c.PeerListen, c.GossipListen, c.AdminListen})
}

func TestServeTakesSettingsFromEverywhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "theriac.yaml")
	require.NoError(t, os.WriteFile(file, []byte("region: file\ndata: file\nlisten: 127.0.0.1:1000\n"), 0o600))
	c, code, stderr := serve([]string{"THERIAC_REGION=env", "THERIAC_DATA=env", "THERIAC_INSECURE=1"}, "--config", file, "--region", "flag")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, []string{"flag", "env", "127.0.0.1:1000", "127.0.0.1:1003"}, []string{c.Region, c.Data, c.Listen, c.AdminListen})
}

func TestServeRefuses(t *testing.T) {
	for args, says := range map[string]string{
		"extra":                          "1 arguments",
		"--addr 127.0.0.1:6700":          "serve takes no --addr",
		"--listen 0.0.0.0:6700":          "--advertise",
		"--listen 127.0.0.1:7000":        "--insecure (or THERIAC_INSECURE=1)",
		"--region UPPER":                 "region name",
		"--cache-size 5":                 "--cache-size 5",
		"--config /does/not/exist":       "no such file",
		"--join 127.0.0.1:6710":          "--region",
		"--nonsense":                     "unknown flag",
		"--insecure --tls-ca x":          "choose one",
		"--listen 10.0.0.1:1 --insecure": "loopback only",
	} {
		_, code, stderr := serve(nil, strings.Fields(args)...)
		require.Equal(t, ExitUsage, code, args)
		require.Contains(t, stderr, says, args)
	}
}

func TestServeReturnsItsError(t *testing.T) {
	app, _, stderr := newTestApp(nil, "")
	app.Serve = func(context.Context, config.Serve, io.Writer) error {
		return kv.Errorf(kv.KindUnavailable, "127.0.0.1:6700 is in use")
	}
	require.Equal(t, ExitUnavailable, app.Run(context.Background(), []string{"serve"}))
	require.Contains(t, stderr.String(), "theriac serve: 127.0.0.1:6700 is in use")
	require.NotContains(t, stderr.String(), "hint:", "hints are about reaching a node")
}

func TestSettingsOfDataCommandsComeFromTheEnvironment(t *testing.T) {
	app, stdout, stderr := newTestApp(nil, "")
	app.Env = []string{"THERIAC_BUCKET=b", "THERIAC_OUTPUT=json", "THERIAC_REGION=eu", "HOME=/"}
	var got config.Client
	app.Dial = func(_ context.Context, c config.Client) (Connection, error) {
		got = c
		return nil, down()
	}
	require.Equal(t, ExitUnavailable, app.Run(context.Background(), []string{"counter", "get", "k"}), stdout)
	require.Equal(t, "b", got.Bucket)
	require.True(t, strings.HasPrefix(stderr.String(), `{"error":`))

	app, _, stderr = newTestApp(nil, "")
	app.Env = []string{"THERIAC_BUKET=b"}
	require.Equal(t, ExitUsage, app.Run(context.Background(), []string{"counter", "get", "k"}))
	require.Contains(t, stderr.String(), "did you mean THERIAC_BUCKET?")
}

func TestHelpAndCompletion(t *testing.T) {
	app, stdout, _ := newTestApp(nil, "")
	app.Serve = func(context.Context, config.Serve, io.Writer) error { return nil }
	app.Commands = func() []*cobra.Command {
		return []*cobra.Command{{Use: "demo", Short: "a tour", Run: func(*cobra.Command, []string) {}}}
	}
	require.Equal(t, ExitOK, app.Run(context.Background(), []string{"serve", "--help"}))
	require.NotContains(t, stdout.String(), "--addr", "serve shows its own flags only")
	require.Contains(t, stdout.String(), "--peer-listen")

	for words, want := range map[string]string{
		"":                           "demo",
		"counter ":                   "add",
		"set add k e --type ":        "set-rw",
		"counter get k --output ":    "json",
		"counter get --consistency ": "eventual",
	} {
		app, stdout, _ := newTestApp(nil, "")
		app.Commands = func() []*cobra.Command {
			return []*cobra.Command{{Use: "demo", Short: "a tour", Run: func(*cobra.Command, []string) {}}}
		}
		fields := strings.Split(words, " ")
		require.Equal(t, ExitOK, app.Run(context.Background(), append([]string{"__complete"}, fields...)))
		require.Contains(t, stdout.String(), want, words)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		app, stdout, _ := newTestApp(nil, "")
		require.Equal(t, ExitOK, app.Run(context.Background(), []string{"completion", shell}))
		require.NotEmpty(t, stdout.String())
	}
}

// A script whose variable is not set must not found a cluster of its own.
func TestServeRefusesEmptyValues(t *testing.T) {
	for _, flag := range []string{"--join", "--data", "--region", "--listen", "--advertise", "--tls-ca", "--config"} {
		_, code, stderr := serve(nil, flag, "")
		require.Equal(t, ExitUsage, code)
		require.Contains(t, stderr, flag+" is empty: give it a value, or leave it out")
	}
	code, _, stderr := runOn(nil, "", "counter", "get", "k", "--addr", "")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "--addr is empty")
}
