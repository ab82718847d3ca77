package storage

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// TestCloseWaitsForReaders closes the store under a scan, which reads on meanwhile.
func TestCloseWaitsForReaders(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store"})
	require.NoError(t, err)
	a := &author{lane: lane(1)}
	op := counterOp("n", 1)
	r, enc := a.group(t, nil, op)
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	at := clock.VectorOf(clock.Entry{Region: 1, Time: a.last})

	closed := make(chan error, 1)
	seen := 0
	err = s.Scan(t.Context(), op.Object, 0, nil, nil, func(_, items []byte) (bool, error) {
		seen++
		go func() { closed <- s.Close() }()
		for s.enterRead() == nil { // until Close waits for this reader
			s.leaveRead()
		}
		_, err := s.Items(Leaf{Object: op.Object})
		require.ErrorIs(t, err, kv.ErrUnavailable, "a read that begins after Close")
		require.NotEmpty(t, items)
		return true, nil
	})
	require.NoError(t, err)
	require.Equal(t, 1, seen)
	require.NoError(t, <-closed)

	_, err = s.Value(Leaf{Object: kv.Object{Bucket: "b", Key: "other", Type: op.Type}}, at)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	_, err = s.Log(lane(1), 0, 1)
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorIs(t, s.Checkpoint("copy"), kv.ErrUnavailable)
	require.ErrorIs(t, s.Compact(context.Background()), kv.ErrUnavailable)
	require.Zero(t, s.Stats().Batches)
	require.NoError(t, s.Failed(), "a closed store is not a damaged one")
}

// TestScanNeverSeesWhatAPendingRemovalTakesAway scans while removals are carried out in small pieces:
// the last piece may land between opening an iterator and reading from it.
func TestScanNeverSeesWhatAPendingRemovalTakesAway(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", RemovalLeaves: 8})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	a, at := &author{lane: lane(1)}, clock.Vector(nil)
	write := func(ops ...kv.Op) {
		r, enc := a.group(t, at, ops...)
		require.NoError(t, try(s, func(b *Batch) error { b.Sync(); return b.Apply(r, enc) }))
		at = clock.VectorOf(clock.Entry{Region: 1, Time: a.last})
	}
	o := setObject("s")
	for range 40 {
		var adds []kv.Op
		for i := range 100 {
			adds = append(adds, kv.Op{Object: o, Verb: kv.VerbAdd, Data: []byte{byte(i)}})
		}
		write(adds...)
		write(kv.Op{Object: o, Verb: kv.VerbReset})
		for pending := true; pending; {
			pending = s.Stats().PendingRemoval > 0
			err := s.Scan(t.Context(), o, 0, nil, nil, func(path, items []byte) (bool, error) {
				v, err := crdt.Fold(crdt.FlagEW, items, at)
				require.False(t, v.Present, "element %x", path)
				return true, err
			})
			require.NoError(t, err)
			err = s.ScanKeys(t.Context(), KeyRange{Bucket: o.Bucket}, at, func(o kv.Object) (bool, error) {
				require.Fail(t, "listed", string(o.Key))
				return true, nil
			})
			require.NoError(t, err)
		}
	}
}
