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
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// flood logs n operations with the ids idOf(0)... as an earlier process would have, each an add of 1
// to counter "flood", and returns the groups' timestamps by operation.
func (r *region) flood(n int) []clock.Timestamp {
	r.t.Helper()
	target, err := crdt.Resolve(increment("flood", 1))
	require.NoError(r.t, err)
	times := make([]clock.Timestamp, n)
	for first := 0; first < n; first += MaxGroupTxns {
		last := min(n, first+MaxGroupTxns)
		var time clock.Timestamp
		build := func(b *storage.Batch) error {
			time = r.hybrid.Next(r.wall(), 0)
			rec := kv.Record{Header: kv.Header{Lane: r.lane, Kind: kv.RecordGroup, Time: time, Prev: b.Applied(r.lane)}}
			for i := first; i < last; i++ {
				effect := kv.Effect{Object: object("flood", crdt.Counter), Op: target.Op}
				rec.Txns = append(rec.Txns, kv.Txn{ID: idOf(i), Effects: []kv.Effect{effect}})
				times[i] = time
			}
			b.Sync()
			return b.Apply(&rec, rec.Append(nil))
		}
		require.NoError(r.t, r.run(r.t.Context(), build, func() {
			r.exposure.LocalApplied(time, nil)
			r.exposure.LocalDurable(time)
		}))
	}
	return times
}

// gather holds back searches until n operations wait for one, then lets them run and returns when
// they are over.
func (r *region) gather(n int) (let func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	require.False(r.t, r.ids.looking)
	r.ids.looking = true
	return func() {
		require.Eventually(r.t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.ids.waiting == n }, 30*time.Second, time.Millisecond)
		r.searchAll()
	}
}

// requireNobodySearches checks that searches leave nothing behind.
func (r *region) requireNobodySearches() {
	r.t.Helper()
	r.searches.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.False(r.t, r.ids.looking)
	require.Zero(r.t, r.ids.waiting)
	require.Empty(r.t, r.ids.pins)
	require.Nil(r.t, r.ids.next)
	require.Empty(r.t, r.ids.underWay)
}

// More ids lie within the retries' age than the table holds: each storm is answered by one search.
func TestRetryStormTakesOneSearch(t *testing.T) {
	r := fresh(t)
	const logged = MaxKnownIDs + 5*MaxGroupTxns
	times := r.flood(logged)
	const seed, callers = 11, 2000
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	absent, written := map[kv.OpID]clock.Timestamp{}, map[kv.OpID]clock.Timestamp{}
	for range callers / 2 {
		written[idOf(random.IntN(logged/50))] = 0 // mostly older than what the table keeps
		written[idOf(random.IntN(logged))] = 0
		absent[idOf(logged+random.IntN(1<<20))] = 0
	}
	for id := range written {
		written[id] = times[int(id[0])|int(id[1])<<8|int(id[2])<<16]
	}
	storm := func(ids map[kv.OpID]clock.Timestamp) {
		let := r.gather(len(ids))
		before := r.Stats().Searches
		var wg sync.WaitGroup
		var mu sync.Mutex
		for id, want := range ids {
			wg.Go(func() {
				receipt, err := r.try(again(id, time.Hour), increment("n", 1))
				if err != nil || want != 0 && receipt.Commit.Time != want {
					t.Errorf("seed %d, operation %s: %v at %s, want %s", seed, id, err, receipt.Commit.Time, want)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[id] = receipt.Commit.Time
			})
		}
		let()
		wg.Wait()
		require.Equal(t, before+1, r.Stats().Searches)
		r.requireNobodySearches()
		require.Len(t, r.ids.order, len(r.ids.known))
		require.LessOrEqual(t, len(r.ids.order), MaxKnownIDs)
	}
	storm(written)
	storm(absent)
	require.Equal(t, int64(len(absent)), r.counter("n"))
	before := r.Stats().Searches
	for id, want := range absent { // they are the newest, and known
		receipt, err := r.try(again(id, time.Hour), increment("n", 1))
		require.NoError(t, err)
		require.Equal(t, want, receipt.Commit.Time)
	}
	require.Equal(t, before, r.Stats().Searches)
	require.Equal(t, int64(len(absent)), r.counter("n"))
}

// Without anything to hold them together, a search answers all who come while the one before runs.
func TestSearchesRunOneAtATime(t *testing.T) {
	r := fresh(t)
	times := r.flood(MaxKnownIDs + MaxGroupTxns)
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			receipt, err := r.try(again(idOf(i), time.Hour), increment("n", 1))
			if err != nil || receipt.Commit.Time != times[i] {
				t.Errorf("operation %d: %v at %s, want %s", i, err, receipt.Commit.Time, times[i])
			}
		})
	}
	wg.Wait()
	r.requireNobodySearches()
	require.Less(t, r.Stats().Searches, uint64(500))
	require.Zero(t, r.counter("n"))
}

func TestSearchWithoutCallersEnds(t *testing.T) {
	r := fresh(t)
	let := r.gather(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Do(ctx, kv.Request{Options: kv.Options{Attempt: again(idOf(1), time.Hour)}, Ops: []kv.Op{increment("n", 1)}})
	require.ErrorIs(t, err, kv.ErrDeadline)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	let()
	require.Zero(t, r.Stats().Searches)
	r.requireNobodySearches()
	_, err = r.try(again(idOf(1), time.Hour), increment("n", 1))
	require.NoError(t, err)
}

// Of two that share a search, one needs more of the log than there is.
func TestTruncatedLogAnswersWhatItStillHolds(t *testing.T) {
	r := fresh(t)
	r.now = 2 * time.Hour // the first try of the older one lies before the start
	times := r.flood(3 * MaxGroupTxns)
	cut := func(b *storage.Batch) error {
		b.TruncateLog(r.lane, times[0])
		return nil
	}
	require.NoError(t, r.run(t.Context(), cut, func() {}))
	tries := map[kv.OpID]time.Duration{idOf(0): time.Hour, idOf(MaxGroupTxns): time.Hour, idOf(2 * MaxGroupTxns): 0}
	errs := map[kv.OpID]error{}
	let := r.gather(len(tries))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for id, age := range tries {
		wg.Go(func() {
			_, err := r.try(again(id, age), increment("n", 1))
			mu.Lock()
			defer mu.Unlock()
			errs[id] = err
		})
	}
	let()
	wg.Wait()
	require.ErrorIs(t, errs[idOf(0)], kv.ErrTooOld)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(errs[idOf(0)]))
	require.NoError(t, errs[idOf(MaxGroupTxns)], "it was found all the same")
	require.NoError(t, errs[idOf(2*MaxGroupTxns)])
	require.Equal(t, uint64(1), r.Stats().Searches)
	require.Zero(t, r.counter("n"))
}

func TestSearchesAreBounded(t *testing.T) {
	r := fresh(t)
	r.ids.waiting = MaxSearching
	_, err := r.try(again(idOf(1), time.Hour), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrOverloaded)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	var e *kv.Error
	require.ErrorAs(t, err, &e)
	require.NotZero(t, e.RetryAfter)
	r.ids.waiting = 0
	r.requireNobodySearches()
	require.Zero(t, r.counter("n"))
}

func TestSearchOfAStoreThatIsClosedFails(t *testing.T) {
	r := start(t, vfs.NewCrashableMem(), 7)
	r.flood(10)
	require.NoError(t, r.store.Close())
	_, err := r.try(again(idOf(1), time.Hour), increment("n", 1))
	require.Error(t, err)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	r.requireNobodySearches()
}

func TestStopEndsSearches(t *testing.T) {
	r := fresh(t)
	r.flood(10)
	let := r.gather(1)
	answered := make(chan error, 1)
	go func() {
		_, err := r.try(again(idOf(1), time.Hour), increment("n", 1))
		answered <- err
	}()
	require.Eventually(t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.ids.waiting == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, r.Stop(t.Context()))
	let()
	err := <-answered
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	_, err = r.try(again(idOf(11), time.Hour), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	r.requireNobodySearches()
}

func TestSearchOfADamagedLogLeavesTheOutcomeOpen(t *testing.T) {
	r := fresh(t)
	r.flood(1)
	bad := func(b *storage.Batch) error {
		rec := kv.Record{Header: kv.Header{Lane: r.lane, Kind: kv.RecordGroup, Time: r.hybrid.Next(r.wall(), 0), Prev: b.Applied(r.lane)}}
		return b.Apply(&rec, []byte("no record"))
	}
	require.NoError(t, r.run(t.Context(), bad, func() {}))
	r.must(kv.Options{}, increment("n", 1)) // so that what lies before it is exposed
	_, err := r.try(again(idOf(1), time.Hour), increment("n", 1))
	require.ErrorIs(t, err, kv.ErrCorrupt)
	require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
	r.requireNobodySearches()
	require.Equal(t, int64(1), r.counter("n"))
}

// The window on the log closes when nobody has asked for a turn, and opens again with the next who does.
func TestWindowClosesWhenNobodyAsks(t *testing.T) {
	r := fresh(t)
	old, newer := kv.OpID{1}, kv.OpID{2}
	retried := func(id kv.OpID) {
		_, err := r.try(again(id, time.Hour), increment("n", 1))
		require.NoError(t, err)
	}
	retried(old)
	r.endTurns(1)
	require.True(t, r.ids.open)
	let := r.gather(1)
	r.ids.waiting = 1
	r.endTurns(1)
	require.True(t, r.ids.open, "a search is on its way")
	let()
	r.ids.waiting = 0
	r.endTurns(1)
	require.False(t, r.ids.open)
	require.Empty(t, r.ids.known)
	require.Empty(t, r.ids.order)
	_, err := r.try(kv.Attempt{ID: newer, Incarnation: r.Incarnation()}, increment("n", 1))
	require.NoError(t, err)
	require.Empty(t, r.ids.known)
	before := r.Stats().Searches
	for range 2 {
		retried(newer)
		_, err := r.try(again(old, 3*time.Hour), increment("n", 1))
		require.NoError(t, err)
	}
	require.Equal(t, before+1, r.Stats().Searches)
	require.Equal(t, int64(2), r.counter("n"))
}
