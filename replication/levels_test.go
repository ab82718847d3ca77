package replication_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// slowly puts 20 ms between all regions.
func slowly(c *cluster) {
	for _, a := range []string{"eu", "us", "ap"} {
		for _, b := range []string{"eu", "us", "ap"} {
			if a != b {
				c.net.SetDelay(a, b, 20*time.Millisecond)
			}
		}
	}
}

func pass(d time.Duration) {
	timer, stop := replication.SystemTime().NewTimer(d)
	defer stop()
	<-timer
}

// 64 callers that ask a majority at once cost each peer a question or two, not 64; and so do writes.
func TestCallersShareQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		slowly(c)
		pass(time.Second)
		s := eu.commit()
		before := eu.r.Asked(2)
		began := time.Now()
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				if err := eu.r.Quorum(t.Context()); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if have, err := eu.r.WaitDurable(t.Context(), s, 3); err != nil || have != 3 {
					t.Errorf("in %d regions: %v", have, err)
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, time.Since(began), 50*time.Millisecond)
		require.LessOrEqual(t, eu.r.Asked(2)-before, uint64(4))
	})
}

// A round that was asked before a call began says nothing of what came since.
func TestARoundUnderWayIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		slowly(c)
		c.net.SetDelay("ap", "eu", time.Hour)
		go func() { _ = eu.r.Quorum(t.Context()) }()
		pass(25 * time.Millisecond) // us has answered
		s := us.commit()
		require.NoError(t, eu.r.Quorum(t.Context()))
		require.True(t, eu.x.Exposed().Includes(clock.VectorOf(clock.Entry(s))))
	})
}

// A region whose own writes may be missing is no part of a majority, and its lane is not known to be fresh.
func TestWhoTakesItsOwnWritesFromOthersIsNoPartOfAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		ap.sees(eu.commit())
		require.NoError(t, us.r.Majority())
		c.net.CutBoth("eu", "ap")
		c.net.CutBoth("us", "ap")
		eu.crash()
		eu2 := c.start("eu", newFakeStore(11), []string{"us"})
		defer stopAll(eu2, us, ap)
		eventually(t, "us has met it", func() bool { return us.r.IncarnationOf(1) == 11 && us.connected(eu2) && !us.connected(ap) })
		err := us.r.Quorum(t.Context())
		require.ErrorIs(t, err, kv.ErrUnavailable)
		require.ErrorContains(t, err, "eu (takes its own writes from others)")
		require.ErrorContains(t, eu2.r.Majority(), "eu (not connected)")
		require.ErrorIs(t, eu2.r.Quorum(t.Context()), kv.ErrUnavailable)
		pass(3 * time.Second)
		for _, s := range us.r.Staleness() {
			if s.Region == 1 {
				require.Greater(t, s.Age, 3*time.Second)
			}
		}
	})
}

func TestCallsEndWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		c.net.CutBoth("eu", "us")
		c.net.CutBoth("eu", "ap")
		s := eu.commit()
		ended := make(chan error, 3)
		go func() { ended <- eu.r.Quorum(t.Context()) }()
		go func() { _, err := eu.r.WaitFresh(t.Context(), time.Millisecond, false); ended <- err }()
		go func() { _, err := eu.r.WaitDurable(t.Context(), s, 2); ended <- err }()
		synctest.Wait()
		eu.x.Stop()
		_ = eu.stop()
		for range 3 {
			require.ErrorIs(t, <-ended, kv.ErrUnavailable)
		}
		require.ErrorIs(t, eu.r.Quorum(t.Context()), kv.ErrUnavailable)
		_, err := eu.r.WaitFresh(t.Context(), time.Millisecond, false)
		require.ErrorIs(t, err, kv.ErrUnavailable)
	})
}

func TestCallersWhoGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		slowly(c)
		pass(time.Second)
		s := eu.commit()
		calls := map[string]func(ctx context.Context) error{
			"quorum":  eu.r.Quorum,
			"bounded": func(ctx context.Context) error { _, err := eu.r.WaitFresh(ctx, time.Millisecond, false); return err },
			"durable": func(ctx context.Context) error { _, err := eu.r.WaitDurable(ctx, s, 3); return err },
		}
		for name, kind := range map[string]kv.Kind{"quorum": kv.KindUnavailable, "bounded": kv.KindStale, "durable": kv.KindDeadline} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			require.Equal(t, kind, kv.KindOf(calls[name](ctx)), name)
			cancel()
			if name == "durable" {
				continue
			}
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(5*time.Millisecond, cancel)
			require.Equal(t, kv.KindDeadline, kv.KindOf(calls[name](ctx)), name)
		}
	})
}

// consensus is a raft group that says what a test wants.
type consensus struct {
	time, index atomic.Uint64
	asked       atomic.Int64
	fails       atomic.Bool
	votes       atomic.Bool // two regions are a majority of the voters; else none are
	applied     atomic.Uint64
}

func (f *consensus) ReadIndex(context.Context) (clock.Timestamp, error) {
	f.asked.Add(1)
	if f.fails.Load() {
		return 0, errors.New("no leader")
	}
	return clock.Timestamp(f.time.Load()), nil
}

func (f *consensus) Position() uint64 { return f.index.Load() }

func (f *consensus) Reach(_ context.Context, index uint64) error {
	f.applied.Store(max(f.applied.Load(), index))
	return nil
}

func (f *consensus) Applied() (uint64, clock.Timestamp) {
	n := f.applied.Load()
	return n, clock.Timestamp(n * 10)
}

func (f *consensus) Majority(stores []replication.RegionStore) bool {
	return f.votes.Load() && len(stores) >= 2
}

// While a majority is heard, strong transactions are as fresh as heartbeats, and nobody asks for a read index.
func TestHeartbeatsTellHowFreshStrongTransactionsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raft := &consensus{}
		raft.votes.Store(true)
		_, eu, us, ap := three(t, func(_ *node, c *replication.Config) { c.Strong = raft })
		defer stopAll(eu, us, ap)
		pass(time.Second)
		const d = 500 * time.Millisecond
		for range 3 {
			waited, err := eu.r.WaitFresh(t.Context(), d, true)
			require.NoError(t, err)
			require.False(t, waited)
			pass(2 * d)
		}
		require.Zero(t, raft.asked.Load())
		raft.fails.Store(true)
		raft.index.Store(7)
		pass(time.Second)
		_, err := eu.r.WaitFresh(t.Context(), d, true)
		require.ErrorIs(t, err, kv.ErrStale, "entry 7 is not applied here")
		raft.applied.Store(7)
		pass(time.Second)
		_, err = eu.r.WaitFresh(t.Context(), d, true)
		require.ErrorIs(t, err, kv.ErrStale, "it made a commit at 70, which is not here")
	})
}

func TestStrongTransactionsCountForFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raft := &consensus{}
		_, eu, us, ap := three(t, func(_ *node, c *replication.Config) { c.Strong = raft })
		defer stopAll(eu, us, ap)
		pass(time.Second)
		const d = 500 * time.Millisecond
		for range 10 {
			_, err := eu.r.WaitFresh(t.Context(), d, true)
			require.NoError(t, err)
		}
		require.EqualValues(t, 1, raft.asked.Load(), "its answer is young enough for the rest")
		raft.fails.Store(true)
		pass(2 * d)
		began := time.Now()
		_, err := eu.r.WaitFresh(t.Context(), d, true)
		require.ErrorIs(t, err, kv.ErrStale)
		require.ErrorContains(t, err, "of strong transactions what is shown here may be")
		require.LessOrEqual(t, time.Since(began), replication.ReadIndexTimeout)
		time.AfterFunc(time.Second, func() { raft.fails.Store(false) })
		_, err = eu.r.WaitFresh(t.Context(), d, false)
		require.NoError(t, err, "once there is a leader")
		raft.time.Store(70)
		pass(2 * d)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = eu.r.WaitFresh(ctx, d, false)
		require.ErrorIs(t, err, kv.ErrStale, "what was decided is not here")
	})
}

func TestQuorumWaitsForStrongTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raft := &consensus{}
		_, eu, us, ap := three(t, func(_ *node, c *replication.Config) { c.Strong = raft })
		defer stopAll(eu, us, ap)
		pass(time.Second)
		require.NoError(t, eu.r.Quorum(t.Context()))
		require.EqualValues(t, 1, raft.asked.Load(), "the regions are no majority of the voters")
		raft.votes.Store(true)
		require.NoError(t, eu.r.Quorum(t.Context()))
		require.EqualValues(t, 1, raft.asked.Load())
		raft.index.Store(7)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, eu.r.Quorum(ctx), kv.ErrStale, "entry 7 made a commit at 70, which is not here")
	})
}

// What a peer says of freshness, or asks, is checked before it is used.
func TestQuestionsThatMakeNoSenseCloseTheStream(t *testing.T) {
	beat := func(f *peerv1.Freshness) *peerv1.Message {
		return &peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{
			Echo: 1, Promises: []*peerv1.Promise{{Region: 1, Freshness: f}}}}}
	}
	ask := func(a *peerv1.Ask) *peerv1.Message { return &peerv1.Message{Body: &peerv1.Message_Ask{Ask: a}} }
	answer := func(a *peerv1.Answer) *peerv1.Message {
		return &peerv1.Message{Body: &peerv1.Message_Answer{Answer: a}}
	}
	far := clock.VectorOf(clock.Entry{Region: 3, Time: 1 << 62}).Append(nil, 0)
	var many []*peerv1.Message
	for i := range replication.MaxAsks + 1 {
		many = append(many, ask(&peerv1.Ask{Id: uint64(i), Vector: far}))
	}
	for name, messages := range map[string][]*peerv1.Message{
		"an age without end":       {beat(&peerv1.Freshness{AgeMicros: 1 << 63})},
		"a vector that is none":    {ask(&peerv1.Ask{Vector: []byte{0xff}})},
		"a vector and more":        {ask(&peerv1.Ask{Vector: append(far, 0)})},
		"too many at a time":       many,
		"an answer without report": {answer(&peerv1.Answer{})},
		"an answer of another":     {answer(&peerv1.Answer{Report: &peerv1.RegionReport{Region: 3}})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				defer stopAll(us, ap)
				eu.crash()
				s := c.impostor(eu)
				s.subscribed()
				for _, m := range messages {
					if s.conn.Send(m) != nil {
						break
					}
				}
				s.ended()
				ap.sees(us.commit()) // no damage
			})
		})
	}
}

// An answer to what was not asked is late, not wrong; and nothing is believed of a lane by who counts by a
// newer list of regions.
func TestFreshnessThatCanNotBeBelievedIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		pass(time.Second)
		eu.crash()
		pass(10 * time.Second)
		s := c.impostor(eu)
		s.subscribed()
		now := us.Monotonic()
		report := &peerv1.RegionReport{Region: 1, Number: 1 << 60, Incarnation: eu.store.incarnation, Durable: clock.Vector{}.Append(nil, 0), Floor: clock.Vector{}.Append(nil, 0)}
		fresh := []*peerv1.Promise{{Region: 1, Freshness: &peerv1.Freshness{}}}
		for _, m := range []*peerv1.Message{
			{Body: &peerv1.Message_Answer{Answer: &peerv1.Answer{Id: 99, Report: report}}},
			{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{Echo: int64(now), Members: 1 << 40, Promises: fresh}}},
			{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{Promises: fresh}}},
		} {
			require.NoError(t, s.conn.Send(m))
		}
		synctest.Wait()
		stale := func() bool {
			_, err := us.r.WaitFresh(t.Context(), 5*time.Second, true)
			return errors.Is(err, kv.ErrStale)
		}
		require.True(t, stale())
		require.NoError(t, s.conn.Send(&peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{Echo: int64(now), Promises: fresh}}}))
		synctest.Wait()
		require.False(t, stale(), "one that makes sense")
		s.conn.Close()
	})
}
