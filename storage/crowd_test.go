package storage

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// removedAtOnce fills sets of some elements each and removes them all with one group, of which nothing
// is carried out yet but what its own batch does.
func removedAtOnce(t *testing.T, s *Store, sets, elements int) *author {
	t.Helper()
	fillOps(t, s, sets*elements, func(i int) kv.Op { return setAdd(fmt.Sprint(i%sets), i) })
	s.cfg.hold.Store(true)
	a := &author{lane: lane(1), last: s.Applied(lane(1))}
	var resets []kv.Op
	for i := range sets {
		resets = append(resets, kv.Op{Object: setObject(fmt.Sprint(i)), Verb: kv.VerbReset})
	}
	r, enc := a.group(t, clock.VectorOf(clock.Entry{Region: 1, Time: a.last}), resets...)
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	return a
}

func noneLeft(t *testing.T, s *Store, sets int) {
	t.Helper()
	for s.Stats().PendingRemoval > 0 {
		do(t, s, func(*Batch) error { return nil })
	}
	settle(t, s)
	for i := range sets {
		require.Empty(t, rawLeaves(t, s, fmt.Sprint(i)))
	}
}

// crowdWriter is a job that submits itself again as soon as it is applied, some times, and notes the
// most batches that the store did of its own in between.
type crowdWriter struct {
	t     *testing.T
	s     *Store
	a     *author
	left  int
	last  uint64
	most  uint64
	ended chan struct{}
}

func (w *crowdWriter) Build(b *Batch) error {
	if w.last > 0 {
		w.most = max(w.most, b.state.number-w.last-1)
	}
	w.last = b.state.number
	r, enc := w.a.group(w.t, nil, counterOp("n", 1))
	return b.Apply(r, enc)
}

func (w *crowdWriter) Applied() {
	if w.left--; w.left == 0 {
		close(w.ended)
	} else if err := w.s.Submit(w.t.Context(), w); err != nil {
		w.t.Error(err)
		close(w.ended)
	}
}

func (w *crowdWriter) Durable(err error) {
	if err != nil {
		w.t.Error(err)
	}
}

// One group brings many more removals than may be pending before chunks go first: writes go on all
// the same, each behind a bounded number of chunks.
func TestWritesGoOnWhileManyRemovalsArePending(t *testing.T) {
	s := openQuiet(t, Config{RemovalLeaves: 4})
	const sets = 3 * PendingRemovals
	a := removedAtOnce(t, s, sets, 16)
	require.Greater(t, s.Stats().PendingRemoval, 2*PendingRemovals)
	w := &crowdWriter{t: t, s: s, a: a, left: 10, ended: make(chan struct{})}
	s.cfg.hold.Store(false)
	require.NoError(t, s.Submit(t.Context(), w))
	<-w.ended
	require.LessOrEqual(t, w.most, uint64(MaxChunksAhead+2), "batches between two writes: chunks, a sync, a rewrite")
	require.Positive(t, w.most, "removals go on too")
	noneLeft(t, s, sets)
}

func TestSmallRemovalsShareAChunk(t *testing.T) {
	s := openQuiet(t, Config{})
	const sets = 4 * RemovalLeaves
	removedAtOnce(t, s, sets, 1)
	require.Positive(t, s.Stats().PendingRemoval)
	before := s.counts.batches.Load()
	s.cfg.hold.Store(false)
	for s.Stats().PendingRemoval > 0 {
		do(t, s, func(*Batch) error { before++; return nil })
	}
	require.Less(t, s.counts.batches.Load()-before, uint64(20), "chunks of removals of one leaf each")
	noneLeft(t, s, sets)
}

// A removal of nothing costs as much of the batch's budget as a leaf, or a record of thousands would
// hold the writer up.
func TestRemovalsOfNothingAreBudgeted(t *testing.T) {
	s := openQuiet(t, Config{})
	s.cfg.hold.Store(true)
	a := &author{lane: lane(1)}
	var ops []kv.Op
	for i := range 2 * RemovalLeaves {
		ops = append(ops, kv.Op{Object: setObject(fmt.Sprint(i)), Verb: kv.VerbReset})
	}
	r, enc := a.group(t, nil, ops...)
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	require.Equal(t, RemovalLeaves, s.Stats().PendingRemoval)
	s.cfg.hold.Store(false)
	noneLeft(t, s, len(ops))
}

func TestMoreRemovalsThanMayBePendingAreRefused(t *testing.T) {
	s := openQuiet(t, Config{RemovalLeaves: 1})
	const sets = MaxPendingRemovals + 1
	a := removedAtOnce(t, s, sets, 1)
	require.GreaterOrEqual(t, s.Stats().PendingRemoval, MaxPendingRemovals, "one record may hold more")
	before := s.Applied(lane(1))
	removal, removalBytes := (&author{lane: a.lane, last: a.last}).group(t, nil, counterOp("n", 1), kv.Op{Object: setObject("x"), Verb: kv.VerbReset})
	add, addBytes := a.group(t, nil, counterOp("n", 2))
	do(t, s, func(b *Batch) error {
		err := b.Apply(removal, removalBytes)
		require.ErrorIs(t, err, kv.ErrOverloaded)
		require.Equal(t, kv.NotApplied, kv.OutcomeOf(err))
		require.Equal(t, before, b.Applied(lane(1)))
		return b.Apply(add, addBytes)
	})
	at := clock.VectorOf(clock.Entry{Region: 1, Time: add.Time})
	require.EqualValues(t, 2, readCounter(t, s, "n", at), "others go on")
	s.cfg.hold.Store(false)
	for s.Stats().PendingRemoval > 0 {
		do(t, s, func(*Batch) error { return nil })
	}
	removal, removalBytes = a.group(t, at, kv.Op{Object: counterObject("n"), Verb: kv.VerbReset}, kv.Op{Object: setObject("x"), Verb: kv.VerbReset})
	do(t, s, func(b *Batch) error { return b.Apply(removal, removalBytes) })
}
