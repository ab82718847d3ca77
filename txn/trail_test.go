package txn

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// crashed is the region after a crash that loses what is not synced.
func (r *region) crashed(incarnation uint64) *region {
	r.t.Helper()
	fs := r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	require.NoError(r.t, r.store.Close())
	return start(r.t, fs, incarnation)
}

// set sets the wall clock to be so much ahead.
func (r *region) set(ahead time.Duration) {
	r.wall = func() clock.Wall { return wall().Add(ahead) }
}

// runs lets time pass as node does, up to d, with a write now and then, and has the log truncated by age.
func (r *region) runs(d, logAge time.Duration) {
	r.t.Helper()
	for end := r.now + d; r.now < end; {
		r.now += 5 * time.Second
		r.must(kv.Options{Durability: kv.DurabilityApplied}, increment("m", 1))
		r.Expire()
		if t := r.KeepLog(logAge); t > r.store.LogStats(r.lane, 0).Truncated {
			r.change(func(b *storage.Batch) { b.TruncateLog(r.lane, t) })
		}
	}
}

// change writes a batch and waits until it is on disk.
func (r *region) change(build func(b *storage.Batch)) {
	r.t.Helper()
	require.NoError(r.t, r.run(r.t.Context(), func(b *storage.Batch) error { build(b); b.Sync(); return nil }, func() {}))
}

// A first try is found by its retry although somebody set the wall clock in between.
func TestStepsOfTheWallClockHideNoFirstTry(t *testing.T) {
	for name, end := range map[string]func(r *region) *region{
		"no end":  func(r *region) *region { return r },
		"a crash": func(r *region) *region { return r.crashed(8) },
		"a renewal": func(r *region) *region { // in the same process
			require.NoError(r.t, r.Stop(r.t.Context()))
			require.NoError(r.t, r.store.Close())
			next := prepareAt(r.t, r.fs, 8, r.now)
			require.NoError(r.t, next.Start(r.t.Context(), 0))
			return next
		},
	} {
		for _, steps := range [][2]time.Duration{{time.Hour, time.Hour}, {time.Hour, 0}, {-time.Hour, 0}, {0, -time.Hour}} {
			t.Run(name, func(t *testing.T) {
				r := start(t, vfs.NewCrashableMem(), 7)
				r.runs(5*time.Minute, time.Hour)
				before, id, after := kv.OpID{1}, kv.OpID{2}, kv.OpID{3}
				write := func(id kv.OpID) {
					_, err := r.try(first(id), increment("n", 1))
					require.NoError(t, err)
				}
				write(before)
				r.set(steps[0])
				write(id)
				r.set(steps[1])
				write(after)
				r = end(r)
				r.set(steps[1])
				defer func() { require.NoError(t, r.store.Close()) }()
				for _, id := range []kv.OpID{before, id, after} {
					_, err := r.try(again(id, 2*time.Second), increment("n", 1))
					require.NoError(t, err)
				}
				require.Equal(t, int64(3), r.counter("n"), "steps %s", steps)
			})
		}
	}
}

// What lies within the time for which the log is kept is answered, in the process and over a restart;
// what may lie before it is said to be unknown.
func TestAgesUpToThatOfTheLogAreAnswered(t *testing.T) {
	const logAge = time.Hour
	for name, orderly := range map[string]bool{"crash": false, "orderly stop": true} {
		t.Run(name, func(t *testing.T) {
			r := start(t, vfs.NewCrashableMem(), 7)
			written := func(id kv.OpID) {
				_, err := r.try(kv.Attempt{ID: id, Incarnation: r.Incarnation()}, increment("n", 1))
				require.NoError(t, err)
			}
			for i := range 12 {
				written(kv.OpID{1, byte(i)})
				r.runs(15*time.Minute, logAge)
			}
			require.NotZero(t, r.store.LogStats(r.lane, 0).Truncated)
			recent := kv.OpID{2}
			written(recent)
			r.runs(30*time.Minute, logAge)
			r.must(kv.Options{}, increment("m", 1)) // the marks are on disk with it
			check := func(recently, never kv.OpID) {
				outcome, err := r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: again(recently, logAge)})
				require.NoError(t, err)
				require.Equal(t, kv.Applied, outcome.Outcome)
				outcome, err = r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: again(never, logAge)})
				require.NoError(t, err)
				require.Equal(t, kv.NotApplied, outcome.Outcome)
				_, err = r.try(again(kv.OpID{1, 0}, 4*time.Hour), increment("n", 1))
				require.ErrorIs(t, err, kv.ErrTooOld)
				require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
			}
			check(recent, kv.OpID{3})
			if orderly {
				require.NoError(t, r.Stop(t.Context()))
			}
			r = r.crashed(8)
			defer func() { require.NoError(t, r.store.Close()) }()
			check(recent, kv.OpID{4})
			r.runs(time.Minute, logAge)
			check(recent, kv.OpID{5})
			require.Equal(t, int64(13), r.counter("n"))
		})
	}
}

// A young store's log is complete, and so answers every age.
func TestTheLogOfAYoungStoreAnswersEveryAge(t *testing.T) {
	r := fresh(t)
	for i, age := range []time.Duration{0, time.Hour, MaxRetryAge} {
		r.change(func(b *storage.Batch) { b.TruncateLog(r.lane, clock.At(wall().Add(-time.Hour))) })
		answer, err := r.Outcome(t.Context(), kv.OutcomeRequest{Attempt: again(kv.OpID{byte(i + 1)}, age)})
		require.NoError(t, err)
		require.Equal(t, kv.NotApplied, answer.Outcome)
	}
}

// Marks may be dropped, but those that are left lead to nothing that is too new.
func TestTrailNeverLeadsTooFar(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var kept trail
	var all []mark
	var m mark
	for range 4 * maxMarks {
		m.ran += time.Duration(random.IntN(10))
		m.last += clock.Timestamp(random.IntN(3))
		kept.add(m)
		all = append(all, m)
		require.Less(t, len(kept.marks), maxMarks)
	}
	for range 1000 {
		i := random.IntN(len(all))
		found := kept.above(all[i].ran)
		for i+1 < len(all) && all[i+1].ran == all[i].ran {
			i++
		}
		require.LessOrEqual(t, found, all[i].last, "seed %d", seed)
		if i > 64 {
			require.NotZero(t, found, "seed %d", seed)
		}
	}
	require.Zero(t, kept.above(-1))
}

// The ring of durable marks goes round, and is read in order.
func TestDurableMarksGoRound(t *testing.T) {
	r := start(t, vfs.NewCrashableMem(), 7)
	total := int(keptMarks) + 10
	for range total {
		r.now += noteEvery
		r.must(kv.Options{Durability: kv.DurabilityApplied}, increment("n", 1))
		r.Expire()
	}
	r.must(kv.Options{}, increment("n", 1))
	had := r.trail
	r = r.crashed(8)
	defer func() { require.NoError(t, r.store.Close()) }()
	require.Equal(t, had.next, r.trail.next)
	require.Equal(t, had.noted, r.trail.base)
	require.Equal(t, had.latest, r.trail.latest)
	require.Len(t, r.trail.marks, int(keptMarks)+1, "and that of the start")
	for _, m := range r.trail.marks[:keptMarks] {
		require.Equal(t, m.last, had.above(m.ran))
	}
}

func TestAMarkThatFindsNoRoomIsMadeDurableLater(t *testing.T) {
	r := start(t, vfs.NewCrashableMem(), 7)
	require.NoError(t, r.store.Close())
	r.now += 2 * noteEvery
	r.Expire()
	require.Zero(t, r.trail.noted)
	require.Zero(t, r.trail.next)
}

func TestMalformedMarksKeepTheLaneFromStarting(t *testing.T) {
	for _, key := range []string{ranKey, markPrefix + "0000"} {
		t.Run(key, func(t *testing.T) {
			r := start(t, vfs.NewCrashableMem(), 7)
			r.change(func(b *storage.Batch) { b.SetMeta(key, []byte("?")) })
			require.NoError(t, r.store.Close())
			r = prepare(t, r.fs, 8)
			require.ErrorIs(t, r.Start(t.Context(), 0), kv.ErrCorrupt)
			require.NoError(t, r.store.Close())
		})
	}
}

// A node may wait long until its lane can start, and looks after it meanwhile; a renewed one has a
// monotonic clock that began long before. Neither is taken for a stall or for running time.
func TestTheTimeBeforeTheStartOfALaneDoesNotCount(t *testing.T) {
	r := start(t, vfs.NewCrashableMem(), 7)
	r.runs(10*time.Minute, time.Hour)
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.store.Close())
	ran := r.ran()
	next := prepareAt(t, r.fs, 8, 72*time.Hour)
	defer func() { require.NoError(t, next.store.Close()) }()
	for range 12 {
		next.now += 5 * time.Second
		next.Expire()
	}
	require.NoError(t, next.Start(t.Context(), 0))
	require.Equal(t, ran, next.ran())
	require.Equal(t, 5*time.Second, next.beats.late(next.uptime()))
	require.Equal(t, next.here().last, next.trail.above(ran))
}

func TestALogIsKeptWholeUntilTheLaneHasStarted(t *testing.T) {
	r := prepare(t, vfs.NewCrashableMem(), 7)
	r.now = 48 * time.Hour
	r.Expire()
	require.Zero(t, r.KeepLog(time.Nanosecond))
	require.NoError(t, r.store.Close())
}

// A commit with an id and no effects would be read as a denial.
func TestAnOperationThatWritesNothingIsRefused(t *testing.T) {
	r := fresh(t)
	for _, a := range []kv.Attempt{first(kv.OpID{1}), again(kv.OpID{1}, time.Second)} {
		res := r.commit(t.Context(), newCommit(a, kv.DurabilityLocal))
		require.ErrorIs(t, res.err, kv.ErrInvalid)
		require.False(t, res.denied)
	}
	records, err := r.store.Log(r.lane, 0, 1<<20)
	require.NoError(t, err)
	require.Empty(t, records)
	_, err = r.try(again(kv.OpID{1}, time.Second), increment("n", 1))
	require.NoError(t, err)
}
