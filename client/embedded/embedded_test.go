package embedded

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpenKeepsDataOverCloseAndOpen(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		db, err := Open(t.Context(), dir)
		require.NoError(t, err)
		n, err := db.Counter("starts").Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(i), n)
		require.NoError(t, db.Counter("starts").Add(t.Context(), 1))
		require.NoError(t, db.Close())
	}
}

func TestCrashLosesNoAcknowledgedWrite(t *testing.T) {
	c, err := StartCluster(t.Context(), ClusterOptions{Regions: []string{"eu"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	db := c.DB("eu")
	for i := range 20 {
		require.NoError(t, db.Counter("n").Add(t.Context(), 1))
		c.Crash("eu")
		require.NoError(t, c.Restart(t.Context(), "eu"))
		n, err := db.Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(i+1), n)
	}
}
