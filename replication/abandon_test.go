package replication_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// stuck starts eu and us, and lets ap get a number and its data, but no further: it is stopped before
// it serves.
func stuck(t *testing.T) (c *cluster, eu, us *node, ap *fakeStore) {
	t.Helper()
	c = newCluster(t)
	eu = c.start("eu", newFakeStore(1), nil)
	us = c.start("us", newFakeStore(2), []string{"eu"})
	us.writable()
	ap = newFakeStore(3)
	c.join(ap)
	return c, eu, us, ap
}

// join runs ap until it has its data, and ends it before it speaks with anybody.
func (c *cluster) join(ap *fakeStore) {
	c.t.Helper()
	_, err := replication.Identify(c.t.Context(), replication.JoinConfig{
		Name: "ap", Incarnation: ap.incarnation, Addresses: kv.Addresses{Peer: "ap"}, Ask: []string{"eu"}, Store: ap,
		Transport: c.net.Node("ap"), Time: &node{}, Random: c.rnd,
	})
	require.NoError(c.t, err)
}

// knows tells that a node knows a region by name.
func (n *node) knows(name string) bool {
	for _, p := range n.r.Status() {
		if p.Name == name {
			return true
		}
	}
	return false
}

// settles tells whether a group is settled at a node.
func (n *node) settles(s clock.Stamp) func() bool {
	return func() bool {
		_, settled := n.x.Cuts()
		return settled.At(s.Region) >= s.Time
	}
}

// tryJoin tries to join for a while.
func (c *cluster) tryJoin(name string, store *fakeStore, d time.Duration) (*node, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), d)
	defer cancel()
	type result struct {
		n   *node
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := c.tryStart(c.t.Context(), name, store, []string{"us", "eu"})
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestAnAbandonedJoinerHoldsNobodyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := stuck(t)
		defer func() { stopAll(eu, us) }()
		s := eu.commit()
		us.sees(s)
		wait(t, time.Minute)
		require.False(t, us.settles(s)(), "ap has not said that it sees it")
		require.Empty(t, us.x.Everywhere())

		require.ErrorIs(t, eu.r.Abandon(t.Context(), "nobody"), kv.ErrNotFound)
		require.ErrorIs(t, eu.r.Abandon(t.Context(), "us"), kv.ErrInvalid, "it serves")
		require.NoError(t, us.r.Abandon(t.Context(), "ap"), "whoever is asked")
		for _, n := range []*node{eu, us} {
			eventually(t, n.name+" settles", n.settles(s))
			require.False(t, n.knows("ap"))
			require.Equal(t, s.Time, n.x.Everywhere().At(1))
		}
		require.ErrorIs(t, eu.r.Abandon(t.Context(), "ap"), kv.ErrNotFound)

		// Its folder is refused at once, by whomever it asks; and joins that it blocked work, its own
		// name's too, with new numbers.
		n, err := c.tryJoin("ap", ap, time.Minute)
		require.NoError(t, err)
		<-n.ended
		require.ErrorContains(t, n.err, "delete its data folder")
		require.ErrorIs(t, n.err, kv.ErrInvalid)
		for i, name := range []string{"sa", "ap"} {
			n, err := c.tryJoin(name, newFakeStore(uint64(10+i)), time.Minute)
			require.NoError(t, err)
			defer stopAll(n)
			n.writable()
			require.Equal(t, clock.Region(4+i), n.id.Region)
			b := n.commit()
			eu.sees(b)
			us.sees(b)
			eventually(t, "it settles", us.settles(b))
		}
	})
}

func TestWhatIsAbandonedStaysSoOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := stuck(t)
		require.NoError(t, eu.r.Abandon(t.Context(), "ap"))
		eventually(t, "us knows", func() bool { return !us.knows("ap") })
		stopAll(eu, us)
		eu, us = c.start("eu", eu.store, nil), c.start("us", us.store, nil)
		defer func() { stopAll(eu, us) }()
		s := us.commit()
		eventually(t, "it settles", eu.settles(s))
		require.False(t, eu.knows("ap"))
		n, err := c.tryJoin("ap", ap, time.Minute)
		require.NoError(t, err)
		<-n.ended
		require.ErrorContains(t, n.err, "abandoned")
		n, err = c.tryJoin("ap", newFakeStore(33), time.Minute)
		require.NoError(t, err)
		defer stopAll(n)
		n.writable()
		require.Equal(t, clock.Region(4), n.id.Region)
	})
}

func TestAJoinerThatIsSilentForLongIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, _ := stuck(t)
		defer stopAll(eu, us)
		wait(t, replication.JoinLimit-time.Minute)
		_, err := c.tryJoin("sa", newFakeStore(9), time.Second)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, us.knows("ap"))
		eventually(t, "it is abandoned", func() bool { return !us.knows("ap") && !eu.knows("ap") })
		eventually(t, "who asked gets a number", func() bool { return eu.knows("sa") })
	})
}

func TestAJoinerThatAnyRegionHearsIsNotAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, store := stuck(t)
		defer stopAll(eu, us)
		c.net.CutBoth("eu", "ap")
		ap := c.start("ap", store, nil)
		defer stopAll(ap)
		wait(t, 2*replication.JoinLimit)
		require.True(t, eu.knows("ap"), "us hears it")
		c.net.HealBoth("eu", "ap")
		ap.writable()
	})
}

func TestAJoinerThatTheFounderNamesAsGoneIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, _ := stuck(t)
		defer func() { stopAll(eu, us) }()
		stopAll(eu)
		eu = c.start("eu", eu.store, nil, func(_ *node, r *replication.Config) { r.Gone = []string{"ap"} })
		eventually(t, "it is abandoned", func() bool { return !us.knows("ap") && !eu.knows("ap") })
		_, err := c.tryJoin("ap", newFakeStore(33), time.Minute)
		require.ErrorContains(t, err, "--gone")
		require.ErrorIs(t, err, kv.ErrInvalid)
	})
}

// TestAJoinerThatIsDecidedOnMeanwhileIsNoFault: the review has an older list than the decision.
func TestAJoinerThatIsDecidedOnMeanwhileIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, _ := stuck(t)
		defer func() { stopAll(eu, us) }()
		before := replication.Member{Region: 3, Name: "ap"}
		eu.r.ReviewJoiner(before)
		require.True(t, eu.knows("ap"), "it is not time yet")
		require.NoError(t, eu.r.Abandon(t.Context(), "ap"))
		stopAll(eu)
		eu = c.start("eu", eu.store, nil, func(_ *node, r *replication.Config) { r.Gone = []string{"us", "ap"} })
		eu.r.ReviewJoiner(before)                                    // an operator was quicker
		eu.r.ReviewJoiner(replication.Member{Region: 2, Name: "us"}) // it serves by now
		wait(t, time.Second)
		require.True(t, eu.knows("us"))
	})
}

// gone is three regions of which ap is lost, and eu, the founder, is told so.
func gone(t *testing.T) (c *cluster, eu, us, ap *node) {
	t.Helper()
	c, eu, us, ap = three(t)
	s := ap.commit()
	eu.sees(s)
	us.sees(s)
	stopAll(eu)
	c.net.CutBoth("eu", "ap")
	eu = c.start("eu", eu.store, nil, func(_ *node, r *replication.Config) { r.Gone = []string{"ap"} })
	return c, eu, us, ap
}

func TestARegionThatIsGoneDoesNotBlockJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := gone(t)
		ap.crash()
		s := us.commit()
		eu.sees(s)
		sa, err := c.tryJoin("sa", newFakeStore(9), time.Minute)
		require.NoError(t, err)
		defer stopAll(eu, us, sa)
		sa.writable()
		sa.sees(s)
		b := sa.commit()
		eu.sees(b)
		us.sees(b)

		// It was not gone for good: it takes the list before anything else, and all go on together.
		c.net.HealBoth("eu", "ap")
		ap = c.start("ap", ap.store, nil)
		defer stopAll(ap)
		ap.sees(b)
		require.True(t, ap.knows("sa"))
		last := ap.commit()
		for _, n := range []*node{eu, us, sa, ap} {
			n.sees(last)
			eventually(t, n.name+" settles", n.settles(last))
			require.Equal(t, eu.store.content(), n.store.content())
			require.NoError(t, n.fault())
		}
	})
}

// TestARegionThatIsCalledGoneAndIsHeardBlocksJoins: what it takes for settled must be known.
func TestARegionThatIsCalledGoneAndIsHeardBlocksJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := gone(t)
		defer stopAll(eu, us)
		joined := make(chan *node, 1)
		go func() {
			n, err := c.tryStart(t.Context(), "sa", newFakeStore(9), []string{"eu"})
			require.NoError(t, err)
			joined <- n
		}()
		eventually(t, "it has a number", func() bool { return eu.knows("sa") && us.knows("sa") })
		wait(t, time.Minute)
		require.Empty(t, joined, "us hears ap")
		ap.crash()
		sa := <-joined
		defer stopAll(sa)
		sa.writable()
	})
}

// TestAListThatChangesDuringAHandshakeIsTold: the hello has the list of before, and the stream is not
// there yet to be told of the new one.
func TestAListThatChangesDuringAHandshakeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, _ := stuck(t)
		defer stopAll(eu)
		stopAll(us)
		told := make(chan *peerv1.Members, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			_ = c.net.Node("us").Serve(ctx, func(conn replication.Conn) {
				first, err := conn.Recv()
				if err != nil || first.GetHello().GetPurpose() != peerv1.Purpose_PURPOSE_REPLICATE {
					return
				}
				if eu.knows("ap") {
					require.NoError(t, eu.r.Abandon(ctx, "ap"))
				}
				h := member(eu, 2, "us")
				h.Incarnation = us.store.incarnation
				require.NoError(t, conn.Send(&peerv1.Message{Body: &peerv1.Message_Hello{Hello: h}}))
				old := first.GetHello().GetMembers().GetVersion()
				beat := &peerv1.Heartbeat{Members: old, Wall: int64(us.Wall()), Sent: 1}
				require.NoError(t, conn.Send(&peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: beat}}))
				for m, err := conn.Recv(); err == nil; m, err = conn.Recv() {
					if m.GetMembers().GetVersion() > old {
						told <- m.GetMembers()
						return
					}
				}
			})
		}()
		eventually(t, "it is told", func() bool { return len(told) > 0 })
		list := <-told
		require.Equal(t, peerv1.MemberState_MEMBER_STATE_ABANDONED, list.GetMembers()[2].GetState())
	})
}

// TestABootstrapOfAnAbandonedRegionEnds: its cut is held no more, and it is told.
func TestABootstrapOfAnAbandonedRegionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		for range 200 {
			eu.commit()
			wait(t, time.Millisecond)
		}
		store := newFakeStore(2)
		failed := make(chan error, 1)
		go func() {
			_, err := c.tryStart(t.Context(), "us", store, []string{"eu"})
			failed <- err
		}()
		eventually(t, "some data is there", func() bool { return len(store.content()) > 10 })
		require.NoError(t, eu.r.Abandon(t.Context(), "us"))
		err := <-failed
		require.ErrorIs(t, err, kv.ErrInvalid)
		require.ErrorContains(t, err, "abandoned")
		last := eu.commit()
		eventually(t, "nothing holds the horizon", func() bool {
			horizon, settled := eu.x.Cuts()
			return horizon.At(1) == last.Time && settled.At(1) == last.Time
		})
		_, err = c.tryJoin("us", store, time.Minute)
		require.ErrorContains(t, err, "abandoned", "it stays so")
	})
}

// TestARegionThatServesIsNotAbandoned, and one that was abandoned before it had data is refused.
func TestARegionThatServesIsNotAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, store := stuck(t)
		defer stopAll(eu, us)
		ap := c.start("ap", store, nil)
		ap.writable()
		require.ErrorContains(t, eu.r.Abandon(t.Context(), "ap"), "serves")
		s := ap.commit()
		us.sees(s)
		stopAll(ap)

		late := newFakeStore(4)
		n, err := c.tryJoin("sa", late, time.Minute)
		require.Error(t, err, "ap is away, so that not every region can be told")
		require.Nil(t, n)
		require.NoError(t, eu.r.Abandon(t.Context(), "sa"))
		h := member(eu, 4, "sa")
		h.Incarnation = late.incarnation
		h.Purpose = peerv1.Purpose_PURPOSE_ANNOUNCE
		x := c.stranger("eu")
		x.hello(h)
		m, err := x.conn.Recv()
		require.NoError(t, err)
		require.True(t, m.GetRefused().GetAbandoned())
	})
}

// TestASecondNodeOfAJoiningRegionTakesItsPlace: the first must not come to serve beside it.
func TestASecondNodeOfAJoiningRegionTakesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, first := stuck(t)
		defer stopAll(eu, us)
		second, err := c.tryJoin("ap", newFakeStore(33), time.Minute)
		require.NoError(t, err)
		second.writable()
		require.Equal(t, clock.Region(3), second.id.Region, "numbers are not spent on what may fail again and again")
		s := second.commit()
		us.sees(s)
		stopAll(second)
		n, err := c.tryStart(t.Context(), "ap", first, nil)
		require.NoError(t, err)
		<-n.ended
		require.ErrorContains(t, n.err, "another node has joined")
		require.ErrorIs(t, n.err, kv.ErrInvalid)
		for _, n := range []*node{eu, us} {
			require.NoError(t, n.fault())
		}
		again := c.start("ap", second.store, nil)
		defer stopAll(again)
		s = again.commit()
		us.sees(s)
	})
}

// TestAnAbandonedNodeEndsNobodyElse: it runs, connected to others, when it is abandoned, and its
// refusals of theirs are not taken for their own.
func TestAnAbandonedNodeEndsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, store := stuck(t)
		defer stopAll(eu, us)
		c.net.CutBoth("eu", "ap")
		ap := c.start("ap", store, nil)
		eventually(t, "us hears it", func() bool { return us.connected(ap) })
		require.NoError(t, eu.r.Abandon(t.Context(), "ap"))
		<-ap.ended
		_ = ap.stop()
		require.ErrorContains(t, ap.err, "was abandoned")
		_, err := c.tryStart(t.Context(), "ap", store, nil)
		require.ErrorContains(t, err, "was abandoned", "its folder says so")
		// Again, after a crash before that was noted, and others dial it before it dials anybody: to them it is nobody.
		delete(store.meta, "replication/useless")
		again, err := c.tryStart(t.Context(), "ap", store, nil)
		require.NoError(t, err)
		<-again.ended
		wait(t, time.Minute)
		for _, n := range []*node{eu, us} {
			select {
			case <-n.ended:
				t.Fatalf("%s has ended: %v", n.name, n.err)
			default:
			}
			require.NoError(t, n.fault(), "no operator is needed here")
		}
		s := eu.commit()
		us.sees(s)
		eventually(t, "it settles", us.settles(s))
	})
}
