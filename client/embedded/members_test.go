package embedded

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/node"
)

// loseTogether loses the disks of two of three regions at once, after they have written something
// that the third never got.
func loseTogether(t *testing.T, c *Cluster, a, b, survivor string) {
	t.Helper()
	for _, r := range c.Regions() {
		write(t, c, r, "n", 50)
		require.NoError(t, c.DB(r).Set("s").Add(within(t), r))
	}
	converge(t, c)
	everywhereOnDisk(t, c)
	c.Isolate(survivor)
	write(t, c, a, "n", 20)
	write(t, c, b, "n", 20)
	var told client.Receipt
	require.NoError(t, c.DB(a).Counter("n").Add(within(t), 1, client.WithReceipt(&told)))
	_, err := c.DB(b).Resume(told.Token).Counter("n").Get(within(t))
	require.NoError(t, err)
	require.NoError(t, c.LoseDisk(a))
	require.NoError(t, c.LoseDisk(b))
	c.Rejoin(survivor)
	write(t, c, survivor, "n", 10)
	before := map[string]client.Status{}
	for _, r := range []string{a, b} {
		restart(t, c, r)
		before[r] = status(t, c, r)
	}
	for _, r := range []string{a, b} {
		writable(t, c, r)
	}
	for _, r := range c.Regions() {
		var receipt client.Receipt
		require.NoError(t, c.DB(r).Counter("n").Add(within(t), 1, client.WithReceipt(&receipt)))
		if r == a {
			require.Greater(t, receipt.Commit.Time, told.Commit.Time, "no timestamp is used twice")
		}
	}
	converge(t, c)
	for _, r := range c.Regions() {
		require.Equal(t, int64(150+10+3), counter(t, c, r, "n"), r)
		members, err := c.DB(r).Set("s").Members(within(t))
		require.NoError(t, err)
		require.ElementsMatch(t, c.Regions(), members)
		_, err = c.DB(r).Resume(told.Token).Counter("n").Get(within(t))
		require.ErrorIs(t, err, client.ErrLost, "what both had is lost, and said to be")
	}
	settled(t, c)
}

func TestTwoRegionsThatLoseTheirDisksAtOnceComeBack(t *testing.T) {
	for _, names := range [][3]string{{"us", "ap", "eu"}, {"eu", "us", "ap"}, {"ap", "eu", "us"}} {
		t.Run(names[0]+" and "+names[1], func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				loseTogether(t, cluster(t, ClusterOptions{}), names[0], names[1], names[2])
			})
		})
	}
}

// TestADiskIsLostAfterAnotherRegionIsGone names the region that is gone, which had a write that the
// lost disk had reported and nobody else has.
func TestADiskIsLostAfterAnotherRegionIsGone(t *testing.T) {
	for _, lost := range []string{"eu", "us"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gone := false
				c := cluster(t, ClusterOptions{Adjust: func(c *node.Config) {
					if gone {
						c.Gone = []string{"ap"}
					}
				}})
				for _, r := range c.Regions() {
					write(t, c, r, "n", 50)
				}
				converge(t, c)
				everywhereOnDisk(t, c)
				left := map[string]string{"eu": "us", "us": "eu"}[lost]
				c.Isolate(left)
				var told client.Receipt
				require.NoError(t, c.DB("ap").Counter("n").Add(within(t), 1, client.WithReceipt(&told)))
				_, err := c.DB(lost).Resume(told.Token).Counter("n").Get(within(t))
				require.NoError(t, err)
				c.Crash("ap")
				require.NoError(t, c.LoseDisk(lost))
				c.Rejoin(left)
				gone = true
				restart(t, c, lost)
				writable(t, c, lost)
				require.NoError(t, c.DB(lost).Counter("n").Add(within(t), 1))
				await(t, left+" has it", func() string {
					if n := counter(t, c, left, "n"); n != 151 {
						return "not yet"
					}
					return ""
				})
				require.Equal(t, int64(151), counter(t, c, lost, "n"))
			})
		})
	}
}

// halfJoined adds a region that gets a number and no further: another one can't be told of it.
func halfJoined(t *testing.T, c *Cluster, name string) {
	t.Helper()
	c.Isolate("us")
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	added := make(chan error, 1)
	go func() { added <- c.Add(ctx, name) }()
	await(t, name+" has a number", func() string {
		for _, r := range status(t, c, "eu").Regions {
			if r.Name == name {
				return ""
			}
		}
		return "none"
	})
	cancel()
	require.Error(t, <-added)
	c.Rejoin("us")
}

func TestAnAbandonedRegionHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{Regions: []string{"eu", "us"}})
		halfJoined(t, c, "ap")
		write(t, c, "us", "n", 50)
		ctx := within(t)
		require.NoError(t, c.region("us").node.Abandon(ctx, "ap"), "whoever is asked")
		require.ErrorIs(t, c.region("us").node.Abandon(ctx, "ap"), kv.ErrNotFound)
		for i, name := range []string{"sa", "ap"} {
			require.NoError(t, c.Add(ctx, name))
			require.Equal(t, 4+i, int(status(t, c, name).Lane.Region), "numbers are not used again")
			require.NoError(t, c.DB(name).Counter("n").Add(ctx, 1))
		}
		converge(t, c)
		require.Equal(t, int64(52), counter(t, c, "ap", "n"))
		settled(t, c)
	})
}
