package storage

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

// Every page is the next part of one sorted list, however buckets lie over shards and whatever bytes are
// in their names.
func TestBucketsArePagedInOrder(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	got, err := s.Buckets(context.Background(), nil, "", 10)
	require.NoError(t, err)
	require.Empty(t, got)

	var names []kv.Bucket
	var ops []kv.Op
	letters := []string{"", "\x00", "a", "\u00ff"}
	for _, a := range letters[1:] {
		for _, b := range letters {
			for _, c := range letters {
				names = append(names, kv.Bucket(a+b+c))
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for i, b := range names {
		for k := range i%7 + 1 { // so that they lie in one shard, or in several
			op := counterOp(fmt.Sprint(k), 1)
			op.Bucket = b
			ops = append(ops, op)
		}
	}
	a := &author{lane: lane(1)}
	r, encoded := a.group(t, nil, ops...)
	require.NoError(t, try(s, func(b *Batch) error { return b.Apply(r, encoded) }))
	for limit := 1; limit <= len(names)+1; limit++ {
		var all []kv.Bucket
		for after := kv.Bucket(""); ; after = all[len(all)-1] {
			page, err := s.Buckets(context.Background(), nil, after, limit)
			require.NoError(t, err)
			if all = append(all, page...); len(page) < limit {
				break
			}
			require.Len(t, page, limit)
		}
		require.Equal(t, names, all, "limit %d", limit)
	}
	page, err := s.Buckets(context.Background(), nil, "a\x00\x00\x00", 1) // which is not one of them
	require.NoError(t, err)
	require.Equal(t, []kv.Bucket{"a\x00a"}, page)

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Buckets(ended, nil, "", 1)
	require.ErrorIs(t, err, kv.ErrDeadline)
}
