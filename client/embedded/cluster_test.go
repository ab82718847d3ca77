package embedded

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

func threeRegions(t *testing.T) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := StartCluster(ctx, ClusterOptions{Log: os.Stderr})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// converged waits until all regions have one digest.
func converged(t *testing.T, c *Cluster) {
	t.Helper()
	require.Eventually(t, func() bool {
		var first client.Digest
		for i, r := range c.Regions() {
			d, err := c.DB(r).Digest(t.Context(), "")
			if err != nil || i > 0 && d.Sum != first.Sum {
				return false
			}
			first = d
		}
		return true
	}, 20*time.Second, 5*time.Millisecond, "the regions do not converge")
}

func TestWritesReachEveryRegion(t *testing.T) {
	c := threeRegions(t)
	for i, r := range c.Regions() {
		require.NoError(t, c.DB(r).Counter("n").Add(t.Context(), int64(i+1)))
		require.NoError(t, c.DB(r).Set("s").Add(t.Context(), r))
	}
	converged(t, c)
	for _, r := range c.Regions() {
		n, err := c.DB(r).Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(6), n)
	}
}
