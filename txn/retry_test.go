package txn

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func first(id kv.OpID) kv.Attempt { return kv.Attempt{ID: id, Incarnation: 7} }

func again(id kv.OpID, age time.Duration) kv.Attempt {
	return kv.Attempt{ID: id, Retry: true, Age: age, Lane: clock.Lane{Region: 1}}
}

func (r *region) try(a kv.Attempt, ops ...kv.Op) (kv.Receipt, error) {
	resp, err := r.Do(context.Background(), kv.Request{Options: kv.Options{Attempt: a}, Ops: ops})
	return resp.Receipt, err
}

func TestRetryGetsTheFirstOutcome(t *testing.T) {
	r := fresh(t)
	id := kv.OpID{1}
	one, err := r.try(first(id), increment("n", 1))
	require.NoError(t, err)
	two, err := r.try(again(id, time.Second), increment("n", 1))
	require.NoError(t, err)
	require.Equal(t, one.Commit, two.Commit)
	require.True(t, two.Token.Seen.Includes(clock.VectorOf(clock.Entry(one.Commit))))
	_, err = r.try(first(id), increment("n", 1)) // a late copy of the first try
	require.NoError(t, err)
	require.Equal(t, int64(1), r.counter("n"))
}

// A retry may be held up on its way for any time: its age, of when it was sent, says nothing then.
func TestRetryThatNamesAReadingMayComeHoweverLate(t *testing.T) {
	const logAge = 2 * time.Hour
	r := start(t, vfs.NewCrashableMem(), 7)
	late := func(id kv.OpID, told clock.Timestamp) kv.Attempt {
		a := again(id, 0)
		a.After = told
		return a
	}
	told := r.must(kv.Options{}, increment("m", 1))
	lost, never := kv.OpID{1}, kv.OpID{2}
	one, err := r.try(first(lost), increment("n", 1))
	require.NoError(t, err)
	require.Greater(t, one.Commit.Time, told.Reading())
	r.runs(time.Hour, logAge)
	r.must(kv.Options{}, increment("m", 1)) // what was applied before is on disk
	r = r.crashed(8)
	defer func() { require.NoError(t, r.store.Close()) }()
	two, err := r.try(late(lost, told.Reading()), increment("n", 1))
	require.NoError(t, err)
	require.Equal(t, one.Commit, two.Commit)
	for range 2 {
		_, err = r.try(late(never, told.Reading()), increment("n", 1))
		require.NoError(t, err)
	}
	require.Equal(t, int64(2), r.counter("n"))

	r.runs(3*logAge, logAge)
	require.NotZero(t, r.store.LogStats(r.lane, 0).Truncated)
	_, err = r.try(late(kv.OpID{3}, told.Reading()), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrTooOld)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
}

func TestReadingsAreNeverZero(t *testing.T) {
	r := fresh(t)
	status := kv.Status{Lane: r.lane}
	require.NotZero(t, status.Reading(), "of a lane that has written nothing")
	before := r.must(kv.Options{}, increment("n", 1))
	next := r.must(kv.Options{}, increment("n", 1))
	require.Greater(t, next.Commit.Time, before.Reading())
}

func TestRetryOfWhatNeverArrivedIsWrittenOnce(t *testing.T) {
	r := fresh(t)
	id := kv.OpID{2}
	_, err := r.try(again(id, time.Second), increment("n", 1))
	require.NoError(t, err)
	_, err = r.try(first(id), increment("n", 1)) // overtaken by its own retry
	require.NoError(t, err)
	require.Equal(t, int64(1), r.counter("n"))
}

func TestRetryAfterACrashFindsItInTheLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := start(t, fs, 7)
	written, lost := kv.OpID{1}, kv.OpID{2}
	_, err := r.try(first(written), increment("n", 1))
	require.NoError(t, err)
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	require.NoError(t, r.store.Close())

	r = start(t, crashed, 8)
	defer func() { require.NoError(t, r.store.Close()) }()
	_, err = r.try(first(lost), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrUnavailable, "a first try for the process that is gone")
	require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
	for range 3 {
		_, err = r.try(again(written, time.Second), increment("n", 1))
		require.NoError(t, err)
	}
	require.Equal(t, int64(1), r.counter("n"))
	_, err = r.try(again(lost, time.Second), increment("n", 1))
	require.NoError(t, err)
	require.Equal(t, int64(2), r.counter("n"))
}

func TestConcurrentTriesAreWrittenOnce(t *testing.T) {
	r := fresh(t)
	var wg sync.WaitGroup
	for i := range 50 {
		id := kv.OpID{byte(i), 1}
		for j := range 4 {
			a := first(id)
			if j > 0 {
				a = again(id, time.Second)
			}
			wg.Go(func() {
				if _, err := r.try(a, increment("n", 1)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	require.Equal(t, int64(50), r.counter("n"))
	require.Empty(t, r.ids.underWay)
	require.Zero(t, r.shell.openSnapshots())
}

// TestRetryIsAnsweredOnceTheFirstTryIsOnDisk: the log shows a record that a crash would still lose.
func TestRetryIsAnsweredOnceTheFirstTryIsOnDisk(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := start(t, fs, 7)
	id := kv.OpID{9}
	_, err := r.Do(t.Context(), kv.Request{
		Options: kv.Options{Attempt: first(id), Durability: kv.DurabilityApplied}, Ops: []kv.Op{increment("n", 1)},
	})
	require.NoError(t, err)
	_, err = r.try(again(id, time.Second), increment("n", 1))
	require.NoError(t, err)
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	require.NoError(t, r.store.Close())
	r = start(t, crashed, 8)
	defer func() { require.NoError(t, r.store.Close()) }()
	require.Equal(t, int64(1), r.counter("n"))
}

func TestFailedTryMayBeTriedAgain(t *testing.T) {
	r := fresh(t)
	id := kv.OpID{3}
	op := assign("r", "x")
	op.Expect = &kv.Expectation{Value: []byte("set first")}
	_, err := r.try(first(id), op)
	require.ErrorIs(t, err, kv.ErrAborted)
	r.must(kv.Options{}, assign("r", "set first"))
	_, err = r.try(again(id, time.Second), op)
	require.NoError(t, err)
	require.Empty(t, r.ids.underWay)
}

func TestOutcomeAnswersAndANoStays(t *testing.T) {
	r := fresh(t)
	done, never := kv.OpID{4}, kv.OpID{5}
	receipt, err := r.try(first(done), increment("n", 1))
	require.NoError(t, err)
	ask := func(id kv.OpID) kv.OutcomeAnswer {
		a, err := r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: again(id, time.Second)})
		require.NoError(t, err)
		return a
	}
	require.Equal(t, receipt.Commit, ask(done).Commit)
	require.Equal(t, kv.Applied, ask(done).Outcome)
	require.Equal(t, kv.NotApplied, ask(never).Outcome)
	for _, a := range []kv.Attempt{first(never), again(never, time.Second)} {
		_, err = r.try(a, increment("n", 1))
		require.ErrorIs(t, err, kv.ErrAborted)
	}
	require.Equal(t, int64(1), r.counter("n"))
	_, err = r.Outcome(t.Context(), kv.OutcomeRequest{})
	require.ErrorIs(t, err, kv.ErrInvalid)
}

func TestRetriesThatCannotBeAnswered(t *testing.T) {
	r := fresh(t)
	foreign := again(kv.OpID{6}, time.Second)
	foreign.Lane.Region = 2
	for name, a := range map[string]kv.Attempt{
		"another region's": foreign,
		"too old":          again(kv.OpID{6}, MaxRetryAge+1),
		"from the future":  again(kv.OpID{6}, -time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.try(a, increment("n", 1))
			require.ErrorIs(t, err, kv.ErrTooOld)
			require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
			_, err = r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: a})
			require.ErrorIs(t, err, kv.ErrTooOld)
		})
	}
	require.Zero(t, r.counter("n"))
}

func TestTokenOfAWriteThatACrashTookBackIsLost(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := start(t, fs, 7)
	r.must(kv.Options{}, increment("n", 1))
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	// After the clone was taken, so that the crash takes it back.
	receipt := r.must(kv.Options{Durability: kv.DurabilityApplied}, increment("n", 10))
	require.NoError(t, r.store.Close())

	r = start(t, crashed, 8)
	defer func() { require.NoError(t, r.store.Close()) }()
	_, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Token: receipt.Token}})
	require.ErrorIs(t, err, kv.ErrLost)
	require.Equal(t, int64(1), r.counter("n"))
	again := r.must(kv.Options{}, increment("n", 1))
	require.Greater(t, again.Commit.Time, receipt.Commit.Time, "no timestamp is used twice")
}

func TestOrderlyStopLeavesNoVoid(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := start(t, fs, 7)
	receipt := r.must(kv.Options{Durability: kv.DurabilityApplied}, increment("n", 10))
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.store.Close())
	r = start(t, fs, 8)
	defer func() { require.NoError(t, r.store.Close()) }()
	resp, err := r.Do(t.Context(), kv.Request{Options: kv.Options{Token: receipt.Token}})
	require.NoError(t, err)
	require.True(t, resp.Receipt.Snapshot.Includes(receipt.Token.Seen))
	log, err := r.store.Log(r.lane, receipt.Commit.Time, 1<<20)
	require.NoError(t, err)
	require.Empty(t, log)
}

func TestTickRaisesTheSafeTime(t *testing.T) {
	r := fresh(t)
	require.NoError(t, r.Tick(t.Context()))
	before := wall()
	require.NoError(t, r.Tick(t.Context()))
	raw := r.shell.machine.Raw().At(1)
	require.GreaterOrEqual(t, raw, clock.At(before))
	receipt := r.must(kv.Options{}, increment("n", 1))
	require.Greater(t, receipt.Commit.Time, raw, "nothing is committed at or below a safe time")
}

// The process is stopped for a minute right after a commit; a retry waits in its socket meanwhile, and
// states the age that it had when it was sent.
func TestRetryThatWaitedForAStoppedProcessIsFound(t *testing.T) {
	for name, beaten := range map[string]bool{"read before the next heartbeat": false, "read after it": true} {
		t.Run(name, func(t *testing.T) {
			r := fresh(t)
			r.wall = func() clock.Wall { return wall().Add(r.now) }
			beat := func(d time.Duration) { r.now += d; r.Expire() }
			for range 20 {
				beat(5 * time.Second)
			}
			id := kv.OpID{1}
			receipt, err := r.try(first(id), increment("n", 1))
			require.NoError(t, err)
			r.now += time.Minute
			if beaten {
				r.Expire()
				beat(5 * time.Second)
			}
			same, err := r.try(again(id, time.Second), increment("n", 1))
			require.NoError(t, err)
			require.Equal(t, receipt.Commit, same.Commit)
			require.Equal(t, int64(1), r.counter("n"))
			for range 20 {
				beat(5 * time.Second)
			}
			require.Equal(t, 5*time.Second, r.beats.late(r.uptime()), "stalls are forgotten")
		})
	}
}
