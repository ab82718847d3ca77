package storage

import (
	"sync/atomic"
	"time"
)

// SyncBounds are the upper bounds of the buckets in which Stats counts how long batches took to become
// durable.
var SyncBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// counters count since Open.
type counters struct {
	batches, rewrites, hits, misses atomic.Uint64

	syncs     [len(SyncBounds) + 1]atomic.Uint64 // by duration
	syncNanos atomic.Int64                       // of all of them
}

// synced counts a batch that took so long to become durable.
func (c *counters) synced(d time.Duration) {
	i := 0
	for i < len(SyncBounds) && SyncBounds[i] < d {
		i++
	}
	c.syncs[i].Add(1)
	c.syncNanos.Add(int64(d))
}

// Stats describes a store; docs/reference/metrics.md explains the fields. Counts are since Open.
type Stats struct {
	Batches        uint64 // committed
	Rewrites       uint64 // leaves rewritten
	CacheHits      uint64 // reads answered by the leaf cache, folded anew where something came in
	CacheMisses    uint64 // reads of leaves that were not in the cache
	CacheBytes     int64
	CacheLeaves    int
	PendingRemoval int    // removals still being carried out
	Queued         int    // jobs waiting for the writer
	DiskBytes      uint64 // of all files
	TableBytes     uint64 // of live tables and blob files
	LogFileBytes   uint64 // of Pebble's write-ahead log
	ReadAmp        int    // tables that a read may have to look at
	Compactions    int64
	FlushedBytes   uint64

	// Syncs counts the batches that asked for a sync by the time from their commit until they were
	// durable, the witness written too; the last bucket is above all of SyncBounds. SyncTime is the
	// sum of these times.
	Syncs    [len(SyncBounds) + 1]uint64
	SyncTime time.Duration
}

// Stats collects figures; it takes some tens of microseconds. All are zero after Close.
func (s *Store) Stats() Stats {
	if s.enterRead() != nil {
		return Stats{}
	}
	defer s.leaveRead()
	m := s.db.Metrics()
	bytes, leaves := s.cache.size()
	t := m.Total()
	out := Stats{
		Batches:        s.counts.batches.Load(),
		Rewrites:       s.counts.rewrites.Load(),
		CacheHits:      s.counts.hits.Load(),
		CacheMisses:    s.counts.misses.Load(),
		CacheBytes:     bytes,
		CacheLeaves:    leaves,
		PendingRemoval: s.pending.len(),
		Queued:         len(s.queue),
		DiskBytes:      m.DiskSpaceUsage(),
		TableBytes:     uint64(t.TablesSize) + m.BlobFiles.LiveSize,
		LogFileBytes:   m.WAL.PhysicalSize,
		ReadAmp:        m.ReadAmp(),
		Compactions:    m.Compact.Count,
		FlushedBytes:   t.TableBytesFlushed,
		SyncTime:       time.Duration(s.counts.syncNanos.Load()),
	}
	for i := range out.Syncs {
		out.Syncs[i] = s.counts.syncs[i].Load()
	}
	return out
}
