package txn

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func (r *region) ask(id kv.OpID) (kv.Outcome, error) {
	a, err := r.Outcome(context.Background(), kv.OutcomeRequest{Attempt: again(id, time.Second)})
	return a.Outcome, err
}

func TestANoSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := start(t, fs, 7)
	asked, failed := kv.OpID{1}, kv.OpID{2}
	outcome, err := r.ask(asked)
	require.NoError(t, err)
	require.Equal(t, kv.NotApplied, outcome)
	op := assign("x", "b")
	op.Expect = &kv.Expectation{Value: []byte("a")}
	_, err = r.try(again(failed, time.Second), op)
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	require.Zero(t, r.Stats().Commits, "what is refused is no commit")
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	require.NoError(t, r.store.Close())

	r = start(t, crashed, 9)
	defer func() { require.NoError(t, r.store.Close()) }()
	r.must(kv.Options{}, assign("x", "a"))
	for _, id := range []kv.OpID{asked, failed} {
		_, err = r.try(again(id, time.Second), op)
		require.ErrorIs(t, err, kv.ErrAborted)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		outcome, err = r.ask(id)
		require.NoError(t, err)
		require.Equal(t, kv.NotApplied, outcome)
	}
	require.Equal(t, "a", r.text("x"))
}

// endTurns ends turns of the incarnation, as time does.
func (r *region) endTurns(n int) {
	for range n {
		r.now += IncarnationTurn
		r.Expire()
	}
}

func TestWhatRetriesCameToIsFreedWhenNoFirstTryIsTakenAnyMore(t *testing.T) {
	r := fresh(t)
	denied, written := kv.OpID{1}, kv.OpID{2}
	outcome, err := r.ask(denied)
	require.NoError(t, err)
	require.Equal(t, kv.NotApplied, outcome)
	receipt, err := r.try(again(written, time.Second), increment("n", 1))
	require.NoError(t, err)
	for i := range MaxKnownIDs { // the window forgets both
		r.ids.note(idOf(i), fate{time: receipt.Commit.Time})
	}
	late := func(id kv.OpID) (kv.Receipt, error) { return r.try(first(id), increment("n", 1)) }
	for range 2 {
		require.True(t, r.ids.open)
		_, err = late(denied)
		require.ErrorIs(t, err, kv.ErrAborted)
		same, err := late(written)
		require.NoError(t, err)
		require.Equal(t, receipt.Commit, same.Commit)
		r.endTurns(1)
	}
	require.Equal(t, [2]map[kv.OpID]fate{{}, {}}, r.ids.spent)
	for _, id := range []kv.OpID{denied, written} {
		_, err = late(id)
		require.ErrorIs(t, err, kv.ErrUnavailable, "an incarnation too late")
	}
	_, err = r.try(again(denied, 2*time.Hour), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrAborted, "the log remembers")
	same, err := r.try(again(written, 2*time.Hour), increment("n", 1))
	require.NoError(t, err)
	require.Equal(t, receipt.Commit, same.Commit)
	require.Equal(t, int64(1), r.counter("n"))
}

func TestFirstTriesOfTheIncarnationBeforeAreTaken(t *testing.T) {
	require.Greater(t, IncarnationTurn, MaxLifetime, "a transaction's commit names the incarnation that it began in")
	r := fresh(t)
	for turn := range 4 {
		now := uint64(7 + 2*turn)
		require.Equal(t, now, r.must(kv.Options{}, increment("n", 1)).Incarnation)
		for _, named := range []uint64{now, now - 2, now - 4, now + 2} {
			_, err := r.try(kv.Attempt{ID: kv.OpID{byte(turn), byte(named)}, Incarnation: named}, increment("n", 1))
			if named == now || named == now-2 && turn > 0 {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, kv.ErrUnavailable)
			require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		}
		r.endTurns(1)
	}
}

// However many outcomes are asked, each answer is right and the table is bounded: turns end early.
func TestManyDenialsEndTurnsEarly(t *testing.T) {
	r := fresh(t)
	for i := range MaxSpentIDs {
		r.ids.spend(idOf(i), fate{denied: true})
	}
	id := kv.OpID{9, 9}
	outcome, err := r.ask(id)
	require.NoError(t, err)
	require.Equal(t, kv.NotApplied, outcome)
	require.Equal(t, uint64(7+4), r.Incarnation())
	_, err = r.try(first(id), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrUnavailable)
	_, err = r.try(again(id, time.Second), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Zero(t, r.counter("n"))
}

func TestNodeThatRefusesWritesLeavesTheOutcomeOpen(t *testing.T) {
	r := fresh(t)
	written := kv.OpID{1}
	_, err := r.try(first(written), increment("n", 1))
	require.NoError(t, err)
	r.Refuse(kv.Errorf(kv.KindReadOnly, "not yet"))
	outcome, err := r.ask(written)
	require.NoError(t, err)
	require.Equal(t, kv.Applied, outcome)
	_, err = r.ask(kv.OpID{2})
	require.ErrorIs(t, err, kv.ErrReadOnly)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	r.Refuse(nil)
	_, err = r.try(first(kv.OpID{2}), increment("n", 1))
	require.NoError(t, err, "nobody was told that it was not applied")
}

// A retry, or who asks for the outcome, finds the first try in the queue, which then gives up.
func TestWhoWaitsForATryThatGivesUpIsNext(t *testing.T) {
	r := fresh(t)
	h := held{make(chan struct{}), make(chan struct{})}
	require.NoError(t, r.store.Submit(t.Context(), h))
	<-h.begun
	ctx, cancel := context.WithCancel(t.Context())
	ids := []kv.OpID{{1}, {2}}
	gaveUp := make(chan error, len(ids))
	for _, id := range ids {
		go func() {
			_, err := r.Do(ctx, kv.Request{Options: kv.Options{Attempt: first(id)}, Ops: []kv.Op{increment("n", 1)}})
			gaveUp <- err
		}()
	}
	queued := func(n int) func() bool { return func() bool { return r.Stats().Queued == n } }
	require.Eventually(t, queued(2), 10*time.Second, time.Millisecond)
	retried, outcome := make(chan error, 1), make(chan kv.Outcome, 1)
	go func() {
		_, err := r.try(again(ids[0], time.Second), increment("n", 1))
		retried <- err
	}()
	go func() {
		answer, err := r.ask(ids[1])
		require.NoError(t, err)
		outcome <- answer
	}()
	cancel()
	for range ids {
		err := <-gaveUp
		require.ErrorIs(t, err, kv.ErrDeadline)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	}
	require.Eventually(t, queued(4), 10*time.Second, time.Millisecond, "with the two that gave up")
	close(h.release)
	require.NoError(t, <-retried)
	require.Equal(t, kv.NotApplied, <-outcome)
	_, err := r.try(first(ids[1]), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrAborted)
	require.Equal(t, int64(1), r.counter("n"))
	require.Zero(t, r.shell.openSnapshots())
}

// A retry that was not written says nothing of the tries beside it.
func TestRetryThatFailsForItselfLeavesTheOutcomeOpen(t *testing.T) {
	r := fresh(t)
	id := kv.OpID{1}
	attempt := again(id, time.Second)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ahead := kv.Token{Cluster: testCluster, Seen: clock.VectorOf(clock.Entry{Region: 2, Time: 1 << 60})}
	for name, try := range map[string]func() error{
		"token not here": func() error {
			_, err := r.Do(ended, kv.Request{Options: kv.Options{Attempt: attempt, Token: ahead}, Ops: []kv.Op{increment("n", 1)}})
			return err
		},
		"transaction gone": func() error {
			_, err := r.Commit(t.Context(), 1, kv.Options{Attempt: attempt})
			return err
		},
		"level": func() error {
			_, err := r.Commit(t.Context(), 1, kv.Options{Attempt: attempt, Durability: 99})
			return err
		},
		"too much": func() error {
			_, err := r.try(attempt, make([]kv.Op, kv.MaxOps+1)...)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := try()
			require.Error(t, err)
			require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
			var e *kv.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, id, e.ID)
		})
	}
	_, err := r.try(first(id), increment("n", 1))
	require.NoError(t, err)
}

func TestRetryThatGivesUpInTheQueueLeavesTheOutcomeOpen(t *testing.T) {
	r := fresh(t)
	h := held{make(chan struct{}), make(chan struct{})}
	r.flood(1) // so that a search is over before the writer is held
	_, err := r.try(again(kv.OpID{9}, time.Second), increment("n", 1))
	require.NoError(t, err)
	require.NoError(t, r.store.Submit(t.Context(), h))
	<-h.begun
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := r.Do(ctx, kv.Request{Options: kv.Options{Attempt: again(kv.OpID{1}, time.Second)}, Ops: []kv.Op{increment("n", 1)}})
		answered <- err
	}()
	require.Eventually(t, func() bool { return r.Stats().Queued == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	err = <-answered
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	close(h.release)
	_, err = r.try(first(kv.OpID{1}), increment("n", 1))
	require.NoError(t, err)
	require.Equal(t, int64(2), r.counter("n"))
}
