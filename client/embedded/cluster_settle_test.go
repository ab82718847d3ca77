package embedded

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/storage"
)

// settled waits until every region has settled all that they show now.
func settled(t *testing.T, c *Cluster) {
	t.Helper()
	token := shown(t, c)
	await(t, "all is settled", func() string {
		for _, r := range c.Regions() {
			if s := status(t, c, r); !s.Settled.Includes(token.Seen) || !s.Horizon.Includes(token.Seen) {
				return fmt.Sprintf("%s: settled %s, horizon %s, shown %s", r, s.Settled, s.Horizon, token.Seen)
			}
		}
		return ""
	})
}

// shown is the join of what all regions show.
func shown(t *testing.T, c *Cluster) (all client.Token) {
	t.Helper()
	for _, r := range c.Regions() {
		var receipt client.Receipt
		_, err := c.DB(r).Do(within(t), nil, nil, client.WithReceipt(&receipt))
		require.NoError(t, err)
		all, err = all.Join(receipt.Token)
		require.NoError(t, err)
	}
	return all
}

// gone waits until an object has no leaves left on any disk.
func gone(t *testing.T, c *Cluster, o client.Object) {
	t.Helper()
	for _, r := range c.Regions() {
		await(t, "the leaves of "+string(o.Key)+" are gone in "+r, func() string {
			if n := leaves(t, c, r, o); n > 0 {
				return fmt.Sprintf("%d leaves", n)
			}
			return ""
		})
	}
}

func TestWhatIsRemovedLeavesNothingOnAnyDisk(t *testing.T) {
	t.Parallel()
	c := cluster(t, ClusterOptions{})
	aw, rw := c.DB("eu").Set("s"), c.DB("eu").SetRW("s")
	m, register := c.DB("eu").Map("m"), c.DB("eu").Register("r")
	for i, r := range c.Regions() {
		for j := range 20 {
			e := fmt.Sprint(i, "/", j)
			require.NoError(t, c.DB(r).Set("s").Add(within(t), e))
			require.NoError(t, c.DB(r).SetRW("s").Add(within(t), e))
			require.NoError(t, c.DB(r).Map("m").Map("inner").Set("tags").Add(within(t), e))
		}
		require.NoError(t, c.DB(r).Register("r").SetString(within(t), r))
	}
	converge(t, c)
	for i, r := range c.Regions() {
		for j := range 20 {
			e := fmt.Sprint((i+1)%3, "/", j)
			require.NoError(t, c.DB(r).Set("s").Remove(within(t), e))
			require.NoError(t, c.DB(r).SetRW("s").Remove(within(t), e))
		}
	}
	require.NoError(t, m.Remove(within(t), "inner", client.TypeMap))
	require.NoError(t, register.Delete(within(t)))
	converge(t, c)
	settled(t, c)
	for _, o := range []client.Object{aw.Object(), rw.Object(), m.Object(), register.Object()} {
		gone(t, c, o)
	}
}

// TestNothingSettlesWhileARegionIsAway, since it may still send what is concurrent; then it does.
func TestNothingSettlesWhileARegionIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		require.NoError(t, c.DB("eu").Set("s").AddAll(within(t), []string{"a", "b"}))
		converge(t, c)
		c.Isolate("ap")
		require.NoError(t, c.DB("eu").SetRW("s").Add(within(t), "x"))
		require.NoError(t, c.DB("eu").SetRW("s").Remove(within(t), "x"))
		seen := shownBy(t, c, "eu")
		// Several rounds of reports between the two that are left.
		for range 5 {
			s := c.DB("us").Session()
			require.NoError(t, s.Counter("n").Add(within(t), 1))
			before := status(t, c, "eu")
			_, err := c.DB("eu").Resume(s.Token()).Counter("n").Get(within(t))
			require.NoError(t, err)
			await(t, "eu hears us's report", func() string {
				if status(t, c, "eu").Durable.Equal(before.Durable) {
					return "nothing new"
				}
				return ""
			})
		}
		for _, r := range []string{"eu", "us"} {
			require.False(t, status(t, c, r).Stable.Includes(seen.Seen), r)
			require.False(t, status(t, c, r).Settled.Includes(seen.Seen), r)
		}
		require.NoError(t, c.DB("ap").SetRW("s").Add(within(t), "x")) // concurrent: loses to the remove
		c.Rejoin("ap")
		converge(t, c)
		in, err := c.DB("us").SetRW("s").Contains(within(t), "x")
		require.NoError(t, err)
		require.False(t, in)
		settled(t, c)
	})
}

func shownBy(t *testing.T, c *Cluster, region string) client.Token {
	t.Helper()
	var receipt client.Receipt
	_, err := c.DB(region).Do(within(t), nil, nil, client.WithReceipt(&receipt))
	require.NoError(t, err)
	return receipt.Token
}

// TestRemovingALargeSetStallsNobody removes a set (largeSet) while others write: it is empty at once, and the
// others get on while its leaves are still being taken away, in hundreds of pieces that are small enough. How
// much the store does between two writes of one region, and a million elements,
// TestRemovingAMillionElementsStallsNobody in package storage counts.
func TestRemovingALargeSetStallsNobody(t *testing.T) {
	// The file system in memory copies a log whole at each sync, so they should be short.
	c := cluster(t, ClusterOptions{Regions: []string{"eu", "us"}, Adjust: func(c *node.Config) { c.MemTableBytes = 4 << 20 }})
	db := c.DB("eu")
	addLargeSet(t, db)
	converge(t, c)
	ctx := t.Context()
	var over atomic.Bool
	var done sync.WaitGroup
	var writes [2]atomic.Int64
	for i, r := range c.Regions() {
		done.Go(func() {
			for !over.Load() {
				if err := c.DB(r).Counter("n").Add(ctx, 1); err != nil {
					t.Error(err)
					return
				}
				writes[i].Add(1)
			}
		})
	}
	await(t, "both write", func() string {
		if writes[0].Load() == 0 || writes[1].Load() == 0 {
			return "not yet"
		}
		return ""
	})
	stats, before := storesOf(c), [2]int64{writes[0].Load(), writes[1].Load()}
	s := db.Session()
	require.NoError(t, s.Set("large").Delete(ctx))
	for _, r := range c.Regions() {
		_, err := c.DB(r).Resume(s.Token()).Do(ctx, nil, nil) // the removal is here
		require.NoError(t, err)
		for _, err := range c.DB(r).Resume(s.Token()).Set("large").Elements(ctx) {
			require.NoError(t, err)
			require.Fail(t, "an element is there", r)
		}
		t.Logf("%s reads empty; %d removals pending", r, status(t, c, r).Pending)
	}
	await(t, "the leaves are taken away", func() string {
		for _, r := range c.Regions() {
			if n := status(t, c, r).Pending; n > 0 {
				return fmt.Sprintf("%s: %d removals pending", r, n)
			}
		}
		return ""
	})
	for i, after := range storesOf(c) {
		wrote, batches := writes[i].Load()-before[i], after.Batches-stats[i].Batches
		t.Logf("%s: %d writes of its own in %d batches", c.Regions()[i], wrote, batches)
		require.GreaterOrEqual(t, batches, uint64(largeSet/storage.RemovalLeaves), "the removal was cut into pieces")
		require.Positive(t, wrote, "the writers were stalled until all was removed")
	}
	over.Store(true)
	done.Wait()
	converge(t, c)
	settled(t, c)
	await(t, "as many leaves are rewritten as were removed", func() string { // cheaper to look at than what lies on disk
		for i, now := range storesOf(c) {
			if n := now.Rewrites - stats[i].Rewrites; n < largeSet {
				return fmt.Sprintf("%s: %d", c.Regions()[i], n)
			}
		}
		return ""
	})
	gone(t, c, db.Set("large").Object())
}

func addLargeSet(t *testing.T, db *client.DB) {
	t.Helper()
	const batch = 5_000
	for i := 0; i < largeSet; i += batch {
		var some []string
		for j := range batch {
			some = append(some, fmt.Sprintf("element-%07d", i+j))
		}
		require.NoError(t, db.Set("large").AddAll(within(t), some))
	}
}

// storesOf describes each region's store.
func storesOf(c *Cluster) (all []storage.Stats) {
	for _, name := range c.Regions() {
		r := c.region(name)
		r.mu.Lock()
		all = append(all, r.node.Stats().Store)
		r.mu.Unlock()
	}
	return all
}
