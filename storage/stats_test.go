package storage

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func TestStatsCountSyncsAndWhatTheCacheAnswers(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	before := s.Stats()
	a := &author{lane: lane(1)}
	at := clock.Vector(nil)
	for range 3 {
		r, enc := a.group(t, nil, counterOp("a", 1))
		do(t, s, func(b *Batch) error { b.Sync(); return b.Apply(r, enc) })
		at = clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
		readCounter(t, s, "a", at)
	}
	readCounter(t, s, "a", at)
	after := s.Stats()
	total := uint64(0)
	for i := range after.Syncs {
		total += after.Syncs[i] - before.Syncs[i]
	}
	require.GreaterOrEqual(t, total, uint64(3))
	require.Greater(t, after.SyncTime, before.SyncTime)
	require.EqualValues(t, 1, after.CacheMisses, "the first read")
	require.EqualValues(t, 3, after.CacheHits, "with newer items and without")
}

func TestSyncsAreCountedByTheirDuration(t *testing.T) {
	var c counters
	for _, d := range []time.Duration{0, SyncBounds[0], SyncBounds[0] + 1, time.Hour} {
		c.synced(d)
	}
	require.EqualValues(t, 2, c.syncs[0].Load())
	require.EqualValues(t, 1, c.syncs[1].Load())
	require.EqualValues(t, 1, c.syncs[len(SyncBounds)].Load())
	require.EqualValues(t, 2*SyncBounds[0]+1+time.Hour, c.syncNanos.Load())
}

func TestLogBytesBehindATimestamp(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	require.Zero(t, s.LogBytesAfter(lane(1), 0), "a lane without records")
	a := &author{lane: lane(1)}
	var times []clock.Timestamp
	const records, size = 8, segmentBytes/2 + 1
	for i := range records {
		big := kv.Op{Object: kv.Object{Bucket: "b", Key: "k", Type: crdt.RegisterLWW}, Verb: kv.VerbAssign, Data: randomBytes(i, size)}
		r, enc := a.group(t, nil, big)
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		times = append(times, r.Time)
	}
	require.Equal(t, s.LogStats(lane(1), 0).Bytes, s.LogBytesAfter(lane(1), 0))
	for i, after := range times {
		bytes, behind := s.LogBytesAfter(lane(1), after), int64(records-1-i)*size
		require.GreaterOrEqual(t, bytes, behind, i)
		require.LessOrEqual(t, bytes, behind+2*segmentBytes, i)
	}
	require.Zero(t, s.LogBytesAfter(lane(1), times[records-1]))
}
