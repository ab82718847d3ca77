package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// holds waits until a node says what it holds as of a version.
func (n *node) holds(version uint64) (v clock.Vector) {
	n.c.t.Helper()
	eventually(n.c.t, n.name+" says what it holds", func() (ready bool) {
		v, ready = n.r.Held(version)
		return ready
	})
	return v
}

// phase is what a node takes a region for.
func (n *node) phase(name string) (m replication.Member, known bool) {
	for _, p := range n.r.Status() {
		if p.Name == name {
			return p.Member, true
		}
	}
	return m, false
}

// TestARemovedRegionsRecordsReachEverybodyAndNoMoreOfThem: one region has more of it than another when it is
// fenced, and some of what it wrote nobody takes.
func TestARemovedRegionsRecordsReachEverybodyAndNoMoreOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		first := ap.commit()
		eu.sees(first)
		us.sees(first)
		c.isolate("us")
		last := ap.commit()
		eu.sees(last)
		c.net.CutBoth("eu", "ap")
		alone := ap.commit()

		version := c.council.fence(3, eu)
		_, ready := us.r.Held(version)
		require.False(t, ready, "it has yet to hear of it")
		c.net.HealBoth("eu", "us")
		eventually(t, "us hears of it from eu", func() bool { m, _ := us.phase("ap"); return m.Fenced })
		c.net.HealBoth("eu", "ap")
		c.net.HealBoth("us", "ap")
		require.Equal(t, last.Time, eu.holds(version).At(3))
		require.Equal(t, first.Time, us.holds(version).At(3), "nobody takes its records, from eu either")
		after := eu.commit()
		wait(t, time.Minute)
		require.Equal(t, clock.Timestamp(0), us.x.Exposed().At(1), "it depends on what us may not take yet")
		require.Equal(t, first.Time, us.x.Exposed().At(3))
		s := us.commit()
		eu.sees(s)
		require.False(t, eu.settles(s)(), "ap counts until all that it left is here")
		require.Empty(t, us.x.Everywhere().At(1))
		require.False(t, eu.connected(ap))

		c.council.close(3, last.Time, 0, eu)
		us.sees(last)
		us.sees(after)
		for _, n := range []*node{eu, us} {
			eventually(t, n.name+" has let go of it", func() bool { _, known := n.phase("ap"); return !known })
			eventually(t, n.name+" settles", n.settles(s))
			require.Less(t, n.x.Exposed().At(3), alone.Time)
			require.Equal(t, 2, n.r.ServingRegions())
			require.NoError(t, n.fault())
		}
		<-ap.ended
		_ = ap.stop()
		require.ErrorIs(t, ap.err, kv.ErrInvalid)
		require.ErrorContains(t, ap.err, "was removed from the cluster")
		_, err := c.tryStart(t.Context(), "ap", ap.store, nil)
		require.ErrorContains(t, err, "was removed", "its folder says so")
		delete(ap.store.meta, "replication/useless")
		again := c.start("ap", ap.store, nil)
		<-again.ended
		require.ErrorContains(t, again.stop(), "was removed", "so do the others")

		// The end of its lane is on the disks, and whoever comes later has it.
		stopAll(us)
		us = c.start("us", us.store, nil)
		defer func() { stopAll(eu, us) }()
		eventually(t, "us has let go of it at once", func() bool { _, known := us.phase("ap"); return !known })
		sa, err := c.tryJoin("ap", newFakeStore(9), time.Minute)
		require.NoError(t, err, "its name is free")
		defer stopAll(sa)
		sa.writable()
		require.EqualValues(t, 4, sa.id.Region)
		require.Equal(t, last.Time, sa.x.Exposed().At(3))
		b := sa.commit()
		eu.sees(b)
		us.sees(b)
		eventually(t, "it settles", us.settles(b))
	})
}

// TestAFencedRegionIsToldSo, and recoveries wait for it no more.
func TestAFencedRegionIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		s := us.commit()
		eu.sees(s)
		ap.sees(s)
		stopAll(ap)
		told := make(chan struct{}, 1000)
		ap = c.start("ap", ap.store, nil, func(_ *node, r *replication.Config) { r.Hooks.Fenced = func() { told <- struct{}{} } })
		defer func() { stopAll(eu, us, ap) }()
		version := c.council.fence(3, eu, us)
		eventually(t, "it is told", func() bool { return len(told) > 0 })
		require.Zero(t, ap.r.RegionStores()[0].Incarnation, "nobody has a stream to it")
		require.Len(t, eu.r.RegionStores(), 2, "it has no vote any more")
		require.ErrorIs(t, eu.r.Abandon(t.Context(), "ap"), kv.ErrInvalid)
		us.crash()
		us = c.start("us", newFakeStore(22), []string{"eu"})
		us.resume()
		us.sees(s)
		require.Empty(t, us.holds(version), "of ap it holds nothing")
		_, err := c.tryJoin("ap", newFakeStore(9), 20*time.Second)
		require.ErrorContains(t, err, "deadline", "its name is not free yet")
	})
}
