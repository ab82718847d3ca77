package storage

import (
	"testing"
	"time"

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

// TestATickerStopsWhileItTicks: a node's timers wait at their stop for what they have begun to call.
func TestATickerStopsWhileItTicks(t *testing.T) {
	ticks := 0
	after := func(_ time.Duration, f func()) func() bool {
		return func() bool {
			done := make(chan struct{})
			go func() { defer close(done); ticks++; f() }()
			<-done
			return false
		}
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		newTicker(&Store{cfg: Config{After: after}}, time.Second).stop()
	}()
	select {
	case <-stopped:
		require.Equal(t, 1, ticks)
	case <-time.After(30 * time.Second):
		t.Fatal("the tick and the stop wait for each other")
	}
}
