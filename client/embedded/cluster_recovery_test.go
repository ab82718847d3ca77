package embedded

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/storage"
)

// write adds n to a counter of a region, in as many transactions, from several callers.
func write(t *testing.T, c *Cluster, region, name string, n int) {
	t.Helper()
	const callers = 16
	var done sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for range callers {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				if err := c.DB(region).Counter(name).Add(t.Context(), 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
}

func TestRegionThatWasAwayCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		c.Isolate("ap")
		write(t, c, "eu", "n", 3000)
		write(t, c, "us", "n", 2000)
		write(t, c, "ap", "n", 1000)
		require.Equal(t, int64(1000), counter(t, c, "ap", "n"))
		c.Rejoin("ap")
		converge(t, c)
		for _, r := range c.Regions() {
			require.Equal(t, int64(6000), counter(t, c, r, "n"))
		}
	})
}

func TestRegionThatWasDownCatchesUp(t *testing.T) {
	c := cluster(t, ClusterOptions{})
	c.Crash("eu")
	write(t, c, "us", "n", 2000)
	write(t, c, "ap", "n", 2000)
	restart(t, c, "eu")
	converge(t, c)
	require.Equal(t, int64(4000), counter(t, c, "eu", "n"))
}

// TestLogIsKeptForARegionThatIsAway lets everything go from the log that may go: what a region that
// is away has not reported must stay.
func TestLogIsKeptForARegionThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{Adjust: func(c *node.Config) { c.LogBytes, c.LogAge = 1, time.Nanosecond }})
		c.Isolate("ap")
		write(t, c, "eu", "n", 1000)
		truncated(t, c, "eu", false)
		c.Rejoin("ap")
		converge(t, c)
		require.Equal(t, int64(1000), counter(t, c, "ap", "n"))
		truncated(t, c, "eu", true)
		require.Equal(t, int64(1000), counter(t, c, "us", "n"))
	})
}

// truncated has a region drop what it may from its log, and checks whether its own last record stayed.
func truncated(t *testing.T, c *Cluster, region string, all bool) {
	t.Helper()
	await(t, "the log is cut", func() string {
		n := c.region(region).node
		n.TruncateLog(within(t))
		held := status(t, c, region).LogBytes
		if (held == 0) != all {
			return fmt.Sprintf("%d bytes", held)
		}
		return ""
	})
}

// TestRegionsTakeBackWhatALostDiskHeld loses the disk of each region in turn, the founder's too.
func TestRegionsTakeBackWhatALostDiskHeld(t *testing.T) {
	for _, lost := range []string{"eu", "us", "ap"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := cluster(t, ClusterOptions{})
				before := status(t, c, lost)
				write(t, c, lost, "n", 200)
				for _, r := range c.Regions() {
					require.NoError(t, c.DB(r).Set("s").Add(within(t), r))
				}
				converge(t, c)
				everywhereOnDisk(t, c)
				last := status(t, c, lost).Exposed.At(before.Lane.Region)

				require.NoError(t, c.LoseDisk(lost))
				others := c.besides(lost)
				write(t, c, others[0], "m", 100)
				// One of the others is out of reach, so that it can't say yet what it holds.
				c.Cut(lost, others[1])
				restart(t, c, lost)
				err := c.DB(lost).Counter("n").Add(within(t), 1)
				require.ErrorIs(t, err, client.ErrReadOnly, "a write before all is back")
				require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
				c.Heal(lost, others[1])
				writable(t, c, lost)

				after := status(t, c, lost)
				require.Equal(t, before.Lane, after.Lane, "its number")
				require.Equal(t, before.Cluster, after.Cluster)
				var receipt client.Receipt
				require.NoError(t, c.DB(lost).Counter("n").Add(within(t), 1, client.WithReceipt(&receipt)))
				require.Greater(t, receipt.Commit.Time, last, "no timestamp is used twice")
				converge(t, c)
				for _, r := range c.Regions() {
					require.Equal(t, int64(201), counter(t, c, r, "n"))
					require.Equal(t, int64(100), counter(t, c, r, "m"))
					members, err := c.DB(r).Set("s").Members(within(t))
					require.NoError(t, err)
					require.ElementsMatch(t, c.Regions(), members)
				}
			})
		})
	}
}

// TestWriteThatOnlyALostDiskHeldIsAnErrorEverywhere: the token of a write that burned with its region
// must not be taken for included.
func TestWriteThatOnlyALostDiskHeldIsAnErrorEverywhere(t *testing.T) {
	for _, lost := range []string{"eu", "us"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := cluster(t, ClusterOptions{})
				write(t, c, lost, "n", 20)
				converge(t, c)
				everywhereOnDisk(t, c)
				c.Isolate(lost)
				var receipt client.Receipt
				require.NoError(t, c.DB(lost).Counter("n").Add(within(t), 1, client.WithReceipt(&receipt)))
				require.NoError(t, c.LoseDisk(lost))
				c.Rejoin(lost)
				restart(t, c, lost)
				writable(t, c, lost)
				var next client.Receipt
				require.NoError(t, c.DB(lost).Counter("m").Add(within(t), 1, client.WithReceipt(&next)))
				require.Greater(t, next.Commit.Time, receipt.Commit.Time)
				converge(t, c)
				for _, r := range c.Regions() {
					_, err := c.DB(r).Resume(receipt.Token).Counter("n").Get(within(t))
					require.ErrorIs(t, err, client.ErrLost, "%s: token %v, next %v, status %v", r, receipt, next, status(t, c, r))
					require.Equal(t, int64(20), counter(t, c, r, "n"))
				}
			})
		})
	}
}

// TestDiskLostWhileOthersWrite loses a disk under load, at any moment: what others saw stays.
func TestDiskLostWhileOthersWrite(t *testing.T) {
	t.Parallel()
	c := cluster(t, ClusterOptions{})
	ctx, over := within(t), atomic.Bool{}
	var done sync.WaitGroup
	var acked [3]atomic.Int64
	for i, name := range c.Regions() {
		done.Go(func() {
			for !over.Load() {
				if err := c.DB(name).Counter("n/"+name).Add(ctx, 1); err == nil {
					acked[i].Add(1)
				}
			}
		})
	}
	for _, lost := range []string{"us", "ap", "eu"} {
		await(t, "some writes are done", func() string {
			if n := counter(t, c, lost, "n/"+lost); n < 50 {
				return fmt.Sprint(n)
			}
			return ""
		})
		others := c.besides(lost)
		require.NoError(t, c.LoseDisk(lost))
		seen := max(counter(t, c, others[0], "n/"+lost), counter(t, c, others[1], "n/"+lost))
		restart(t, c, lost)
		writable(t, c, lost)
		require.GreaterOrEqual(t, counter(t, c, lost, "n/"+lost), seen, "what others saw")
	}
	over.Store(true)
	done.Wait()
	converge(t, c)
	for i, name := range c.Regions() {
		require.LessOrEqual(t, counter(t, c, "eu", "n/"+name), acked[i].Load()+1, "only the crash left an outcome open, and nothing counts twice")
	}
}

func TestRegionJoinsWhileOthersWrite(t *testing.T) {
	t.Parallel()
	c := cluster(t, ClusterOptions{Regions: []string{"eu", "us"}})
	ctx, over := within(t), atomic.Bool{}
	var done sync.WaitGroup
	var acked atomic.Int64
	for _, name := range []string{"eu", "us"} {
		for w := range 4 {
			done.Go(func() {
				for i := 0; !over.Load(); i++ {
					err := c.DB(name).Update(ctx, func(tx *client.Tx) error {
						if err := tx.Set("s").Add(ctx, fmt.Sprintf("%s/%d/%d", name, w, i)); err != nil {
							return err
						}
						return tx.Counter("n").Add(ctx, 1)
					})
					if err == nil {
						acked.Add(1)
					} else {
						t.Error(err)
					}
				}
			})
		}
	}
	for _, name := range []string{"ap", "sa"} {
		from := acked.Load()
		await(t, "there is something to copy", func() string {
			if acked.Load() < from+200 {
				return "too little"
			}
			return ""
		})
		require.NoError(t, c.Add(ctx, name))
		require.NoError(t, c.DB(name).Counter("n").Add(ctx, 1))
		acked.Add(1)
	}
	over.Store(true)
	done.Wait()
	converge(t, c)
	for _, r := range c.Regions() {
		n, members := counter(t, c, r, "n"), 0
		require.Equal(t, acked.Load(), n)
		for _, err := range c.DB(r).Set("s").Elements(within(t)) {
			require.NoError(t, err)
			members++
		}
		require.Equal(t, n-2, int64(members), "counter and set are written together")
	}
	for _, name := range []string{"ap", "sa"} {
		require.NoError(t, c.DB(name).Counter("n").Add(within(t), 1))
	}
	converge(t, c)
}

// TestRegionJoinsAfterTheLogIsGone: the newcomer's data comes from the cut alone.
func TestRegionJoinsAfterTheLogIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{Regions: []string{"eu", "us"}, Adjust: func(c *node.Config) { c.LogBytes, c.LogAge = 1, time.Nanosecond }})
		write(t, c, "eu", "n", 500)
		require.NoError(t, c.DB("us").Set("s").AddAll(within(t), []string{"a", "b", "c"}))
		require.NoError(t, c.DB("us").Set("s").Remove(within(t), "b"))
		converge(t, c)
		everywhereOnDisk(t, c)
		truncated(t, c, "eu", true)
		truncated(t, c, "us", true)
		require.NoError(t, c.Add(within(t), "ap"))
		converge(t, c)
		require.Equal(t, int64(500), counter(t, c, "ap", "n"))
	})
}

func TestOrderlyStopLeavesNoVoidInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{})
		tokens := map[string]client.Token{}
		for range 3 {
			for _, name := range c.Regions() {
				s := c.DB(name).Session()
				require.NoError(t, s.Counter("n").Add(within(t), 1, client.Durable(client.Applied)))
				tokens[name] = s.Token()
			}
			for _, name := range c.Regions() {
				require.NoError(t, c.Stop(within(t), name))
				onDisk(t, c, name, func(s *storage.Store) { require.Empty(t, s.Voids()) })
				restart(t, c, name)
				onDisk(t, c, name, func(s *storage.Store) { require.Empty(t, s.Voids()) })
			}
			for name, token := range tokens {
				for _, r := range c.Regions() {
					_, err := c.DB(r).Resume(token).Counter("n").Get(within(t))
					require.NoError(t, err, "%s's token in %s", name, r)
				}
			}
		}
		converge(t, c)
		require.Equal(t, int64(9), counter(t, c, "us", "n"))
		// A crash does leave one.
		c.Crash("us")
		restart(t, c, "us")
		lane := clock.Lane{Region: status(t, c, "us").Lane.Region}
		onDisk(t, c, "us", func(s *storage.Store) { require.Len(t, s.Voids()[lane], 1) })
	})
}
