package cli

import (
	"context"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

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

// The command that the error of a lost write names finds out what became of it.
func TestOutcomeAsTheHintSays(t *testing.T) {
	region := openRegion(t)
	svc := &lossy{Service: region.Service()}
	at := listenFor(t, svc, nil)
	svc.loses.Store(true)
	code, _, stderr := overNetwork("counter", "add", "n", "--addr", at, "--insecure")
	require.Equal(t, ExitUnknown, code, stderr)
	hint := regexp.MustCompile(`theriac (outcome [0-9a-f]{32} --age 1h)`).FindStringSubmatch(stderr)
	require.NotNil(t, hint, stderr)
	svc.loses.Store(false)
	code, stdout, stderr := overNetwork(append(strings.Fields(hint[1]), "--addr", at, "--insecure")...)
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "applied\n", stdout)
	n, err := region.Counter("n").Get(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}
