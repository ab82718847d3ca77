package storage

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// A leaf that somebody reads, absent, while a bootstrap is under way is not cached as absent.
func TestLoadedLeafIsReadBehindTheCache(t *testing.T) {
	from := openMem(t, vfs.NewMem())
	to, err := Open(Config{FS: vfs.NewMem(), Dir: "other", LeafCacheBytes: 4 << 20, Logf: t.Logf})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, to.Close()) })
	r, enc := (&author{lane: lane(1)}).group(t, nil, counterOp("n", 5))
	do(t, from, func(b *Batch) error { return b.Apply(r, enc) })
	at := clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
	do(t, to, func(b *Batch) error { b.Clear(); return nil })
	require.Zero(t, readCounter(t, to, "n", nil))
	for shard := range uint8(Shards) {
		leaves, _, err := from.ShardRange(context.Background(), shard, nil, at, 1<<20)
		require.NoError(t, err)
		do(t, to, func(b *Batch) error {
			for _, l := range leaves {
				if err := b.LoadLeaf(l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	do(t, to, func(b *Batch) error {
		b.LoadApplied(map[clock.Lane]clock.Timestamp{lane(1): r.Time})
		return nil
	})
	require.EqualValues(t, 5, readCounter(t, to, "n", at))
}

// A truncation whose batch is not committed truncates nothing.
func TestTruncationThatIsNotCommittedTruncatesNothing(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	a := &author{lane: lane(1)}
	r, enc := a.group(t, nil, counterOp("n", 5))
	do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	refused := errors.New("refused")
	require.ErrorIs(t, try(s, func(b *Batch) error { b.TruncateLog(lane(1), r.Time); return refused }), refused)
	log, err := s.Log(lane(1), 0, 1<<20)
	require.NoError(t, err)
	require.Len(t, log, 1)
	do(t, s, func(b *Batch) error { b.TruncateLog(lane(1), r.Time); return nil })
	_, err = s.Log(lane(1), 0, 1<<20)
	require.ErrorIs(t, err, kv.ErrTooOld)
}
