package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
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

// reportedStore is whose report of a region counts at a node; 0: nobody's.
func reportedStore(n *node, region clock.Region) uint64 {
	r, _ := n.x.Reported(region)
	return r.Incarnation
}
