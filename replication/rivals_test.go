package replication_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// A second store of a region is refused with the reason: as a stream, and when it wants data.
func TestASecondStoreIsRefusedWhileTheFirstIsHeard(t *testing.T) {
	for name, purpose := range map[string]peerv1.Purpose{
		"a stream": peerv1.Purpose_PURPOSE_REPLICATE, "a cut": peerv1.Purpose_PURPOSE_BOOTSTRAP,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				defer stopAll(eu, us, ap)
				ap.sees(eu.commit())
				call := func(says string) {
					s := c.stranger("us")
					h := member(eu, 1, "eu")
					h.Purpose = purpose
					s.hello(h)
					s.refused(kv.KindUnavailable, says)
				}
				call("another node of region 1 (eu), with another store, is connected: stop one of the two")
				us.sees(eu.commit())
				c.net.CutBoth("eu", "us")
				wait(t, 10*time.Second)
				require.False(t, us.connected(eu))
				call("region ap hears another node of region 1 (eu), with another store: stop one of the two")
				require.NoError(t, us.fault(), "it was there once")
				for range 10 {
					wait(t, time.Second)
					call("stop one of the two")
				}
				us.sees(eu.commit())
				require.ErrorContains(t, us.fault(), "stop one of the two")
				eventually(t, "what it reports counts", func() bool {
					_, settled := us.x.Cuts()
					return settled.At(1) == eu.last
				})
			})
		})
	}
}

// TestTwoStoresThatWereBothMetAreToldApart: eu is cut off together with us, and started anew with ap, which
// gives us up. When us and ap reach each other again they agree on the new one, whatever its number, and
// nothing of the other goes on.
func TestTwoStoresThatWereBothMetAreToldApart(t *testing.T) {
	for name, stores := range map[string][2]uint64{"the first has the lower number": {1, 11}, "the second has": {21, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				first, us, ap := c.region("eu", "eu", stores[0]), c.region("us", "us", 32, "eu"), c.region("ap", "ap", 33, "eu")
				defer stopAll(us, ap)
				second := c.startedAnew(us, ap, stores[1], "us")
				second.resume()
				eventually(t, "each meets one", func() bool { return ap.connected(second) && us.connected(first) })

				c.net.HealBoth("us", "ap")
				eventually(t, "the first is refused", func() bool { return first.loggedLike("stop one of the two") })
				require.True(t, ap.connected(second))
				require.ErrorContains(t, us.fault(), "two nodes claim to be region 1 (eu), with different stores")
				lost := first.commit()
				wait(t, time.Second)
				s := second.commit()
				ap.sees(s)
				us.sees(s)
				wait(t, time.Minute)
				require.False(t, us.store.content()[lost])
				require.Equal(t, ap.store.content(), us.store.content())
				require.ErrorContains(t, first.fault(), "what is written here does not reach them")
				require.NoError(t, second.fault())
				stopAll(second)
				stopAll(first)
			})
		})
	}
}

// TestAStoreThatRecoversDisplacesNone: as before, but us is not given up, so that the new eu may not write yet.
// The links heal but for those between the two: both regions hear the first eu, whatever its number.
func TestAStoreThatRecoversDisplacesNone(t *testing.T) {
	for name, stores := range map[string][2]uint64{"the first has the lower number": {1, 11}, "the second has": {21, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				first, us, ap := c.region("eu", "eu", stores[0]), c.region("us", "us", 32, "eu"), c.region("ap", "ap", 33, "eu")
				defer stopAll(us, ap)
				second := c.startedAnew(us, ap, stores[1])
				eventually(t, "each meets one", func() bool { return ap.connected(second) && us.connected(first) })
				acknowledged := first.commit()
				us.sees(acknowledged)

				for _, link := range [][2]string{{"us", "ap"}, {"us", "eu.new"}, {"eu", "ap"}} {
					c.net.HealBoth(link[0], link[1])
				}
				ap.sees(acknowledged)
				eventually(t, "ap hears the first", func() bool { return ap.hears(first) })
				wait(t, time.Minute)
				require.True(t, us.hears(first) && ap.hears(first))
				require.True(t, second.x.Recovering(), "nobody who dropped it counts as met")
				require.ErrorContains(t, second.fault(), "what is written here does not reach them")
				require.NoError(t, first.fault())
				s := first.commit()
				us.sees(s)
				ap.sees(s)
				eventually(t, "what the first reports counts", func() bool {
					_, settled := ap.x.Cuts()
					return settled.At(1) == first.last
				})

				first.crash()
				second.resume()
				second.sees(s)
				s = second.commit()
				us.sees(s)
				ap.sees(s)
				stopAll(second)
			})
		})
	}
}

// TestAStandingOutlivesARestart: the new eu, which recovered, goes before the first one also when it starts
// again, on a disk that says so.
func TestAStandingOutlivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		first, us, ap := c.region("eu", "eu", 1), c.region("us", "us", 32, "eu"), c.region("ap", "ap", 33, "eu")
		defer stopAll(us, ap)
		second := c.startedAnew(us, ap, 11, "us")
		second.resume()
		require.NoError(t, second.r.Recovered(t.Context()))
		second.crash()
		for _, link := range [][2]string{{"us", "ap"}, {"us", "eu.new"}, {"eu", "ap"}} {
			c.net.HealBoth(link[0], link[1])
		}
		eventually(t, "the first is heard", func() bool { return us.hears(first) && ap.hears(first) })
		second = c.start("eu", second.store, nil, func(n *node, _ *replication.Config) { n.address = "eu.new" })
		defer stopAll(second)
		eventually(t, "the second is", func() bool { return us.hears(second) && ap.hears(second) })
		wait(t, time.Minute)
		require.True(t, us.hears(second) && ap.hears(second))
		require.ErrorContains(t, first.fault(), "what is written here does not reach them")
		stopAll(first)
	})
}

// TestWhoReachesTwoStoresHearsOne: br reaches both halves of a cluster that hear different stores of eu, and
// hears the one that goes before.
func TestWhoReachesTwoStoresHearsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		first, us, ap := c.region("eu", "eu", 21), c.region("us", "us", 32, "eu"), c.region("ap", "ap", 33, "eu")
		br := c.region("br", "br", 34, "eu")
		defer stopAll(us, ap, br)
		br.resume()
		for _, o := range []string{"eu", "us", "ap", "eu.new"} {
			c.net.CutBoth("br", o)
		}
		second := c.startedAnew(us, ap, 2)
		eventually(t, "each meets one", func() bool { return ap.connected(second) && us.connected(first) })
		for _, o := range []string{"us", "ap"} {
			c.net.HealBoth("br", o)
		}
		wait(t, 10*time.Second)
		for _, o := range []string{"eu", "eu.new"} {
			c.net.HealBoth("br", o)
		}
		eventually(t, "br hears the first", func() bool { return br.hears(first) })
		s := first.commit()
		br.sees(s)
		ap.sees(s)
		wait(t, time.Minute)
		require.True(t, br.hears(first) && us.hears(first))
		require.False(t, ap.hears(second))
		stopAll(first, second)
	})
}

// hears tells whether a region is connected with this very store of another one.
func (n *node) hears(o *node) bool {
	return n.connected(o) && n.r.IncarnationOf(o.id.Region) == o.store.incarnation
}

// region starts a region at an address. Who founds names nobody to ask.
func (c *cluster) region(name, address string, store uint64, ask ...string) *node {
	return c.start(name, newFakeStore(store), ask, func(n *node, _ *replication.Config) { n.address = address })
}

// startedAnew cuts eu and us off from ap, where eu is started anew then, and gives up whoever is gone.
func (c *cluster) startedAnew(us, ap *node, store uint64, gone ...string) *node {
	us.resume()
	ap.resume()
	for _, from := range []string{"eu", "us"} {
		for _, to := range []string{"ap", "eu.new"} {
			c.net.CutBoth(from, to)
		}
	}
	wait(c.t, 10*time.Second)
	return c.start("eu", newFakeStore(store), []string{"ap"}, func(n *node, r *replication.Config) {
		n.address, r.Gone = "eu.new", gone
	})
}

// TestTwoStoresThatBothWroteAreFoundForked: as before, but both write while they are apart. What each wrote is
// applied where it came first, and nothing of it where the other was.
func TestTwoStoresThatBothWroteAreFoundForked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		first, us, ap := c.region("eu", "eu", 1), c.region("us", "us", 32, "eu"), c.region("ap", "ap", 33, "eu")
		defer stopAll(us, ap)
		second := c.startedAnew(us, ap, 11, "us")
		second.resume()
		var one, two clock.Stamp
		for range 3 {
			one = first.commit()
			wait(t, time.Second)
			two = second.commit()
			wait(t, time.Second/3) // their times differ
		}
		us.sees(one)
		ap.sees(two)
		c.net.HealBoth("us", "ap")
		eventually(t, "they say so", func() bool {
			return strings.Contains(fmt.Sprint(us.fault(), ap.fault()), "region 1 (eu) has written two histories")
		})
		wait(t, time.Minute)
		require.False(t, us.store.content()[two])
		require.False(t, ap.store.content()[one])
		for _, to := range []string{"us", "ap", "eu.new"} {
			c.net.HealBoth("eu", to)
			c.net.HealBoth("us", to)
		}
		eventually(t, "us was given up", func() bool { return second.fault() != nil })
		require.ErrorContains(t, second.fault(), "named as gone")
		eventually(t, "the first is refused", func() bool { return first.fault() != nil })
		stopAll(second)
		first.fell(first.store)
		require.False(t, us.store.content()[two])
		require.False(t, ap.store.content()[one])
	})
}
