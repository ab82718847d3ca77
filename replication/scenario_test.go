package replication_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// three starts a cluster of eu (1), us (2) and ap (3).
func three(t *testing.T, adjust ...option) (c *cluster, eu, us, ap *node) {
	c = newCluster(t)
	eu = c.start("eu", newFakeStore(1), nil, adjust...)
	us = c.start("us", newFakeStore(2), []string{"eu"}, adjust...)
	us.writable()
	ap = c.start("ap", newFakeStore(3), []string{"us"}, adjust...)
	ap.writable()
	meshed(t, eu, us, ap)
	return c, eu, us, ap
}

// meshed waits until every region hears every other one itself. A region may be writable, and see what another
// one wrote, by way of a third: what is written behind a cut of their link would reach it on that way at once.
func meshed(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		for _, to := range nodes {
			if n != to {
				eventually(t, n.name+" hears "+to.name, func() bool { return n.connected(to) })
			}
		}
	}
}

func stopAll(nodes ...*node) {
	for _, n := range nodes {
		_ = n.stop()
	}
}

func (n *node) writable() clock.Timestamp {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), 10*time.Minute)
	defer cancel()
	floor, err := n.r.WaitWritable(ctx)
	if err != nil {
		n.c.t.Fatalf("%s can't write: %v\n%q", n.name, err, n.logged())
	}
	if err := n.r.Recovered(ctx); err != nil {
		n.c.t.Fatalf("%s: %v", n.name, err)
	}
	return floor
}

func (n *node) loggedLike(s string) bool {
	return slices.ContainsFunc(n.logged(), func(l string) bool { return strings.Contains(l, s) })
}

func (n *node) connected(to *node) bool {
	for _, p := range n.r.Status() {
		if p.Region == to.id.Region {
			return p.Connected
		}
	}
	return false
}

func TestRegionsJoinWhileOthersWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		require.Equal(t, []clock.Region{1, 2, 3}, []clock.Region{eu.id.Region, us.id.Region, ap.id.Region})
		for range 50 {
			a, b, c := eu.commit(), us.commit(), ap.commit()
			for _, n := range []*node{eu, us, ap} {
				n.sees(a)
				n.sees(b)
				n.sees(c)
			}
		}
		require.Equal(t, eu.store.content(), us.store.content())
		require.Equal(t, eu.store.content(), ap.store.content())
	})
}

func TestStabilityMovesAndLogReadsDoNotHappenInSteadyState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		s := eu.commit()
		us.sees(s)
		before := eu.store.logReads
		for range 100 {
			s = eu.commit()
		}
		us.sees(s)
		ap.sees(s)
		require.Equal(t, before, eu.store.logReads, "what is new comes from memory")
		for _, n := range []*node{eu, us, ap} {
			eventually(t, n.name+" settles", func() bool {
				_, settled := n.x.Cuts()
				return settled.At(1) == s.Time
			})
			require.Equal(t, s.Time, n.x.Everywhere().At(1))
		}
	})
}

func TestSafeTimesTravelWhenNobodyWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		s := eu.commit()
		safe := eu.hybrid.Promise(eu.Wall().Add(time.Millisecond), clock.MaxTimestamp)
		eu.x.LocalSafe(s.Time, safe)
		eventually(t, "the promise arrives", func() bool { return us.x.Raw().At(1) == safe && ap.x.Raw().At(1) == safe })
		require.Equal(t, s.Time, us.x.Exposed().At(1))
	})
}

func TestAShortCutLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		for _, d := range []time.Duration{time.Second, 3 * time.Second, time.Minute} {
			c.net.CutBoth("eu", "us")
			c.net.CutBoth("eu", "ap")
			var s clock.Stamp
			for range 20 {
				s = eu.commit()
			}
			wait(t, d)
			require.Less(t, us.x.Exposed().At(1), s.Time)
			c.rejoin("eu")
			us.sees(s)
			ap.sees(s)
		}
		require.Equal(t, eu.store.content(), us.store.content())
	})
}

// wait lets simulated time pass.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	c, _ := replication.SystemTime().NewTimer(d)
	<-c
	synctest.Wait()
}

// isolate cuts a region of three off from the others, until they have noticed.
func (c *cluster) isolate(name string) {
	for _, other := range []string{"eu", "us", "ap"} {
		if other != name {
			c.net.CutBoth(other, name)
		}
	}
	wait(c.t, 10*time.Second)
}

// rejoin heals what isolate cut.
func (c *cluster) rejoin(name string) {
	for _, other := range []string{"eu", "us", "ap"} {
		if other != name {
			c.net.HealBoth(other, name)
		}
	}
}

func TestASilentRegionIsHeardThroughAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		c.net.CutBoth("eu", "ap")
		begin := time.Now()
		a, b := eu.commit(), ap.commit()
		ap.sees(a)
		eu.sees(b)
		require.Less(t, time.Since(begin), replication.SilenceAfter+time.Second)
		eventually(t, "reports are relayed too, so that stability moves", func() bool {
			_, settled := ap.x.Cuts()
			return settled.At(1) == a.Time && settled.At(3) == b.Time
		})
		for range 30 {
			a, b = eu.commit(), ap.commit()
			ap.sees(a)
			eu.sees(b)
		}
		c.net.HealBoth("eu", "ap")
		eventually(t, "the direct stream is back", func() bool { return eu.connected(ap) && ap.connected(eu) })
		a = eu.commit()
		ap.sees(a)
		require.Equal(t, eu.store.content(), ap.store.content())
	})
}

func TestOneDeafDirectionIsWorkedAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		c.net.Cut("eu", "ap")
		wait(t, 30*time.Second)
		a, b := eu.commit(), ap.commit()
		ap.sees(a)
		eu.sees(b)
	})
}

func TestWhatReachedOneSurvivorReachesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		c.net.CutBoth("eu", "ap")
		c.net.CutBoth("us", "ap")
		s := eu.commit()
		us.sees(s)
		eu.crash()
		c.net.HealBoth("us", "ap")
		ap.sees(s)
	})
}

func TestAMissingDependencyComesFromWhoNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		// The link from eu to ap is so slow that us is long before eu there, yet eu is not silent.
		c.net.SetDelay("eu", "ap", time.Minute)
		wait(t, 3*time.Minute)
		a := eu.commit()
		us.sees(a)
		b := us.commit()
		begin := time.Now()
		ap.sees(b)
		ap.sees(a)
		require.Less(t, time.Since(begin), 5*time.Second)
	})
}

func TestARegionThatWasAwayCatchesUpFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us)
		ap.crash()
		var s clock.Stamp
		for range 2000 {
			s = eu.commit()
		}
		u := us.commit()
		ap = c.start("ap", ap.store, []string{"eu"})
		defer stopAll(ap)
		ap.writable()
		ap.sees(s)
		ap.sees(u)
		require.Equal(t, eu.store.content(), ap.store.content())
	})
}

func TestALargeRecordTravelsInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		a := eu.commitSized(3*replication.MaxPart + 17)
		b := eu.commitSized(2 * replication.LaneWindow)
		d := eu.commit()
		us.sees(a)
		us.sees(b)
		us.sees(d)
		ap.sees(d)
	})
}

func TestALaneThatWaitsGetsNoCreditAndStopsNothingElse(t *testing.T) {
	for _, size := range []int{1 << 16, 40_000, 17_000, 9000} { // the window ends within a message, or not
		t.Run(strconv.Itoa(size), func(t *testing.T) { laneWaits(t, size) })
	}
}

func laneWaits(t *testing.T, size int) {
	synctest.Test(t, func(t *testing.T) {
		counted, count := counting()
		c, eu, us, ap := three(t, count)
		defer stopAll(eu, us, ap)
		a := eu.commit()
		ap.sees(a)
		us.sees(a)
		// ap is cut off from eu, and us can't help: it has eu's record, but its log is truncated.
		c.net.CutBoth("eu", "ap")
		missing := eu.commit()
		us.sees(missing)
		synctest.Wait() // it is in the tail by now
		us.store.mu.Lock()
		us.store.truncated[eu.lane()] = clock.MaxTimestamp
		us.store.mu.Unlock()
		us.r.ForgetTail(eu.lane())
		var last clock.Stamp
		c.net.CutBoth("us", "ap")
		for range 3 * replication.LaneWindow / size {
			last = us.commitSized(size)
		}
		c.net.HealBoth("us", "ap") // what has piled up goes in large messages
		wait(t, 20*time.Second)
		require.Less(t, ap.x.Exposed().At(2), last.Time)
		for _, p := range ap.r.Status() {
			last := 2 * size // a message passes BatchBytes by its last record
			require.LessOrEqual(t, p.Waiting, replication.LaneWindow+replication.BatchBytes+last, "what waits is bounded")
			if p.Name == "us" {
				require.Greater(t, p.Waiting, replication.LaneWindow/2)
				require.True(t, p.Connected, "the stream itself is read")
			}
		}
		require.Less(t, counted["ap"].get("received", 2)[1], 2*replication.LaneWindow, "nothing is asked for in vain")
		b := ap.commit()
		us.sees(b)
		c.net.HealBoth("eu", "ap")
		ap.sees(last)
	})
}

func TestALostDiskIsFilledBeforeTheFirstWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us)
		// Only us holds ap's last writes.
		c.net.CutBoth("eu", "ap")
		wait(t, time.Second)
		var s clock.Stamp
		for range 20 {
			s = ap.commit()
		}
		us.sees(s)
		ap.crash()
		c.net.CutBoth("us", "ap")
		c.net.HealBoth("eu", "ap")
		fresh := c.start("ap", newFakeStore(33), []string{"eu"})
		defer stopAll(fresh)
		require.Equal(t, clock.Region(3), fresh.id.Region)
		require.True(t, fresh.id.Recovering)
		wait(t, 20*time.Second)
		require.True(t, fresh.x.Recovering(), "us has not said yet what it holds")
		c.net.HealBoth("us", "ap")
		floor := fresh.writable()
		require.False(t, fresh.x.Recovering())
		require.GreaterOrEqual(t, floor, s.Time)
		fresh.sees(s)
		require.Equal(t, s.Time, fresh.store.applied[fresh.lane()])
		fresh.last = s.Time
		fresh.hybrid = clock.NewHybrid(0, max(floor, s.Time))
		next := fresh.commit()
		eu.sees(next)
		us.sees(next)
		require.Equal(t, eu.store.content(), us.store.content())
		require.Equal(t, eu.store.content(), fresh.store.content())
	})
}

func TestARecoveryDoesNotWaitForRegionsThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu)
		s := ap.commit()
		eu.sees(s)
		ap.crash()
		us.crash()
		fresh := c.start("ap", newFakeStore(33), []string{"eu"}, func(_ *node, r *replication.Config) { r.Gone = []string{"us"} })
		defer stopAll(fresh)
		fresh.writable()
		fresh.sees(s)
	})
}

func TestARegionThatHearsOfMoreOfItsOwnThanItHasIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us)
		var s clock.Stamp
		for range 3 {
			s = ap.commit()
		}
		eu.sees(s)
		us.sees(s)
		ap.crash()
		lost := ap.store
		log := lost.log[ap.lane()]
		lost.log[ap.lane()] = log[:len(log)-1]
		lost.applied[ap.lane()] = log[len(log)-2].Time
		delete(lost.leaves, s)
		ap = c.start("ap", lost, nil)
		<-ap.ended
		_ = ap.stop()
		require.ErrorIs(t, ap.err, kv.ErrLost)
		require.NotEmpty(t, lost.short)
		ap = c.start("ap", lost, nil)
		defer stopAll(ap)
		ap.writable()
		ap.sees(s)
		require.Empty(t, lost.short)
	})
}

func TestAJoinerThatReachesNobodyKeepsAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		store := newFakeStore(2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := c.tryStart(ctx, "us", store, []string{"nowhere", "eu"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, store.meta, "it founds nothing")
		joined := make(chan *node, 1)
		go func() {
			n, _ := c.tryStart(t.Context(), "us", store, []string{"nowhere", "eu"})
			joined <- n
		}()
		wait(t, time.Minute)
		require.Empty(t, joined)
		eu := c.start("eu", newFakeStore(1), nil)
		us := <-joined
		defer stopAll(eu, us)
		us.writable()
	})
}

func TestAJoinWaitsForEveryRegionToBeTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		c.isolate("us")
		joined := make(chan *node, 1)
		go func() {
			n, _ := c.tryStart(t.Context(), "sa", newFakeStore(4), []string{"ap", "eu"})
			joined <- n
		}()
		wait(t, 30*time.Second)
		require.Empty(t, joined)
		// One joins at a time.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := c.tryStart(ctx, "af", newFakeStore(5), []string{"eu"})
		require.ErrorContains(t, err, "sa has not finished joining")
		c.net.HealBoth("eu", "us")
		sa := <-joined
		defer stopAll(sa)
		sa.writable()
		c.net.HealBoth("ap", "us")
		s := us.commit()
		sa.sees(s)
		s = sa.commit()
		us.sees(s)
		ap.sees(s)
	})
}

func TestABootstrapThatIsCutOffBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		var s clock.Stamp
		for range 500 {
			eu.commit()
			wait(t, time.Millisecond)
		}
		store := newFakeStore(2)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := c.tryStart(ctx, "us", store, []string{"eu"})
			failed <- err
		}()
		eventually(t, "some data is there", func() bool { return len(store.content()) > 10 })
		cancel()
		require.Error(t, <-failed)
		require.Less(t, len(store.content()), 500)
		s = eu.commit()
		us := c.start("us", store, []string{"eu"})
		defer stopAll(us)
		us.writable()
		us.sees(s)
		require.Equal(t, eu.store.content(), us.store.content())
	})
}

func TestAnotherClusterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, ap)
		us.crash()
		other := newFakeStore(9)
		for _, name := range []string{"x", "us"} {
			n := c.start(name, newFakeStore(9), nil)
			stopAll(n)
			other = n.store
		}
		impostor := c.start("us", other, nil)
		defer stopAll(impostor)
		eventually(t, "eu says so", func() bool { return eu.loggedLike("belongs to cluster") })
		require.Equal(t, eu.id.Region, impostor.id.Region, "a cluster of its own")
		require.NotEqual(t, eu.id.Cluster, impostor.id.Cluster)
		eu.mu.Lock()
		defer eu.mu.Unlock()
		require.ErrorIs(t, errors.Join(eu.faults...), kv.ErrInvalid)
	})
}

func TestNamesAreTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		_, err := c.tryStart(t.Context(), "eu", newFakeStore(7), []string{"eu"})
		require.ErrorIs(t, err, kv.ErrInvalid)
		require.ErrorContains(t, err, "own")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = c.tryStart(ctx, "us", newFakeStore(7), []string{"eu"})
		require.ErrorContains(t, err, "stop it first")
		stopAll(us)
		_, err = c.tryStart(t.Context(), "renamed", us.store, nil)
		require.ErrorContains(t, err, `belongs to region "us"`)
	})
}

func TestAFastClockPausesItsLaneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		us := c.start("us", newFakeStore(2), []string{"eu"})
		us.writable()
		fast := func(n *node, _ *replication.Config) { n.skew = 20 * time.Second }
		ap := c.start("ap", newFakeStore(3), []string{"eu"}, fast)
		defer stopAll(eu, us, ap)
		ap.writable()
		s := ap.commit()
		begin := time.Now()
		eventually(t, "the peers name it", func() bool {
			return eu.loggedLike("the clock of region 3 (ap)") && us.loggedLike("the clock of region 3 (ap)")
		})
		eventually(t, "it learns of it", func() bool { ap.mu.Lock(); defer ap.mu.Unlock(); return ap.ahead })
		a := eu.commit()
		us.sees(a)
		require.Less(t, eu.x.Exposed().At(3), s.Time)
		us.sees(s)
		require.Greater(t, time.Since(begin), 19*time.Second, "only once the wall clock has come near")
	})
}

func TestAStoreThatRefusesEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		defer stopAll(eu, ap)
		broken := errors.New("disk full")
		us.store.mu.Lock()
		us.store.fail = broken
		us.store.mu.Unlock()
		eu.commit()
		<-us.ended
		require.ErrorIs(t, us.err, broken)
	})
}
