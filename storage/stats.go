package storage

import "sync/atomic"

// counters count since Open.
type counters struct {
	batches, rewrites, hits, misses atomic.Uint64
}

// Stats describes a store; docs/reference/metrics.md explains the fields. Counts are since Open.
type Stats struct {
	Batches        uint64 // committed
	Rewrites       uint64 // leaves rewritten
	CacheHits      uint64 // reads answered by the leaf cache as they were
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
	return Stats{
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
	}
}
