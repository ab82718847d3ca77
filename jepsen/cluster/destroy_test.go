package cluster

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// TestADestroyedRegionJoinsAgain: what others hold is there again, also in the founder, and the loss is counted once.
func TestADestroyedRegionJoinsAgain(t *testing.T) {
	c := start(t, Options{})
	for _, region := range []string{"eu", "us"} {
		add(t, c, region, region, 5)
		sees(t, c, region, 5, three...)
		f := nemesis.Fault{Kind: nemesis.DestroyRegion, Regions: []string{region}}
		require.NoError(t, c.Destroy(t.Context(), region))
		require.NoDirExists(t, c.nodes[region].data())
		require.NoError(t, c.Destroy(t.Context(), region), "there is nothing left to take away")
		e, err := c.Effects(t.Context(), f)
		require.NoError(t, err)
		require.Equal(t, 1, e[nemesis.DisksDestroyed])
		require.Equal(t, 1, e[nemesis.NodesKilled])
		require.NoError(t, c.Restart(t.Context(), region))
		_, err = os.Stat(c.nodes[region].data())
		require.NoError(t, err)
		sees(t, c, region, 5, region)
		add(t, c, region, region, 1)
		sees(t, c, region, 6, three...)
	}
	require.Error(t, c.Destroy(t.Context(), "mars"))
}
