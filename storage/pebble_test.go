package storage

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// TestMemtablesLeaveTheBlockCacheItsSize reads the same leaves twice, without a leaf cache, after
// memtables have come and gone. The second time no block comes from disk.
func TestMemtablesLeaveTheBlockCacheItsSize(t *testing.T) {
	const size = 4 << 20
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", CacheBytes: size, MemTableBytes: size, LeafCacheBytes: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const leaves = 400
	object := func(i int) kv.Object { return kv.Object{Bucket: "b", Key: kv.Key(fmt.Sprint(i)), Type: 2} }
	for range 8 { // memtables' worth, nearly
		fillOps(t, s, leaves, func(i int) kv.Op {
			return kv.Op{Object: object(i), Verb: kv.VerbAssign, Data: randomBytes(i, separatedValue/2)}
		})
		require.NoError(t, s.db.Flush())
	}
	settle(t, s)
	require.NoError(t, s.Compact(t.Context()))
	at := clock.VectorOf(clock.Entry{Region: 1, Time: s.Applied(lane(1))})
	read := func() int64 {
		before := s.db.Metrics().BlockCache.Misses
		for i := range leaves {
			v, err := s.Value(Leaf{Object: object(i)}, at)
			require.NoError(t, err)
			require.True(t, v.Present)
		}
		return s.db.Metrics().BlockCache.Misses - before
	}
	require.Positive(t, read())
	require.Zero(t, read())
}
