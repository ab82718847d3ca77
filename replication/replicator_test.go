package replication_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestTwoRegionsExchangeWhatTheyCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		first := eu.commit()
		us := c.start("us", newFakeStore(2), []string{"eu"})
		us.sees(first)
		require.Equal(t, eu.id.Cluster, us.id.Cluster)
		_, err := us.r.WaitWritable(t.Context())
		require.NoError(t, err)
		a, b := eu.commit(), us.commit()
		eu.sees(b)
		us.sees(a)
		for range 100 {
			a = eu.commit()
		}
		us.sees(a)
		require.Equal(t, eu.store.content(), us.store.content())
		require.NoError(t, us.stop())
		require.NoError(t, eu.stop())
	})
}
