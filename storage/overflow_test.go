package storage

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Two regions each add 2^62, each within the range where it commits.
func TestScanKeysPassesACounterBeyond64Bits(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	at := clock.Vector(nil)
	for r := clock.Region(1); r <= 2; r++ {
		rec, enc := (&author{lane: lane(r)}).group(t, nil, counterOp("n", 1<<62), counterOp("other", 1))
		do(t, s, func(b *Batch) error { return b.Apply(rec, enc) })
		at = at.With(r, rec.Time)
	}
	var found []kv.Object
	err := s.ScanKeys(context.Background(), KeyRange{Bucket: kv.DefaultBucket}, at, func(o kv.Object) (bool, error) {
		found = append(found, o)
		return true, nil
	})
	require.NoError(t, err)
	require.Len(t, found, 2)
}
