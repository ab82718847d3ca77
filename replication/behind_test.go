package replication_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// truncate has a node drop its log of a lane, and what of it is in memory.
func (n *node) truncate(lane clock.Lane, upTo clock.Timestamp) {
	n.r.ForgetTail(lane)
	n.store.mu.Lock()
	defer n.store.mu.Unlock()
	n.store.truncated[lane] = upTo
}

// isolate cuts a node off from some others; rejoin undoes it.
func (n *node) isolate(from ...*node) {
	for _, o := range from {
		n.c.net.CutBoth(n.name, o.name)
	}
}

func (n *node) rejoin(to ...*node) {
	for _, o := range to {
		n.c.net.HealBoth(n.name, o.name)
	}
}

// waitBehind is WaitBehind with a bound.
func (n *node) waitBehind(d time.Duration) (replication.Behind, error) {
	ctx, cancel := context.WithTimeout(n.c.t.Context(), d)
	defer cancel()
	return n.r.WaitBehind(ctx)
}

// renew has a node that fell behind take a cut and start again.
func (n *node) renew(b replication.Behind) *node {
	n.c.t.Helper()
	n.crash()
	must := clock.Vector(nil)
	for lane, t := range n.store.applied {
		if lane == n.lane() {
			t = n.store.truncated[lane]
		}
		must = must.With(lane.Region, t)
	}
	require.NoError(n.c.t, replication.NoteBehind(n.c.t.Context(), n.store, must.Join(b.Missing)))
	return n.c.start(n.name, n.store, nil)
}

// told is what the node was told of being behind.
type told struct{ reasons []string }

func tell(to *told) option {
	return func(n *node, c *replication.Config) {
		c.Hooks.Behind = func(reason string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			to.reasons = append(to.reasons, reason)
		}
	}
}

func (n *node) said(to *told) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(to.reasons) == 0 {
		return ""
	}
	return to.reasons[len(to.reasons)-1]
}

// leftBehind starts three regions, isolates the last, which goes on writing, and has the others write
// and drop their logs.
func leftBehind(t *testing.T) (c *cluster, eu, us, ap *node, there *told, lost []clock.Stamp) {
	there = &told{}
	c = newCluster(t)
	eu = c.start("eu", newFakeStore(1), nil)
	us = c.start("us", newFakeStore(2), []string{"eu"})
	us.writable()
	ap = c.start("ap", newFakeStore(3), []string{"us"}, tell(there))
	ap.writable()
	ap.sees(eu.commit())
	ap.isolate(eu, us)
	wait(t, 2*replication.StreamTimeout) // what is on the way does not arrive after the heal
	var s clock.Stamp
	for range 3 {
		s = eu.commit()
		us.sees(s)
		lost = append(lost, s, ap.commit())
	}
	eu.truncate(eu.lane(), s.Time)
	us.truncate(eu.lane(), s.Time)
	return c, eu, us, ap, there, lost
}

func TestARegionThatFellBehindShipsItsOwnAndTakesACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap, there, written := leftBehind(t)
		defer func() { stopAll(eu, us, ap) }()
		_, err := ap.waitBehind(10 * replication.BehindAfter)
		require.ErrorIs(t, err, context.DeadlineExceeded, "cut off, it knows nothing and goes on")
		require.Empty(t, ap.said(there))

		ap.rejoin(eu, us)
		b, err := ap.waitBehind(time.Minute)
		require.NoError(t, err)
		require.Contains(t, ap.said(there), "fell behind")
		require.Equal(t, clock.Region(1), b.Source)
		require.NotContains(t, ap.faults, kv.ErrTooOld)
		own := clock.VectorOf(clock.Entry(written[len(written)-1]))
		require.True(t, eu.x.Durable().Includes(own) && us.x.Durable().Includes(own), "it had shipped its own before")

		ap = ap.renew(b)
		for _, n := range []*node{eu, us, ap} {
			for _, s := range written {
				n.sees(s)
			}
		}
		require.Equal(t, eu.store.content(), ap.store.content())
		require.Equal(t, us.store.content(), ap.store.content())
		log, err := ap.store.Log(ap.lane(), 0, 1<<20)
		require.NoError(t, err)
		require.Len(t, log, 3, "its own log is kept")
		for _, n := range []*node{eu, us, ap} {
			s := n.commit()
			eu.sees(s)
			us.sees(s)
			ap.sees(s)
		}
		_, err = ap.waitBehind(10 * replication.BehindAfter)
		require.Error(t, err)
	})
}

func TestALogThatOneRegionStillHasIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap, there, written := leftBehind(t)
		defer stopAll(eu, us, ap)
		us.truncate(eu.lane(), 0) // it has all
		ap.rejoin(eu, us)
		for _, s := range written {
			ap.sees(s)
		}
		_, err := ap.waitBehind(10 * replication.BehindAfter)
		require.Error(t, err)
		require.Empty(t, ap.said(there))
	})
}

// TestWhoCanHelpMayComeLater: the region that is reached first can't serve the lane.
func TestWhoCanHelpMayComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap, there, written := leftBehind(t)
		defer stopAll(eu, us, ap)
		us.truncate(eu.lane(), 0)
		ap.rejoin(eu)
		eventually(t, "it says so", func() bool { return strings.Contains(ap.said(there), "fell behind") })
		ap.rejoin(us)
		for _, s := range written {
			ap.sees(s)
		}
		eventually(t, "it is over", func() bool { return ap.said(there) == "" })
		_, err := ap.waitBehind(10 * replication.BehindAfter)
		require.Error(t, err, "what was found is withdrawn")
	})
}

// TestASourceHasAllThatIsHere: a region that lacks something which only this one has is none, until
// it has it.
func TestASourceHasAllThatIsHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap, there, _ := leftBehind(t)
		defer stopAll(eu, us, ap)
		hang := make(chan struct{}) // its disk hangs, so it can't take what ap wrote
		require.NoError(t, us.store.submit(t.Context(), func() { <-hang }))
		ap.rejoin(us)
		eventually(t, "it waits", func() bool { return strings.Contains(ap.said(there), "a region in reach holds all") })
		_, err := ap.waitBehind(time.Minute)
		require.Error(t, err)
		close(hang)
		b, err := ap.waitBehind(time.Minute)
		require.NoError(t, err)
		require.Equal(t, clock.Region(2), b.Source)
	})
}

// TestANoteIsWithdrawnWhenNobodyHasACut: the region goes on with what it has.
func TestANoteIsWithdrawnWhenNobodyHasACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap, _, _ := leftBehind(t)
		defer func() { stopAll(eu, us, ap) }()
		before := ap.store.content()
		ap = ap.renew(replication.Behind{Missing: clock.VectorOf(clock.Entry{Region: 1, Time: 1})}) // both are out of reach
		require.Equal(t, before, ap.store.content())
		require.True(t, ap.loggedLike("going on with what is here"))
		ap.rejoin(eu, us)
		b, err := ap.waitBehind(time.Minute)
		require.NoError(t, err)
		b.Missing = clock.VectorOf(clock.Entry{Region: 1, Time: clock.MaxTimestamp}) // nobody has so much
		ap = ap.renew(b)
		require.Equal(t, before, ap.store.content())
	})
}

// TestAppliesItsOwnLogBeyondTheCut: the source has lost, meanwhile, what was shipped to it.
func TestAppliesItsOwnLogBeyondTheCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap, _, written := leftBehind(t)
		defer func() { stopAll(eu, us, ap) }()
		ap.crash() // it has shipped nothing
		ap.rejoin(eu, us)
		ap = ap.renew(replication.Behind{Missing: clock.VectorOf(clock.Entry(written[len(written)-2]))})
		require.True(t, eu.loggedLike("all data at"))
		for _, n := range []*node{ap, us, eu} {
			for _, s := range written {
				n.sees(s)
			}
		}
	})
}

func TestOnlyANodeWithDataIsBehind(t *testing.T) {
	store := newFakeStore(1)
	require.ErrorIs(t, replication.NoteBehind(t.Context(), store, clock.VectorOf(clock.Entry{Region: 1, Time: 1})), kv.ErrInvalid)
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		require.ErrorIs(t, replication.NoteBehind(t.Context(), ap.store, nil), kv.ErrInvalid)
	})
}
