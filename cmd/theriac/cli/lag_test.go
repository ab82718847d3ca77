package cli

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/embedded"
)

// lagsAt are the lags that a region's status prints, by region.
func lagsAt(t *testing.T, c *embedded.Cluster, region string) map[string]time.Duration {
	code, out, stderr := runOn(c.Service(region), "", "status")
	require.Equal(t, ExitOK, code, stderr)
	_, table, found := strings.Cut(out, "REPORTED\n")
	require.True(t, found, out)
	lags := map[string]time.Duration{}
	for line := range strings.Lines(strings.TrimSpace(table)) {
		cells := strings.Fields(line)
		lag, err := time.ParseDuration(cells[3])
		require.NoError(t, err, out)
		lags[cells[1]] = lag
	}
	return lags
}

// A node is never behind itself, however long it is idle, and behind others only as far as it has not
// heard of them.
func TestStatusShowsHowFarOthersAreAway(t *testing.T) {
	const idle = time.Minute
	for _, regions := range [][]string{{"eu"}, {"eu", "us"}} {
		synctest.Test(t, func(t *testing.T) {
			c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: regions})
			require.NoError(t, err)
			for _, r := range regions {
				require.NoError(t, c.DB(r).Counter("n").Add(t.Context(), 1))
			}
			_, err = c.Converge(t.Context())
			require.NoError(t, err)
			<-time.After(idle)
			lags := lagsAt(t, c, "eu")
			require.Len(t, lags, len(regions))
			require.Zero(t, lags["eu"])
			require.Less(t, lags["us"], time.Second, "heartbeats say that nothing is missing")
			if len(regions) > 1 {
				c.Cut("eu", "us")
				<-time.After(idle)
				lags = lagsAt(t, c, "eu")
				require.Zero(t, lags["eu"])
				require.GreaterOrEqual(t, lags["us"], idle)
			}
			require.NoError(t, c.Close())
		})
	}
}
