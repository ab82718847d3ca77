package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

var (
	laneOne = clock.Lane{Region: 1}
	laneTwo = clock.Lane{Region: 2}
)

// newExposure is region 1's, beside region 2, with a few records of each.
func newExposure(t testing.TB, change ...func(*causal.Start)) *Exposure {
	s := causal.Start{Self: laneOne, Lanes: []causal.Position{{Lane: laneOne, Held: 10, Durable: 10}, {Lane: laneTwo, Held: 20, Durable: 20}}}
	for _, c := range change {
		c(&s)
	}
	x, err := NewExposure(s)
	require.NoError(t, err)
	return x
}

func vec(one, two clock.Timestamp) clock.Vector {
	return clock.VectorOf(clock.Entry{Region: 1, Time: one}, clock.Entry{Region: 2, Time: two})
}

func applyTwo(t testing.TB, x *Exposure, time, prev clock.Timestamp) {
	h := kv.Header{Lane: laneTwo, Time: time, Prev: prev}
	require.Equal(t, causal.Apply, x.Offer(h, 0).Action)
	require.True(t, x.Ready(h))
	x.RemoteApplied(h)
}

func TestExposedAndAppliedFollowTheMachine(t *testing.T) {
	x := newExposure(t)
	x.LocalApplied(30, x.Exposed())
	require.Equal(t, vec(10, 20), x.Exposed())
	require.Equal(t, vec(30, 20), x.Applied())
	applyTwo(t, x, 40, 20)
	require.Equal(t, vec(10, 40), x.Exposed())
	require.Equal(t, vec(10, 20), x.Durable())
	x.RemoteDurable(laneTwo, 40)
	x.LocalDurable(30)
	require.Equal(t, vec(30, 40), x.Exposed())
	require.Equal(t, vec(30, 40), x.Durable())
	x.LocalSafe(30, 50)
	x.Heard(laneTwo, 40, 60)
	require.Equal(t, vec(50, 60), x.Raw())
	require.Equal(t, vec(30, 40), x.Exposed())
	last, safe := x.Promise(laneTwo)
	require.Equal(t, []clock.Timestamp{40, 60}, []clock.Timestamp{last, safe})
}

func TestNewExposureRefusesABadStart(t *testing.T) {
	_, err := NewExposure(causal.Start{Self: laneOne})
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestDroppedRecordsCanBeOfferedAgain(t *testing.T) {
	x := newExposure(t)
	h := kv.Header{Lane: laneTwo, Time: 40, Prev: 20}
	require.Equal(t, causal.Apply, x.Offer(h, 0).Action)
	require.Equal(t, causal.Duplicate, x.Offer(h, 0).Action)
	x.Dropped(laneTwo)
	require.Equal(t, causal.Apply, x.Offer(h, 0).Action)
}

func TestReportsSettleWhatBothHave(t *testing.T) {
	one := newExposure(t)
	two := newExposure(t, func(s *causal.Start) { s.Self = laneTwo })
	require.False(t, one.Receive(one.Report()))
	require.True(t, one.Receive(two.Report()))
	horizon, settled := one.Cuts()
	require.Equal(t, vec(10, 20), horizon)
	require.Equal(t, vec(10, 20), settled)
	require.Equal(t, vec(10, 20), one.Stable())
	require.Equal(t, vec(10, 20), one.Everywhere())
	r, ok := one.Reported(2)
	require.True(t, ok)
	require.Equal(t, vec(10, 20), r.Durable)
}

func TestAddRegionStallsEverywhere(t *testing.T) {
	x := newExposure(t)
	three := clock.Lane{Region: 3}
	require.NoError(t, x.AddRegion(three))
	require.ErrorIs(t, x.AddRegion(clock.Lane{Region: 3, Slot: 1}), kv.ErrInvalid)
	require.Equal(t, []clock.Lane{{}, laneOne, laneTwo, three}, x.Members())
	require.Empty(t, x.Everywhere())
}

func TestRecoveringEnds(t *testing.T) {
	x := newExposure(t, func(s *causal.Start) { s.Recovering = true })
	require.True(t, x.Recovering())
	x.Recovered()
	require.False(t, x.Recovering())
}

func TestHoldsKeepTheHorizon(t *testing.T) {
	x := newExposure(t)
	_, err := x.Hold(vec(10, 19))
	require.ErrorIs(t, err, kv.ErrTooOld)
	h, err := x.Hold(vec(10, 20))
	require.NoError(t, err)
	applyTwo(t, x, 40, 20)
	p, err := x.Pin()
	require.NoError(t, err)
	require.Equal(t, vec(10, 20), p.At())
	x.Release(p)
	horizon, _ := x.Cuts()
	require.Equal(t, vec(10, 20), horizon)
	x.Release(h)
	x.Age() // nobody is known to serve, so nothing is uniform
	x.Age()
	horizon, _ = x.Cuts()
	require.Equal(t, vec(10, 40), horizon)
}

func TestWaitReturnsOnceAllEntriesAreReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExposure(t)
		var done atomic.Int32
		wait := func(v clock.Vector, own bool) {
			go func() {
				if x.Wait(t.Context(), v, own) == nil {
					done.Add(1)
				}
			}()
			synctest.Wait()
		}
		wait(vec(10, 20), false)
		require.EqualValues(t, 1, done.Load(), "here already")
		wait(vec(30, 40), true)
		wait(vec(30, 40), false)
		x.LocalApplied(30, x.Exposed())
		applyTwo(t, x, 35, 20)
		synctest.Wait()
		require.EqualValues(t, 1, done.Load())
		applyTwo(t, x, 40, 35)
		synctest.Wait()
		require.EqualValues(t, 2, done.Load(), "applied is enough for those who say so")
		x.LocalDurable(30)
		synctest.Wait()
		require.EqualValues(t, 3, done.Load())
		require.Zero(t, x.waiters.count)
		require.Empty(t, x.waiters.queues)
	})
}

func TestWaitIsSatisfiedByASafeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExposure(t)
		done := make(chan error, 1)
		go func() { done <- x.Wait(t.Context(), vec(10, 25), false) }()
		synctest.Wait()
		x.Heard(laneTwo, 20, 30)
		require.NoError(t, <-done)
	})
}

func TestWaitDurableWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExposure(t)
		applyTwo(t, x, 40, 20)
		done := make(chan error, 1)
		go func() { done <- x.WaitDurable(t.Context(), vec(10, 40)) }()
		synctest.Wait()
		require.Empty(t, done)
		x.RemoteDurable(laneTwo, 40)
		require.NoError(t, <-done)
	})
}

func TestWaitSaysWhyItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExposure(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := x.Wait(ctx, vec(10, 40), false)
		require.ErrorIs(t, err, kv.ErrStale)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "region 2 was here up to 0.0.20 only, 0s before 0.0.40, which was asked for")
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))

		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		err = x.Wait(ctx, vec(10, 40), true)
		require.ErrorIs(t, err, kv.ErrDeadline)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, x.Wait(ctx, vec(10, 20), false), "what is here needs no wait")
		require.Zero(t, x.waiters.count)
	})
}

func TestAWaitThatIsReachedAsItsContextEndsSucceeds(t *testing.T) {
	x := newExposure(t)
	w, err := x.enter(goal{region: 2}, 40)
	require.NoError(t, err)
	applyTwo(t, x, 40, 20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, x.giveUp(ctx, w))
}

func TestWaitersLeaveInTheOrderOfTheirTimes(t *testing.T) {
	x := newExposure(t)
	var ws []*waiter
	for _, time := range []clock.Timestamp{70, 30, 50, 40, 60} {
		w, err := x.enter(goal{region: 2}, time)
		require.NoError(t, err)
		ws = append(ws, w)
	}
	x.waiters.remove(ws[2])
	x.waiters.remove(ws[2])
	for prev, time := clock.Timestamp(20), clock.Timestamp(30); time <= 70; prev, time = time, time+10 {
		applyTwo(t, x, time, prev)
		for _, w := range ws {
			require.Equal(t, w.index < 0, w.time <= time || w.time == 50, "at %d: %d", time, w.time)
		}
	}
	require.Zero(t, x.waiters.count)
	require.Empty(t, x.waiters.queues)
}

func TestWaitsAreBounded(t *testing.T) {
	x := newExposure(t)
	x.waiters.count = MaxWaiters
	require.ErrorIs(t, x.Wait(t.Context(), vec(10, 40), false), kv.ErrOverloaded)
}

func TestStopEndsWaitsNowAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExposure(t)
		done := make(chan error, 1)
		go func() { done <- x.Wait(t.Context(), vec(10, 40), false) }()
		synctest.Wait()
		x.Stop()
		require.ErrorIs(t, <-done, kv.ErrUnavailable)
		require.ErrorIs(t, x.WaitDurable(t.Context(), vec(11, 20)), kv.ErrUnavailable)
		require.NoError(t, x.Wait(t.Context(), vec(10, 20), false))
		applyTwo(t, x, 40, 20)
		require.NoError(t, x.Wait(t.Context(), vec(10, 40), false), "the rest goes on")
	})
}

func TestOpenWaitsForItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExposure(t)
		got := make(chan Snapshot, 1)
		go func() {
			s, err := x.Open(t.Context(), OpenOptions{Token: vec(30, 40)})
			if err == nil {
				got <- s
			}
		}()
		synctest.Wait()
		applyTwo(t, x, 40, 20)
		synctest.Wait()
		require.Empty(t, got)
		x.LocalApplied(30, x.Exposed())
		s := <-got
		require.Equal(t, vec(30, 40), s.At(), "a token above E[own] is read at what is applied")
		require.Equal(t, vec(10, 40), x.Exposed())
		require.Equal(t, 1, x.OpenSnapshots())
		s.Close()
		require.Zero(t, x.OpenSnapshots())
	})
}

func TestOpenFailures(t *testing.T) {
	x := newExposure(t, func(s *causal.Start) { s.MaxOpen = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := x.Open(ctx, OpenOptions{Token: vec(10, 40)})
	require.ErrorIs(t, err, kv.ErrDeadline)
	s, err := x.Open(ctx, OpenOptions{Applied: true, Writes: true})
	require.NoError(t, err)
	_, err = x.Open(ctx, OpenOptions{})
	require.ErrorIs(t, err, kv.ErrOverloaded)
	s.Close()
	require.Panics(t, s.Close)
	require.Zero(t, x.OpenSnapshots(), "a panic leaves the lock free")
}

func TestWatchesShareSignals(t *testing.T) {
	x := newExposure(t)
	w, err := x.Watch()
	require.NoError(t, err)
	<-w.C()
	applyTwo(t, x, 40, 20)
	x.RemoteDurable(laneTwo, 40)
	<-w.C()
	require.Empty(t, w.C())
	x.Heard(laneTwo, 40, 50)
	require.Empty(t, w.C(), "a heartbeat wakes no sender")
	w.Stop()
	applyTwo(t, x, 60, 40)
	require.Empty(t, w.C())
	for range MaxWatches {
		_, err = x.Watch()
		require.NoError(t, err)
	}
	_, err = x.Watch()
	require.ErrorIs(t, err, kv.ErrOverloaded)
}

// TestSnapshotsStayAboveTheHorizonUnderLoad opens, waits and closes on several goroutines while
// local and remote groups come in, reports are made and the cuts move.
func TestSnapshotsStayAboveTheHorizonUnderLoad(t *testing.T) {
	const groups = 2000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	x := newExposure(t)
	var wg sync.WaitGroup
	failed := make(chan error, 16)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	run(func() error { return writeLocally(ctx, x, groups) })
	run(func() error { return receiveRemotely(x, groups) })
	for stream := range uint64(4) {
		run(func() error { return readAll(ctx, x, rand.New(rand.NewPCG(seed, stream)), groups) })
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	require.Zero(t, x.OpenSnapshots())
	require.Zero(t, x.waiters.count)
}

// writeLocally commits groups with snapshots of their own, on disk one behind.
func writeLocally(ctx context.Context, x *Exposure, groups clock.Timestamp) error {
	for i := range groups {
		s, err := x.Open(ctx, OpenOptions{Writes: true, Applied: i%2 == 0})
		if err != nil {
			return err
		}
		x.LocalApplied(100+i, s.At())
		s.Close()
		if i > 0 {
			x.LocalDurable(100 + i - 1)
		}
		x.Report()
	}
	x.LocalDurable(100 + groups - 1)
	return nil
}

func receiveRemotely(x *Exposure, groups clock.Timestamp) error {
	prev := clock.Timestamp(20)
	for i := range groups {
		h := kv.Header{Lane: laneTwo, Time: 100 + i, Prev: prev}
		if v := x.Offer(h, 0); v.Action != causal.Apply {
			return fmt.Errorf("offered %v: %v", h, v)
		}
		prev = h.Time
		x.RemoteApplied(h)
		x.RemoteDurable(laneTwo, h.Time)
		e := x.Exposed()
		x.Receive(causal.Report{Region: 2, Number: uint64(h.Time), Durable: e, Floor: e, Safe: h.Time})
	}
	return nil
}

// readAll waits for one cut after the other, and checks that what it opens includes it, and the
// horizon as long as it is open.
func readAll(ctx context.Context, x *Exposure, r *rand.Rand, groups clock.Timestamp) error {
	last := 100 + groups - 1
	for one, two := clock.Timestamp(100), clock.Timestamp(100); one < last || two < last; {
		one, two = min(last, one+clock.Timestamp(r.IntN(50))), min(last, two+clock.Timestamp(r.IntN(50)))
		s, err := x.Open(ctx, OpenOptions{Token: vec(one, two)})
		if err != nil {
			return err
		}
		h, settled := x.Cuts()
		if !s.At().Includes(h) || !s.At().Includes(vec(one, two)) || !h.Includes(settled) {
			return fmt.Errorf("snapshot %s for token %d %d: horizon %s, settled %s", s.At(), one, two, h, settled)
		}
		s.Close()
	}
	return nil
}

func BenchmarkExposed(b *testing.B) {
	x := newExposure(b)
	b.ReportAllocs()
	for b.Loop() {
		x.Exposed()
	}
}

func BenchmarkOpenClose(b *testing.B) {
	x := newExposure(b)
	ctx, token := context.Background(), vec(10, 20)
	for _, want := range []struct {
		name string
		OpenOptions
	}{{"eventual", OpenOptions{}}, {"token", OpenOptions{Token: token}}, {"writes", OpenOptions{Token: token, Writes: true}}} {
		b.Run(want.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, _ := x.Open(ctx, want.OpenOptions)
				s.Close()
			}
		})
	}
}

func BenchmarkOpenCloseParallel(b *testing.B) {
	x := newExposure(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s, _ := x.Open(context.Background(), OpenOptions{})
			s.Close()
		}
	})
}

func BenchmarkLocalGroup(b *testing.B) {
	x := newExposure(b)
	t := clock.Timestamp(100)
	b.ReportAllocs()
	for b.Loop() {
		t++
		x.LocalApplied(t, x.Exposed())
		x.LocalDurable(t)
	}
}

// BenchmarkRemoteGroupWithWaiters measures a step of E while many calls wait for later ones.
func BenchmarkRemoteGroupWithWaiters(b *testing.B) {
	for _, waiting := range []int{0, 10_000} {
		b.Run(fmt.Sprint(waiting), func(b *testing.B) {
			x := newExposure(b)
			for range waiting {
				_, err := x.enter(goal{region: 2}, 1<<40)
				require.NoError(b, err)
			}
			h := kv.Header{Lane: laneTwo, Time: 20}
			b.ReportAllocs()
			for b.Loop() {
				h.Prev, h.Time = h.Time, h.Time+1
				x.Offer(h, 1<<40)
				x.RemoteApplied(h)
			}
		})
	}
}
