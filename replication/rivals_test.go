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

// TestTwoStoresThatWereBothMetAreToldApart: eu is cut off together with us, and started anew with ap. When
// us and ap reach each other again they agree on one of the two, and nothing of the other goes on.
func TestTwoStoresThatWereBothMetAreToldApart(t *testing.T) {
	for name, stores := range map[string][2]uint64{"the first has the lower number": {1, 11}, "the second has": {21, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				first, us, ap := c.region("eu", "eu", stores[0]), c.region("us", "us", 32, "eu"), c.region("ap", "ap", 33, "eu")
				defer stopAll(us, ap)
				second := c.startedAnew(us, ap, stores[1])
				eventually(t, "each meets one", func() bool { return ap.connected(second) && us.connected(first) })

				c.net.HealBoth("us", "ap")
				kept, other, keeps, drops := first, second, us, ap
				if stores[1] < stores[0] {
					kept, other, keeps, drops = second, first, ap, us
				}
				eventually(t, "the other is refused", func() bool { return other.loggedLike("stop one of the two") })
				require.True(t, keeps.connected(kept))
				require.ErrorContains(t, drops.fault(), "two nodes claim to be region 1 (eu), with different stores")
				lost := other.commit()
				wait(t, time.Second)
				s := kept.commit()
				keeps.sees(s)
				drops.sees(s)
				wait(t, time.Minute)
				require.False(t, drops.store.content()[lost])
				require.Equal(t, keeps.store.content(), drops.store.content())
				stopAll(other, kept)
			})
		})
	}
}

// region starts a region at an address. Who founds names nobody to ask; another one does not wait for us
// when it recovers.
func (c *cluster) region(name, address string, store uint64, ask ...string) *node {
	n := c.start(name, newFakeStore(store), ask, func(n *node, r *replication.Config) {
		n.address = address
		if address == "eu.new" {
			r.Gone = []string{"us"}
		}
	})
	return n
}

// startedAnew cuts eu and us off from ap, where eu is started anew then.
func (c *cluster) startedAnew(us, ap *node, store uint64) *node {
	us.resume()
	ap.resume()
	for _, from := range []string{"eu", "us"} {
		for _, to := range []string{"ap", "eu.new"} {
			c.net.CutBoth(from, to)
		}
	}
	wait(c.t, 10*time.Second)
	second := c.region("eu", "eu.new", store, "ap")
	second.resume()
	return second
}

// TestTwoStoresThatBothWroteAreFoundForked: as before, but both write while they are apart. What each wrote is
// applied where it came first, and nothing of it where the other was.
func TestTwoStoresThatBothWroteAreFoundForked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		first, us, ap := c.region("eu", "eu", 1), c.region("us", "us", 32, "eu"), c.region("ap", "ap", 33, "eu")
		defer stopAll(us, ap)
		second := c.startedAnew(us, ap, 11)
		defer stopAll(second)
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
		first.fell(first.store)
		eventually(t, "us was given up", func() bool { return second.fault() != nil })
		require.ErrorContains(t, second.fault(), "named as gone")
		require.False(t, us.store.content()[two])
		require.False(t, ap.store.content()[one])
	})
}
