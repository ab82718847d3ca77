package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/replication"
)

// resume lets a region that has recovered write on.
func (n *node) resume() {
	n.c.t.Helper()
	floor := n.writable()
	n.last = n.store.applied[n.lane()]
	n.hybrid = clock.NewHybrid(0, max(floor, n.last))
}

// TestTwoRegionsLoseTheirDisksAtOnce: what only they had is lost, and neither waits for it. The
// survivor remembers that one of them had reported a write of the other that it never got itself.
func TestTwoRegionsLoseTheirDisksAtOnce(t *testing.T) {
	for _, names := range [][3]string{{"us", "ap", "eu"}, {"ap", "us", "eu"}, {"eu", "us", "ap"}, {"us", "eu", "ap"}, {"eu", "ap", "us"}} {
		t.Run(names[0]+" and "+names[1], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				nodes := map[string]*node{"eu": eu, "us": us, "ap": ap}
				a, b, survivor := nodes[names[0]], nodes[names[1]], nodes[names[2]]
				kept := []clock.Stamp{a.commit(), b.commit(), survivor.commit()}
				for _, s := range kept {
					for _, n := range nodes {
						n.sees(s)
					}
				}
				c.net.CutBoth(a.name, survivor.name)
				lost := a.commit()
				b.sees(lost)
				eventually(t, "the survivor is told that b has it", func() bool {
					report, _ := survivor.x.Reported(b.id.Region)
					return report.Durable.At(a.id.Region) >= lost.Time
				})
				require.Less(t, survivor.x.Exposed().At(a.id.Region), lost.Time)
				a.crash()
				b.crash()
				wait(t, 2*replication.StreamTimeout) // what was on its way is lost with its connection
				c.net.HealBoth(a.name, survivor.name)

				a = c.start(a.name, newFakeStore(uint64(30+a.id.Region)), []string{b.name, survivor.name})
				b = c.start(b.name, newFakeStore(uint64(30+b.id.Region)), []string{a.name, survivor.name})
				defer stopAll(a, b, survivor)
				require.True(t, a.id.Recovering)
				require.True(t, b.id.Recovering)
				a.resume()
				b.resume()
				all := []*node{a, b, survivor}
				for _, n := range all {
					kept = append(kept, n.commit())
				}
				for _, n := range all {
					for _, s := range kept {
						n.sees(s)
					}
				}
				for _, n := range all {
					require.Len(t, n.store.content(), len(kept), "nothing twice, nothing more")
					require.Equal(t, survivor.store.content(), n.store.content())
					eventually(t, n.name+" settles", n.settles(kept[len(kept)-1]))
				}
			})
		})
	}
}

// TestADiskIsLostWhileAnotherRegionIsGone: the one that is gone took something with it that the lost
// disk had reported.
func TestADiskIsLostWhileAnotherRegionIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		s := us.commit()
		eu.sees(s)
		ap.sees(s)
		c.net.CutBoth("ap", "eu")
		lost := ap.commit()
		us.sees(lost)
		eventually(t, "eu is told that us has it", func() bool {
			report, _ := eu.x.Reported(2)
			return report.Durable.At(3) >= lost.Time
		})
		ap.crash()
		us.crash()
		require.Less(t, eu.x.Exposed().At(3), lost.Time)
		us = c.start("us", newFakeStore(33), []string{"eu"}, func(_ *node, r *replication.Config) { r.Gone = []string{"ap"} })
		defer stopAll(eu, us)
		us.resume()
		next := us.commit()
		eu.sees(next)
		us.sees(s)
		require.Equal(t, eu.store.content(), us.store.content())
	})
}

// shorten takes the last record of a lane out of a stopped store, as damage that its start finds does.
func (s *fakeStore) shorten(lane clock.Lane) {
	log := s.log[lane]
	last := log[len(log)-1].Time
	s.log[lane] = log[:len(log)-1]
	s.applied[lane] = log[len(log)-2].Time
	delete(s.leaves, clock.Stamp{Region: lane.Region, Time: last})
	s.short = "found short at the start"
}

// TestAShortStoreIsNotGivenWhatWaitsForIt: us has the last record of ap, which waits there for one of eu's.
// ap loses it, and nobody else has it. us, which does not hold it yet, must not apply it later on: ap
// writes another in its place. The store is the same, so its number tells us nothing.
func TestAShortStoreIsNotGivenWhatWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us)
		first := ap.commit()
		eu.sees(first)
		us.sees(first)
		c.net.CutBoth("us", "eu")
		c.net.CutBoth("us", "ap")
		wait(t, 2*replication.StreamTimeout)
		missing := eu.commit()
		ap.sees(missing)
		synctest.Wait() // it is in the tail by now
		ap.store.mu.Lock()
		ap.store.truncated[eu.lane()] = clock.MaxTimestamp // so that us can't have it from ap
		ap.store.mu.Unlock()
		ap.r.ForgetTail(eu.lane())
		c.net.CutBoth("eu", "ap")
		wait(t, 2*replication.StreamTimeout)
		c.net.HealBoth("us", "ap")
		lost := ap.commit()
		eventually(t, "it waits at us", func() bool { return us.waiting(ap) > 0 })
		ap.crash()
		require.NotZero(t, us.waiting(ap))

		ap.store.shorten(ap.lane())
		c.net.HealBoth("eu", "ap")
		ap = c.start("ap", ap.store, nil)
		defer stopAll(ap)
		ap.resume()
		next := ap.commit()
		require.NotEqual(t, lost, next)
		c.net.HealBoth("eu", "us")
		eu.sees(next)
		us.sees(next)
		require.NoError(t, us.fault())
		require.Equal(t, eu.store.content(), us.store.content())
	})
}

// waiting is how much of a region's lane waits at a node, in bytes.
func (n *node) waiting(of *node) int {
	for _, p := range n.r.Status() {
		if p.Region == of.id.Region {
			return p.Waiting
		}
	}
	return 0
}

// TestTheFounderLosesItsDiskWhileARegionJoins: it waits for what the newcomer holds, which may be of its own
// lane, and the newcomer for its number. The store that the number was promised to asks for it, so it has nothing.
func TestTheFounderLosesItsDiskWhileARegionJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		us := c.start("us", newFakeStore(2), []string{"eu"})
		us.writable()
		kept := eu.commit()
		us.sees(kept)
		c.net.CutBoth("eu", "us")
		joined := c.joins("ap", 3, "eu")
		eventually(t, "eu has a number for ap", func() bool { return eu.knows("ap") })
		c.net.CutBoth("eu", "ap")
		c.net.HealBoth("eu", "us")
		eventually(t, "us is told of ap", func() bool { return us.knows("ap") })
		eu.crash()

		eu = c.start("eu", newFakeStore(31), []string{"us"})
		require.True(t, eu.id.Recovering)
		wait(t, time.Minute)
		require.True(t, eu.x.Recovering(), "ap has not said what it holds")
		require.Empty(t, joined)
		other := c.joins("sa", 4, "eu")
		wait(t, time.Minute)
		require.Empty(t, other, "it decides nothing before")
		c.net.HealBoth("eu", "ap")
		ap := <-joined
		eu.resume()
		ap.writable()
		sa := <-other
		sa.writable()
		defer stopAll(eu, us, ap, sa)
		for _, s := range []clock.Stamp{kept, eu.commit(), us.commit(), ap.commit(), sa.commit()} {
			for _, n := range []*node{eu, us, ap, sa} {
				n.sees(s)
			}
		}
	})
}

// TestAnotherStoreOfAJoiningRegionTakesItsPlace also while the region that it asked first takes back its own data:
// whether the one before has come to serve is decided by the group.
func TestAnotherStoreOfAJoiningRegionTakesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := stuck(t)
		eu.crash()
		eu = c.start("eu", newFakeStore(31), []string{"us"})
		second, err := c.tryJoin("ap", newFakeStore(33), time.Minute)
		require.NoError(t, err)
		eu.resume()
		second.writable()
		defer stopAll(eu, us, second)
		s := eu.commit()
		us.sees(s)
		second.sees(s)
		_, err = c.tryStart(t.Context(), "ap", ap, nil)
		require.NoError(t, err)
	})
}
