package serve

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

// TestAFolderIsServedWithoutItsName: --region is needed once.
func TestAFolderIsServedWithoutItsName(t *testing.T) {
	dir := t.TempDir()
	startWith(t, "--insecure", "--data", dir, "--region", "ap").end()
	again := startWith(t, "--insecure", "--data", dir)
	require.Equal(t, "ap", again.addresses["region"])
	again.end()
	err := Run(t.Context(), settings(t, "--insecure", "--data", dir, "--region", "local"), io.Discard, io.Discard)
	require.ErrorContains(t, err, `belongs to region "ap", not "local"`)
}

// TestAFolderOfAnotherClusterIsNotServedWhereItIsToJoin: it would go on with its own cluster, and nobody
// would notice.
func TestAFolderOfAnotherClusterIsNotServedWhereItIsToJoin(t *testing.T) {
	dir := t.TempDir()
	mine := startWith(t, "--insecure", "--data", dir, "--region", "us")
	eu := startServer(t, "--region", "eu")
	var want []string
	for _, r := range []*running{eu, mine} {
		s, err := r.db(t.Context()).Status(t.Context())
		require.NoError(t, err)
		want = append(want, s.Cluster.String())
	}
	mine.end()
	var stdout bytes.Buffer
	err := Run(context.WithoutCancel(t.Context()), settings(t, "--insecure", "--data", dir, "--region", "us", "--join", eu.addresses["clients"]), &stdout, io.Discard)
	require.ErrorIs(t, err, kv.ErrInvalid)
	for _, id := range want {
		require.ErrorContains(t, err, id)
	}
	require.Empty(t, stdout.String())
}
