package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// TestClearKeepsTheLogOfALane: a region that takes a cut in place of its data keeps its own log, and
// applies from it what the cut lacks.
func TestClearKeepsTheLogOfALane(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	var last [4]clock.Timestamp
	for r := clock.Region(1); r <= 3; r++ {
		a := &author{lane: lane(r)}
		for range 5 {
			rec, enc := a.group(t, nil, counterOp("n", 1))
			do(t, s, func(b *Batch) error { return b.Apply(rec, enc) })
		}
		last[r] = a.last
	}
	do(t, s, func(b *Batch) error { b.TruncateLog(lane(2), 1<<12); return nil })
	do(t, s, func(b *Batch) error { b.Clear(lane(2)); return nil })
	at := clock.VectorOf(clock.Entry{Region: 1, Time: last[1]}, clock.Entry{Region: 2, Time: last[2]}, clock.Entry{Region: 3, Time: last[3]})
	require.Zero(t, readCounter(t, s, "n", at))
	require.NoError(t, s.Close())
	s = openMem(t, fs) // as after a crash in the middle of the load
	for r := clock.Region(1); r <= 3; r++ {
		require.Zero(t, s.Applied(lane(r)))
		records, err := s.Log(lane(r), 1<<12, 1<<20)
		require.NoError(t, err)
		require.Len(t, records, []int{0, 0, 4, 0}[r])
	}
	const behind = 3 << 12 // the cut has three of the five
	do(t, s, func(b *Batch) error {
		b.LoadApplied(map[clock.Lane]clock.Timestamp{lane(1): last[1], lane(2): behind}, lane(2))
		return nil
	})
	require.Positive(t, s.LogStats(lane(2), 0).Cut, "its size is known again")
	_, err := s.Log(lane(1), 0, 1<<20)
	require.ErrorIs(t, err, kv.ErrTooOld)
	records, err := s.Log(lane(2), behind, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 2)
	for _, enc := range records {
		rec, err := kv.DecodeRecord(enc)
		require.NoError(t, err)
		do(t, s, func(b *Batch) error { return b.Apply(rec, enc) })
	}
	require.Equal(t, last[2], s.Applied(lane(2)))
	require.EqualValues(t, 2, readCounter(t, s, "n", at), "the leaves of the cut were not loaded here")
	_, err = s.Log(lane(2), 0, 1<<20)
	require.ErrorIs(t, err, kv.ErrTooOld, "the mark of its truncation stays")
}

// TestAKeptLogThatEndsBelowTheCutBeginsBehindIt: there would be a gap otherwise.
func TestAKeptLogThatEndsBelowTheCutBeginsBehindIt(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	rec, enc := (&author{lane: lane(1)}).group(t, nil, counterOp("n", 1))
	do(t, s, func(b *Batch) error { return b.Apply(rec, enc) })
	do(t, s, func(b *Batch) error { b.Clear(lane(1)); return nil })
	do(t, s, func(b *Batch) error {
		b.LoadApplied(map[clock.Lane]clock.Timestamp{lane(1): rec.Time + 1}, lane(1))
		return nil
	})
	for range 2 {
		_, err := s.Log(lane(1), 0, 1<<20)
		require.ErrorIs(t, err, kv.ErrTooOld)
		last, err := s.lastRecord(lane(1))
		require.NoError(t, err)
		require.Zero(t, last, "what nobody can ask for takes no room")
		require.Zero(t, s.LogStats(lane(1), 0).Bytes)
		require.NoError(t, s.Close())
		s = openMem(t, fs)
	}
}

func TestLogCutTakesTheOldestOfAllLanes(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	require.Zero(t, s.LogCut(0))
	a, b := &author{lane: lane(1)}, &author{lane: lane(2)}
	var times []clock.Timestamp
	for i := range 6 { // about one segment each, the lanes in turn
		from := []*author{a, b}[i%2]
		from.last = clock.Timestamp(i) << 20
		rec, _ := from.group(t, nil, setAdds(segmentBytes)...)
		if rec.Prev = 0; i >= 2 {
			rec.Prev = times[i-2]
		}
		enc := rec.Append(nil)
		do(t, s, func(batch *Batch) error { return batch.Apply(rec, enc) })
		times = append(times, rec.Time)
	}
	all := s.LogStats(lane(1), 0).Bytes + s.LogStats(lane(2), 0).Bytes
	require.Zero(t, s.LogCut(all))
	require.Equal(t, times[0], s.LogCut(all-1))
	require.Equal(t, times[1], s.LogCut(all-all/4))
	require.Equal(t, times[5], s.LogCut(0))
}

// setAdds are operations that take at least so many bytes.
func setAdds(bytes int) (ops []kv.Op) {
	for i := 0; i*1024 < bytes; i++ {
		data := make([]byte, 1024)
		data[0], data[1] = byte(i), byte(i>>8)
		ops = append(ops, kv.Op{Object: setObject("s"), Verb: kv.VerbAdd, Data: data})
	}
	return ops
}
