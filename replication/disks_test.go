package replication_test

import (
	"testing"
	"testing/synctest"

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
