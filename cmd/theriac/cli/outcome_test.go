package cli

import (
	"context"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/kv"
)

// lossy is a database whose answers to writes get lost.
type lossy struct {
	kv.Service
	loses atomic.Bool
}

func (l *lossy) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	resp, err := l.Service.Do(ctx, req)
	if err == nil && l.loses.Load() && len(req.Ops) > 0 {
		return kv.Response{}, kv.Errorf(kv.KindDeadline, "the answer is lost").WithOutcome(kv.OutcomeUnknown)
	}
	return resp, err
}

// What the command's defaults ask for finds a write in the node's log, over a restart too, and makes
// sure of one that is not there.
func TestOutcomeWithItsDefaults(t *testing.T) {
	dir := t.TempDir()
	db, err := embedded.Open(t.Context(), dir)
	require.NoError(t, err)
	written, never := client.NewOpID(), client.NewOpID()
	require.NoError(t, db.Counter("n").Add(t.Context(), 1, client.WithOpID(written)))
	ask := func(db *embedded.DB, id client.OpID) string {
		t.Helper()
		at := listenFor(t, db.Service(), nil)
		code, stdout, stderr := overNetwork("outcome", id.String(), "--addr", at, "--insecure")
		require.Equal(t, ExitOK, code, stderr)
		return stdout
	}
	require.Equal(t, "applied\n", ask(db, written))
	require.Equal(t, "not applied\n", ask(db, never))
	require.ErrorIs(t, db.Counter("n").Add(t.Context(), 1, client.WithOpID(never)), client.ErrAborted, "nor will it be")
	require.NoError(t, db.Close())

	db, err = embedded.Open(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.Equal(t, "applied\n", ask(db, written))
	require.Equal(t, "not applied\n", ask(db, never))
	require.Equal(t, "not applied\n", ask(db, client.NewOpID()))
}

// A write may have been at level strong, by its own choice or its bucket's: who asks need not know.
func TestOutcomeOfAStrongWrite(t *testing.T) {
	c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	at := listenFor(t, c.Service("us"), nil)
	ask := func(id client.OpID, args ...string) (int, string, string) {
		return overNetwork(append(args, "outcome", id.String(), "--addr", at, "--insecure")...)
	}
	written, never := client.NewOpID(), client.NewOpID()
	require.NoError(t, c.DB("eu").Counter("n").Add(t.Context(), 1, client.WithOpID(written), client.Strong()))
	for _, level := range []string{"default", "strong"} {
		code, stdout, stderr := ask(written, "--consistency", level)
		require.Equal(t, ExitOK, code, stderr)
		require.Equal(t, "applied\n", stdout, level)
		code, stdout, stderr = ask(never, "--consistency", level)
		require.Equal(t, ExitOK, code, stderr)
		require.Equal(t, "not applied\n", stdout, level)
	}
	require.ErrorIs(t, c.DB("eu").Counter("n").Add(t.Context(), 1, client.WithOpID(never), client.Strong()), client.ErrAborted, "nor will it be")

	require.Eventually(t, func() bool {
		s, err := c.DB("us").Status(t.Context())
		return err == nil && s.Strong == "follower"
	}, 10*time.Second, time.Millisecond)
	c.Cut("eu", "us")
	code, stdout, stderr := ask(client.NewOpID(), "--timeout", "300ms")
	require.Equal(t, ExitUnavailable, code, stderr)
	require.Contains(t, stderr, "whether it was applied at level strong is not known")
	require.Empty(t, stdout)
	code, stdout, stderr = ask(client.NewOpID(), "--timeout", "300ms", "-o", "json")
	require.Equal(t, ExitUnavailable, code, stderr)
	require.NotContains(t, stdout+stderr, `"not applied"`)
	code, stdout, stderr = ask(client.NewOpID(), "--consistency", "causal")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "not applied\n", stdout)
}

// The command that the error of a lost write names finds out what became of it.
func TestOutcomeAsTheHintSays(t *testing.T) {
	region := openRegion(t)
	svc := &lossy{Service: region.Service()}
	at := listenFor(t, svc, nil)
	for i, level := range []string{"default", "causal", "strong"} {
		svc.loses.Store(true)
		code, _, stderr := overNetwork("counter", "add", "n", "--addr", at, "--insecure", "--consistency", level)
		require.Equal(t, ExitUnknown, code, stderr)
		hint := regexp.MustCompile(`theriac (outcome [0-9a-f]{32} --age 1h.*)`).FindStringSubmatch(stderr)
		require.NotNil(t, hint, stderr)
		svc.loses.Store(false)
		code, stdout, stderr := overNetwork(append(strings.Fields(hint[1]), "--addr", at, "--insecure")...)
		require.Equal(t, ExitOK, code, stderr)
		require.Equal(t, "applied\n", stdout)
		n, err := region.Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, i+1, n)
	}
}
