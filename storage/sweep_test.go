package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
)

// Ranges that could not be swept are swept another time.
func TestSweepKeepsTheRangesThatItCouldNotRead(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", Logf: t.Logf})
	require.NoError(t, err)
	for i := range 3 {
		s.sweep.note(&removal{prefix: []byte{spaceLeaf, byte(i)}, dot: clock.Dot{Region: 1, Time: clock.Timestamp(i + 1)}, done: true})
	}
	require.NoError(t, s.Close())
	s.SetCuts(clock.VectorOf(clock.Entry{Region: 1, Time: 2}), nil)
	s.sweepSome()
	require.Len(t, s.sweep.ranges, 3)
	require.Equal(t, clock.Timestamp(3), s.sweep.ranges[0].dot.Time, "which was not ready")
}
