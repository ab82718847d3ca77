package storage

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// TestRemovingAMillionElementsStallsNobody removes a set of a million elements and writes meanwhile,
// always one write more as soon as the last one is visible. Between two writes at most one chunk of
// the removal is carried out, and only after JobsPerChore writes in a row. Readers see the set empty
// all the while.
func TestRemovingAMillionElementsStallsNobody(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", LeafCacheBytes: -1, TidyInterval: time.Hour, SweepInterval: time.Hour})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	fillOps(t, s, removedElements, func(i int) kv.Op { return setAdd("s", i) })
	a := &author{lane: lane(1), last: s.Applied(lane(1))}
	before := clock.VectorOf(clock.Entry{Region: 1, Time: a.last})
	s.cfg.hold.Store(true)
	r, enc := a.group(t, before, kv.Op{Object: setObject("s"), Verb: kv.VerbReset})
	do(t, s, func(b *Batch) error {
		err := b.Apply(r, enc)
		require.Equal(t, RemovalLeaves, len(b.leaves), "what the removal's own batch carries out")
		return err
	})
	at := clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
	require.Zero(t, countPresent(t, s, at), "a pending removal is read as carried out")
	require.Equal(t, 1, s.Stats().PendingRemoval)

	w := &steadyWriter{t: t, s: s, author: a, done: make(chan error, 1)}
	s.cfg.hold.Store(false)
	require.NoError(t, s.Submit(t.Context(), w))
	require.NoError(t, <-w.done)
	t.Logf("%d writes during %d chunks", w.writes, w.chunks)
	require.GreaterOrEqual(t, w.chunks, removedElements/RemovalLeaves-1, "the removal was cut into chunks")
	require.GreaterOrEqual(t, w.writes, JobsPerChore*(w.chunks-1), "writes go before chunks")
	require.EqualValues(t, w.writes, readCounter(t, s, "n", clock.VectorOf(clock.Entry{Region: 1, Time: a.last})))

	require.Equal(t, removedElements, countPresent(t, s, before), "who reads the past still sees it")
	v := settle(t, s)
	require.Zero(t, countPresent(t, s, v))
	require.Empty(t, rawLeaves(t, s, "s"), "nothing is left of it below the horizon")
}

// steadyWriter is a job that submits itself again once it is applied, on the writer's goroutine, so
// that it always waits in the queue, until no removal is pending. It counts what the writer does in
// between.
type steadyWriter struct {
	t       *testing.T
	s       *Store
	author  *author
	writes  int
	chunks  int
	batches uint64 // committed as of the last write
	passed  int    // writes since the last chunk
	cursor  []byte
	done    chan error
}

func (w *steadyWriter) Build(b *Batch) error {
	w.look()
	r, enc := w.author.group(w.t, nil, counterOp("n", 1))
	w.writes++
	return b.Apply(r, enc)
}

// look finds out what happened since the last write.
func (w *steadyWriter) look() {
	var cursor []byte
	for _, r := range w.s.pending.all() {
		cursor = r.cursor
	}
	if w.writes > 0 {
		between := w.s.counts.batches.Load() - w.batches
		if between > 1 || between == 1 && w.passed < JobsPerChore {
			w.t.Errorf("write %d: %d batches of the store's own since the last one, %d writes since the last of them", w.writes, between, w.passed)
		}
		if between > 0 {
			w.passed = 0
		}
		if !bytes.Equal(cursor, w.cursor) {
			w.chunks++
		}
	}
	w.passed++
	w.cursor = cursor
}

func (w *steadyWriter) Applied() {
	w.batches = w.s.counts.batches.Load()
	if w.s.pending.len() == 0 {
		w.done <- nil
		return
	}
	if err := w.s.Submit(w.t.Context(), w); err != nil {
		w.done <- err
	}
}

func (w *steadyWriter) Durable(err error) {
	if err != nil {
		w.t.Error(err)
	}
}
