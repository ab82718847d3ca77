package storage

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is the file system that a store lives on. It is an argument so that a simulation can crash it.
type FS = vfs.FS

// SystemFS is the operating system's file system.
func SystemFS() FS { return vfs.Default }

// Limits of this package; docs/reference/limits.md lists them.
const (
	// QueuedJobs is how many jobs may wait for the writer; Submit blocks beyond it.
	QueuedJobs = 1024
	// UnsyncedBatches is how many batches may be committed without a sync before one is forced.
	UnsyncedBatches = 1024
	// UnsyncedBytes is how many bytes of batches may be unsynced before a sync is forced.
	UnsyncedBytes = 4 << 20
	// SyncsInFlight is how many committed batches may wait for the syncer; the writer blocks beyond it.
	SyncsInFlight = 512
	// WitnessSyncDelay is how long a written witness may stay unsynced.
	WitnessSyncDelay = 100 * time.Millisecond
	// RemovalLeaves is how many leaves the removals of one batch of records look at within that
	// batch, and how many a later chunk looks at; a removal of nothing counts as one. At about 2 us each
	// a chunk stalls commits for under 2 ms.
	RemovalLeaves = 512
	// PendingRemovals is how many removals may be pending before the writer carries some on ahead of
	// every job: one chunk for each 64 that are pending, so that small ones do not pile up.
	PendingRemovals = 256
	// MaxChunksAhead is how many chunks go ahead of a job at most, however many removals are pending.
	// It bounds what a write waits for them, to some 0.1 s.
	MaxChunksAhead = 64
	// MaxPendingRemovals is how many removals may be pending before a record that brings more is
	// refused as overloaded, before anything of it is written. One record may exceed it by what it
	// holds. A pending removal takes about 300 bytes and its key twice.
	MaxPendingRemovals = 4096
	// TriggerSlots is the size of the table that counts operands a leaf, about 100 bytes each.
	TriggerSlots = 1 << 16
	// MinOperands is how many operands a leaf has at least before its count triggers a rewrite.
	MinOperands = 64
	// RewriteLeaves is how many leaves one batch of rewrites holds.
	RewriteLeaves = 64
	// JobsPerChore is how many jobs in a row may pass a waiting rewrite or removal chunk.
	JobsPerChore = 4
	// ScanLeaves and ScanBytes bound what a scan reads with one Pebble iterator.
	ScanLeaves = 4096
	ScanBytes  = 1 << 20
	// SweepLeaves is how many leaves one step of the sweep reads.
	SweepLeaves = 4096
)

// Config says where a store lives and what it may use. Dir is required.
type Config struct {
	// FS is the file system. Default: the operating system's.
	FS FS
	// Dir is the store's folder; created when missing, with its parents.
	Dir string
	// CacheBytes is the size of Pebble's block cache. Default 64 MiB; size it to hold the blocks
	// that are read often but not often enough for the leaf cache.
	CacheBytes int64
	// LeafCacheBytes is the size of the cache of leaves, decoded. Default 64 MiB; a counter takes
	// about 300 bytes. Negative turns it off.
	LeafCacheBytes int64
	// MemTableBytes is the size of one of Pebble's memtables; two may exist. Default 32 MiB. The
	// log to replay after a crash is bounded by it.
	MemTableBytes int64
	// SyncDelay is how long a batch that did not ask for a sync may stay unsynced. Default 20 ms.
	SyncDelay time.Duration
	// TidyInterval is the time between two looks at the leaves whose operands wait for the cuts.
	// Default 1 s. SweepInterval is the time between two steps of the slow sweep. Default 1 s.
	TidyInterval, SweepInterval time.Duration
	// After calls f on its own goroutine after d unless stopped before. Default: time.AfterFunc.
	After func(d time.Duration, f func()) (stop func() bool)
	// Incarnation draws a random number that no store had before. Default: crypto/rand.
	Incarnation func() uint64
	// Logf takes one line of text for the operator. Default: dropped.
	Logf func(format string, args ...any)
	// Fatal is told, once, why the store takes no more writes. It is called on any of the store's
	// goroutines, must not block and must not call Close. Default: nothing is called.
	Fatal func(error)

	// RemovalLeaves is how many leaves the removals of one batch look at, and how many a later chunk looks
	// at. Default: the constant of that name, which says how to size it. A simulation lowers it, so that
	// small removals come in chunks, too.
	RemovalLeaves int

	hold *atomic.Bool // tests: pending removals stay pending while it is true
}

func (c Config) withDefaults() Config {
	setDefault(&c.CacheBytes, 64<<20)
	setDefault(&c.LeafCacheBytes, 64<<20)
	setDefault(&c.MemTableBytes, 32<<20)
	setDefault(&c.SyncDelay, 20*time.Millisecond)
	setDefault(&c.TidyInterval, time.Second)
	setDefault(&c.SweepInterval, time.Second)
	setDefault(&c.RemovalLeaves, RemovalLeaves)
	setDefault(&c.hold, new(atomic.Bool))
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.After == nil {
		c.After = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if c.Incarnation == nil {
		c.Incarnation = randomIncarnation
	}
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	if c.Fatal == nil {
		c.Fatal = func(error) {}
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func randomIncarnation() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return binary.BigEndian.Uint64(b[:])
}
