package embedded

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// strongSum reads the sum that addStrong adds to, as soon as the region takes strong reads.
func strongSum(t *testing.T, c *Cluster, region string) (sum int) {
	t.Helper()
	await(t, region+" reads at level strong", func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		v, err := c.DB(region).Register("sum").Get(ctx, client.Strong())
		if err != nil {
			return err.Error()
		}
		sum, _ = strconv.Atoi(string(v))
		return ""
	})
	return sum
}

// TestStrongTransactionsGoOnAfterAMajorityLostItsDisks: what was acknowledged and is in a survivor's log or lane
// is counted once, and what follows is, too.
func TestStrongTransactionsGoOnAfterAMajorityLostItsDisks(t *testing.T) {
	for _, x := range []struct{ regions, lost []string }{
		{[]string{"eu", "us", "ap"}, []string{"eu", "us"}},
		{[]string{"eu", "us", "ap"}, []string{"us", "ap"}},
		{[]string{"eu", "us"}, []string{"eu"}},
		{[]string{"eu", "us"}, []string{"us"}},
	} {
		t.Run(strconv.Itoa(len(x.regions))+" lose "+x.lost[0], func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := cluster(t, ClusterOptions{Regions: x.regions})
				for _, r := range c.Regions() {
					await(t, r+" takes strong transactions", func() string {
						ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
						defer cancel()
						if _, err := c.DB(r).Register("sum").Get(ctx, client.Strong()); err != nil {
							return err.Error()
						}
						return ""
					})
				}
				want := 0
				for range 5 {
					for _, r := range c.Regions() {
						require.NoError(t, addStrong(within(t), c.DB(r), "sum", 1))
						want++
					}
				}
				converge(t, c) // every region has them
				for _, r := range x.lost {
					require.NoError(t, c.LoseDisk(r))
				}
				for _, r := range x.lost {
					restart(t, c, r)
				}
				for _, r := range x.lost {
					writable(t, c, r)
				}
				for _, r := range c.Regions() {
					require.Equal(t, want, strongSum(t, c, r), r)
					require.NoError(t, addStrong(within(t), c.DB(r), "sum", 1))
					want++
				}
				for _, r := range c.Regions() {
					require.Equal(t, want, strongSum(t, c, r), r)
				}
				settled(t, c)
			})
		})
	}
}
