package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/kv"
)

// A command that fails on what it has found keeps that in its session: the next one, in another region,
// finds no less.
func TestFailedCommandsKeepTheirSession(t *testing.T) {
	c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	file := filepath.Join(t.TempDir(), "session")
	at := map[string]string{"eu": listenFor(t, c.Service("eu"), nil), "us": listenFor(t, c.Service("us"), nil)}
	theriac := func(region string, args ...string) (int, string, string) {
		return overNetwork(append(args, "--addr", at[region], "--insecure", "--session", file)...)
	}
	txn := func(region, lines string) (int, string) {
		app, _, errs := newTestApp(nil, lines)
		app.Dial = nil
		return app.Run(context.Background(), []string{"txn", "-", "--addr", at[region], "--insecure", "--session", file}), errs.String()
	}

	c.Cut("eu", "us")
	require.NoError(t, c.DB("us").Register("x").SetString(t.Context(), "new"))
	code, _, stderr := theriac("us", "register", "set", "x", "mine", "--if", "old")
	require.Equal(t, ExitCondition, code, stderr)
	inSession := func() kv.Token {
		token, err := sessionFile(file).read()
		require.NoError(t, err)
		return token
	}
	status, err := c.DB("eu").Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.Exposed.Includes(inSession().Seen))
	c.Heal("eu", "us")
	code, stdout, stderr := theriac("eu", "register", "get", "x")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "new\n", stdout)

	// The same in an interactive transaction, and for a write whose answer is too large to send.
	c.Cut("eu", "us")
	require.NoError(t, c.DB("us").Register("x").SetString(t.Context(), "newer"))
	code, stderr = txn("us", "counter add n 1\ncounter get n\nregister set x mine --if old\n")
	require.Equal(t, ExitCondition, code, stderr)
	c.Heal("eu", "us")
	_, stdout, _ = theriac("eu", "register", "get", "x")
	require.Equal(t, "newer\n", stdout)

	const count = 16
	value := strings.Repeat("x", kv.MaxAnswerBytes/count-8)
	lines := ""
	for i := range count {
		key := string(rune('a' + i))
		require.NoError(t, c.DB("us").Register(key).SetString(t.Context(), value))
		lines += "register get " + key + "\n"
	}
	c.Cut("eu", "us")
	code, stderr = txn("us", lines+"counter add n 1\n")
	require.Equal(t, ExitApplied, code, stderr)
	c.Heal("eu", "us")
	_, stdout, _ = theriac("eu", "counter", "get", "n")
	require.Equal(t, "1\n", stdout)
}
