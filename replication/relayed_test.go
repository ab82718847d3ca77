package replication_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// TestARelayedReportOfALostStoreDoesNotDisplaceTheOneThatWasMet has eu lose its disk while it is cut off
// from us, which goes on relaying the lost store's last report. ap restarts; us tells it that report
// between eu's hello, which names the new store, and what eu says that it holds.
func TestARelayedReportOfALostStoreDoesNotDisplaceTheOneThatWasMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		ap.sees(eu.commit())
		eventually(t, "us has a report", func() bool { _, ok := us.x.Reported(1); return ok })
		c.net.CutBoth("eu", "us")
		c.net.CutBoth("us", "ap")
		eventually(t, "they notice", func() bool { return !us.connected(eu) && !us.connected(ap) && !ap.connected(us) })
		eu.crash()
		eu2 := c.start("eu", newFakeStore(11), []string{"ap"})
		eventually(t, "ap knows the new store", func() bool { return reportedStore(ap, 1) == 11 })
		ap.crash()
		c.net.SetDelay("eu", "ap", 1600*time.Millisecond)
		c.net.SetDelay("ap", "eu", 1600*time.Millisecond)
		ap2 := c.start("ap", ap.store, nil)
		defer stopAll(eu2, us, ap2)
		eventually(t, "ap has met the new store", func() bool { return ap2.r.IncarnationOf(1) == 11 })
		require.Zero(t, reportedStore(ap2, 1), "it has not said yet what it holds")
		c.net.HealBoth("us", "ap")
		eventually(t, "us relays", func() bool { return ap2.connected(us) })
		eventually(t, "eu has reported", func() bool { return reportedStore(ap2, 1) != 0 })
		require.EqualValues(t, 11, reportedStore(ap2, 1), "not what us relays")
		c.net.SetDelay("eu", "ap", 0)
		c.net.SetDelay("ap", "eu", 0)
		c.net.HealBoth("eu", "us")
		eu2.writable()
		s := eu2.commit()
		us.sees(s)
		ap2.sees(s)
		for _, n := range []*node{eu2, us, ap2} {
			eventually(t, "stability moves at "+n.name, func() bool { return n.x.Stable().At(1) >= s.Time })
		}
	})
}

// TestARegionThatLostItsDiskBeginsAboveWhatItPromised has us count a promise of eu behind a record that is
// not on us's disk yet, when eu loses its own.
func TestARegionThatLostItsDiskBeginsAboveWhatItPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		ap.sees(eu.commit())
		c.net.CutBoth("eu", "ap")
		c.net.CutBoth("us", "ap")
		us.store.mu.Lock()
		us.store.syncDelay = time.Minute
		us.store.mu.Unlock()
		s := eu.commit()
		us.sees(s)
		safe := eu.hybrid.Promise(eu.Wall().Add(time.Millisecond), clock.MaxTimestamp)
		eu.x.LocalSafe(s.Time, safe)
		eventually(t, "the promise arrives", func() bool { return us.x.Raw().At(1) == safe })
		eu.crash()
		c.net.HealBoth("eu", "ap")
		eu2 := c.start("eu", newFakeStore(11), []string{"ap"})
		defer stopAll(eu2)
		eventually(t, "us has met the new store", func() bool { return us.r.IncarnationOf(1) == 11 })
		require.Less(t, us.x.Durable().At(1), s.Time)
		require.GreaterOrEqual(t, eu2.writable(), safe)
		require.Equal(t, s.Time, eu2.x.Exposed().At(1))
	})
}

// TestARecoveryDoesNotWaitForWhatAStoreRefuses has us's store refuse a record of eu only after eu has lost
// it with its disk, and asks for what us holds.
func TestARecoveryDoesNotWaitForWhatAStoreRefuses(t *testing.T) {
	for name, slow := range map[string]bool{"within the handshake": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { lostAndRefused(t, slow) })
		})
	}
}

func lostAndRefused(t *testing.T, slow bool) {
	c, eu, us, ap := three(t)
	defer stopAll(us, ap)
	first := eu.commit()
	ap.sees(first)
	us.sees(first)
	c.net.CutBoth("eu", "ap")
	c.net.CutBoth("us", "ap")
	wait(t, 10*time.Second) // nothing of what follows is left on the way to ap
	us.store.mu.Lock()
	us.store.refuse = func(r *kv.Record) error {
		if len(r.Txns) > 0 && len(r.Txns[0].Effects[0].Op) > 500 {
			return kv.Errorf(kv.KindCorrupt, "unknown type 99")
		}
		return nil
	}
	us.store.mu.Unlock()
	busy := make(chan struct{})
	require.NoError(t, us.store.submit(t.Context(), func() { <-busy }))
	synctest.Wait()
	bad := eu.commitSized(1000)
	eventually(t, "us's store has the record", func() bool { return len(us.store.queue) == 1 })
	eu.crash()
	c.net.HealBoth("eu", "ap")
	eu2 := c.start("eu", newFakeStore(11), []string{"ap"})
	defer stopAll(eu2)
	eventually(t, "us has met the new store", func() bool { return us.r.IncarnationOf(1) == 11 })
	if slow {
		eventually(t, "us gives up", func() bool { return us.loggedLike("the store has not answered within") })
	}
	require.True(t, eu2.x.Recovering(), "us can't say yet what it holds")
	close(busy)
	floor := eu2.writable()
	require.Equal(t, first.Time, eu2.x.Exposed().At(1))
	eu2.last, eu2.hybrid = first.Time, clock.NewHybrid(0, max(floor, bad.Time))
	us.sees(eu2.commit())
}

// TestAnotherStoreDoesNotTakeTheNameOfARegionThatRuns asks us, which is cut off from eu, for eu's name: ap
// hears eu. With a name all the same it does not displace eu where that is connected.
func TestAnotherStoreDoesNotTakeTheNameOfARegionThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		ap.sees(eu.commit())
		c.net.CutBoth("eu", "us")
		wait(t, 10*time.Second)
		require.False(t, us.connected(eu))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := c.tryStart(ctx, "eu", newFakeStore(11), []string{"us"}, func(n *node, _ *replication.Config) { n.address = "eu.new" })
		require.ErrorContains(t, err, "region ap hears a node of region eu: stop it first")
		s := c.stranger("ap")
		s.hello(member(eu, 1, "eu"))
		s.ended()
		require.True(t, ap.loggedLike("stop one of the two"))
		require.True(t, ap.connected(eu))
		ap.sees(eu.commit())
	})
}

// reportedStore is whose report of a region counts at a node; 0: nobody's.
func reportedStore(n *node, region clock.Region) uint64 {
	r, _ := n.x.Reported(region)
	return r.Incarnation
}
