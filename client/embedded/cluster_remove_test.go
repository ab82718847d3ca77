package embedded

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// remove removes a region through another one.
func remove(t *testing.T, c *Cluster, by, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, c.DB(by).RemoveRegion(ctx, name))
}

// briefly is a context for what can't be done now.
func briefly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// forgotten waits until regions wait for one that was removed no more.
func forgotten(t *testing.T, c *Cluster, name string, by ...string) {
	t.Helper()
	for _, r := range by {
		await(t, r+" has let go of "+name, func() string {
			for _, g := range status(t, c, r).Regions {
				if g.Name == name {
					return g.Phase
				}
			}
			return ""
		})
	}
}

// strongAdd adds at level strong, as soon as that is possible.
func strongAdd(t *testing.T, c *Cluster, region string) {
	t.Helper()
	await(t, region+" takes strong transactions", func() string {
		if err := addStrong(briefly(t), c.DB(region), "sum", 1); err != nil {
			return err.Error()
		}
		return ""
	})
}

// endsByItself waits until a region's node gives up, and says why.
func endsByItself(t *testing.T, c *Cluster, f *fatals, name, why string) {
	t.Helper()
	await(t, name+" ends", func() string {
		if len(f.all()) == 0 {
			return "it runs"
		}
		return ""
	})
	require.Contains(t, f.all()[0], name+": ")
	require.Contains(t, f.all()[0], why)
	if c.region(name).node != nil {
		c.Crash(name)
	}
}

// TestARegionIsRemoved while it serves, the one that founded the cluster as well as another: nothing waits for it
// any more, what it had given to others stays, and its node ends and never starts again.
func TestARegionIsRemoved(t *testing.T) {
	for _, gone := range []string{"eu", "ap"} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fatals{}
				c := clusterWith(t, ClusterOptions{}, f)
				var left []string
				for _, r := range c.Regions() {
					write(t, c, r, "n", 20)
					strongAdd(t, c, r)
					if r != gone {
						left = append(left, r)
					}
				}
				converge(t, c)
				remove(t, c, left[0], gone)
				endsByItself(t, c, f, gone, "was removed from the cluster")
				forgotten(t, c, gone, left...)
				for i, r := range left {
					require.Equal(t, int64(60+i), counter(t, c, r, "n"), r)
					strongAdd(t, c, r)
					require.NoError(t, c.DB(r).Counter("n").Add(within(t), 1, client.Durable(client.All)), "there is nobody else")
				}
				settledIn(t, c, left...)
				require.ErrorContains(t, c.Restart(within(t), gone), "was removed from the cluster")

				err := c.DB(left[1]).RemoveRegion(within(t), gone)
				require.ErrorIs(t, err, client.ErrInvalid)
				require.ErrorContains(t, err, "was removed already")
				require.NoError(t, c.Add(within(t), "sa"), "numbers go on without it")
				require.EqualValues(t, 4, status(t, c, "sa").Lane.Region)
				require.Equal(t, int64(62), counter(t, c, "sa", "n"))
				strongAdd(t, c, "sa")
			})
		})
	}
}

// allVote waits until every region has a vote: what loses a majority of the votes before can't be decided on.
func allVote(t *testing.T, c *Cluster) {
	t.Helper()
	for _, r := range c.Regions() {
		await(t, r+" votes", func() string {
			if s := status(t, c, r).Strong; s != "leader" && s != "follower" {
				return s
			}
			return ""
		})
	}
}

// settledIn waits until regions settle what they show.
func settledIn(t *testing.T, c *Cluster, regions ...string) {
	t.Helper()
	for _, r := range regions {
		at := status(t, c, r).Exposed
		await(t, r+" settles "+at.String(), func() string {
			if s := status(t, c, r); !s.Settled.Includes(at) {
				return s.Settled.String()
			}
			return ""
		})
	}
}

// TestARegionIsRemovedWhileItIsCutOff: what it acknowledged alone is lost, and told to whoever has seen it.
func TestARegionIsRemovedWhileItIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fatals{}
		c := clusterWith(t, ClusterOptions{}, f)
		for _, r := range c.Regions() {
			write(t, c, r, "n", 20)
		}
		converge(t, c)
		strongAdd(t, c, "us")
		c.Isolate("ap")
		var alone client.Receipt
		require.NoError(t, c.DB("ap").Counter("n").Add(within(t), 1, client.WithReceipt(&alone)))
		remove(t, c, "eu", "ap")
		forgotten(t, c, "ap", "eu", "us")
		settledIn(t, c, "eu", "us")
		for _, r := range []string{"eu", "us"} {
			require.Equal(t, int64(60), counter(t, c, r, "n"))
			_, err := c.DB(r).Resume(alone.Token).Counter("n").Get(within(t))
			require.ErrorIs(t, err, client.ErrLost)
			strongAdd(t, c, r)
		}
		c.Rejoin("ap")
		endsByItself(t, c, f, "ap", "start it with an empty data folder under a new name")
		require.Equal(t, int64(60), counter(t, c, "eu", "n"), "nobody took what it wrote")
	})
}

// TestARemovalWaitsForARegionThatIsCutOff, unless that is removed too.
func TestARemovalWaitsForARegionThatIsCutOff(t *testing.T) {
	for _, too := range []bool{false, true} {
		name := "it comes back"
		if too {
			name = "it is removed too"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fatals{}
				c := clusterWith(t, ClusterOptions{Regions: []string{"eu", "us", "ap", "sa", "af"}}, f)
				for _, r := range c.Regions() {
					write(t, c, r, "n", 20)
				}
				converge(t, c)
				strongAdd(t, c, "us")
				c.Isolate("sa")
				ctx := briefly(t)
				await(t, "it is fenced", func() string {
					err := c.DB("eu").RemoveRegion(ctx, "ap")
					require.ErrorIs(t, err, client.ErrDeadline)
					if client.OutcomeOf(err) != client.OutcomeApplied {
						ctx = briefly(t)
						return err.Error()
					}
					require.ErrorContains(t, err, "what these hold of it: ")
					return ""
				})
				await(t, "sa is waited for", func() string {
					for _, g := range status(t, c, "us").Regions {
						if g.Name == "ap" && g.Phase == "fenced" && len(g.Awaits) == 1 && g.Awaits[0] == "sa" {
							return ""
						}
					}
					return "not yet"
				})
				c.Crash("ap") // and it still does not when it is back
				restart(t, c, "ap")
				await(t, "ap takes no writes", func() string {
					if err := c.DB("ap").Counter("n").Add(briefly(t), 1); err != nil {
						require.ErrorContains(t, err, "is being removed from the cluster")
						return ""
					}
					return "it does"
				})
				if too {
					remove(t, c, "eu", "sa")
				}
				c.Rejoin("sa")
				forgotten(t, c, "ap", "eu", "us", "af")
				settledIn(t, c, "eu", "us", "af")
				strongAdd(t, c, "eu")
			})
		})
	}
}

// TestRemovalsThatAreRefused say why, and that nothing has changed.
func TestRemovalsThatAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t, ClusterOptions{Regions: []string{"eu"}})
		strongAdd(t, c, "eu")
		err := c.DB("eu").RemoveRegion(within(t), "eu")
		require.ErrorIs(t, err, client.ErrInvalid)
		require.ErrorContains(t, err, "the last one that serves")
		require.NoError(t, c.Add(within(t), "us"))
		require.NoError(t, c.Add(within(t), "ap"))
		allVote(t, c)
		err = c.DB("eu").RemoveRegion(within(t), "eu")
		require.ErrorIs(t, err, client.ErrInvalid)
		require.ErrorContains(t, err, "ask a node of another region")
		err = c.DB("eu").RemoveRegion(within(t), "nobody")
		require.ErrorIs(t, err, client.ErrNotFound)
		require.ErrorContains(t, err, "they are eu, us, ap")
		c.Isolate("us")
		<-time.After(10 * time.Second) // until us knows that it is alone
		err = c.DB("us").RemoveRegion(within(t), "ap")
		require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err))
		require.ErrorIs(t, err, client.ErrUnavailable)
		c.Rejoin("us")
		for _, g := range status(t, c, "us").Regions {
			require.Equal(t, "serving", g.Phase)
		}
	})
}

// TestOneOfTwoRegionsIsRemoved: its own vote is needed for that, and the other one goes on alone.
func TestOneOfTwoRegionsIsRemoved(t *testing.T) {
	for _, gone := range []string{"eu", "us"} {
		t.Run(gone, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fatals{}
				c := clusterWith(t, ClusterOptions{Regions: []string{"eu", "us"}}, f)
				left := map[string]string{"eu": "us", "us": "eu"}[gone]
				strongAdd(t, c, gone)
				strongAdd(t, c, left)
				remove(t, c, left, gone)
				endsByItself(t, c, f, gone, "was removed")
				forgotten(t, c, gone, left)
				strongAdd(t, c, left)
				settledIn(t, c, left)
				c.Crash(left)
				restart(t, c, left)
				strongAdd(t, c, left)
				require.Len(t, status(t, c, left).Regions, 1, "also from its disk")
			})
		})
	}
}

// TestRemovalsAmongFaults removes two of five regions, and adds one, while links are cut and nodes crash, in an order
// that the seed says: those that are left agree, settle, and have every write that was on a majority's disks.
func TestRemovalsAmongFaults(t *testing.T) {
	seed, random := seeded(t)
	for round := range *roundsFlag {
		synctest.Test(t, func(t *testing.T) {
			removeAmongFaults(t, seed+uint64(round), random)
		})
	}
}

func removeAmongFaults(t *testing.T, seed uint64, random *rand.Rand) {
	names := []string{"eu", "us", "ap", "sa", "af"}
	f := &fatals{}
	c := clusterWith(t, ClusterOptions{Regions: names, Seed: seed}, f)
	allVote(t, c)
	left, acknowledged := names, int64(0)
	for len(left) > 3 {
		for range random.IntN(8) {
			disturbOne(t, c, left, random)
			acknowledged += tryAdd(t, c, left[random.IntN(len(left))])
		}
		for _, r := range names {
			c.Rejoin(r)
		}
		i := random.IntN(len(left))
		gone, by := left[i], left[(i+1)%len(left)]
		if random.IntN(2) == 0 {
			c.Isolate(gone)
		}
		await(t, by+" removes "+gone, func() string {
			err := c.DB(by).RemoveRegion(within(t), gone)
			if err != nil && !strings.Contains(err.Error(), "was removed already") {
				return err.Error()
			}
			return ""
		})
		left = slices.Delete(slices.Clone(left), i, i+1)
		acknowledged += tryAdd(t, c, left[random.IntN(len(left))])
	}
	for _, r := range names {
		c.Rejoin(r)
		if !slices.Contains(left, r) {
			await(t, r+" ends", func() string {
				if !strings.Contains(strings.Join(f.all(), "\n"), r+": ") {
					return "it runs"
				}
				return ""
			})
			c.Crash(r)
			forgotten(t, c, r, left...)
		}
	}
	require.NoError(t, c.Add(within(t), "oc"))
	converge(t, c)
	settledIn(t, c, left...)
	for _, r := range append(left, "oc") {
		require.GreaterOrEqual(t, counter(t, c, r, "n"), acknowledged, r)
		strongAdd(t, c, r)
	}
}

// disturbOne cuts or heals a link, or has a region crash and come back, and lets some time pass.
func disturbOne(t *testing.T, c *Cluster, regions []string, random *rand.Rand) {
	a := random.IntN(len(regions))
	b := (a + 1 + random.IntN(len(regions)-1)) % len(regions)
	switch random.IntN(4) {
	case 0:
		c.Cut(regions[a], regions[b])
	case 1:
		c.Heal(regions[a], regions[b])
	case 2:
		c.Isolate(regions[a])
	default:
		c.Crash(regions[a])
		restart(t, c, regions[a])
	}
	<-time.After(time.Duration(random.IntN(5000)) * time.Millisecond)
}

// tryAdd counts a write that a majority of the regions acknowledges, if one does.
func tryAdd(t *testing.T, c *Cluster, region string) int64 {
	if c.DB(region).Counter("n").Add(briefly(t), 1, client.Durable(client.Majority)) == nil {
		return 1
	}
	return 0
}
