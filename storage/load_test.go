package storage

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
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

// What a cut's removals have covered by then stays behind, and so do they: nobody at the newcomer reads
// below the cut.
func TestANewcomerGetsNoRemovals(t *testing.T) {
	s := openQuiet(t, Config{RemovalLeaves: 1})
	a, other := &author{lane: lane(1)}, &author{lane: lane(2)}
	apply := func(a *author, at clock.Vector, ops ...kv.Op) clock.Vector {
		r, enc := a.group(t, at, ops...)
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		return at.With(a.lane.Region, r.Time)
	}
	seen := apply(a, nil, setAdd("s", 1), setAdd("s", 2), setAdd("s", 3), setAdd("t", 1), registerOp("k", "x"), counterOp("n", 1))
	cut := apply(other, nil, setAdd("s", 4)).Join(seen) // concurrent with the removal
	s.cfg.hold.Store(true)
	cut = cut.Join(apply(a, seen, kv.Op{Object: setObject("s"), Verb: kv.VerbReset},
		kv.Op{Object: setObject("t"), Verb: kv.VerbRemove, Data: element(1)}, registerOp("k", "y"), counterOp("m", 1)))
	require.Equal(t, 1, s.Stats().PendingRemoval)
	late := apply(a, cut, kv.Op{Object: setObject("s"), Verb: kv.VerbReset}) // which the cut does not see

	got := make(map[kv.Key]int)
	for shard := range uint8(Shards) {
		leaves, _, err := s.ShardRange(t.Context(), shard, nil, cut, 1<<20)
		require.NoError(t, err)
		for _, l := range leaves {
			n, err := crdt.CountItems(l.Items)
			require.NoError(t, err)
			leaf, err := parseLeaf(l.Key)
			require.NoError(t, err)
			got[leaf.Object.Key] += n
		}
	}
	require.Equal(t, map[kv.Key]int{"s": 1, "k": 1, "n": 1, "m": 1}, got)
	require.Zero(t, countPresent(t, s, late))
	require.Equal(t, 1, countPresent(t, s, cut))
	s.cfg.hold.Store(false)
}
