package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// Settings that are those of package storage; see there for why.
const (
	separatedValue = 4 << 10
	bloomBits      = 10
)

// Sizes are the settings of a store that change with the benchmark.
type Sizes struct {
	Cache    int64 // bytes of blocks kept in memory. Default 64 MiB, as theriac's
	MemTable int64 // bytes of one memtable. Default 32 MiB, as theriac's
}

// Store is bare Pebble.
type Store struct {
	db  *pebble.DB
	dir string
}

// OpenStore opens or creates a store in a folder of its own.
func OpenStore(dir string, s Sizes) (*Store, error) {
	if s.Cache == 0 {
		s.Cache = 64 << 20
	}
	if s.MemTable == 0 {
		s.MemTable = 32 << 20
	}
	db, err := pebble.Open(dir, options(s, pebble.DefaultMerger))
	if err != nil {
		return nil, fmt.Errorf("limits: open bare Pebble in %s: %w", dir, err)
	}
	return &Store{db, dir}, nil
}

func options(s Sizes, merger *pebble.Merger) *pebble.Options {
	o := &pebble.Options{
		CacheSize:                   s.Cache + 2*s.MemTable, // Pebble takes the memtables off it
		MemTableSize:                uint64(s.MemTable),
		MemTableStopWritesThreshold: 4,
		FormatMajorVersion:          pebble.FormatNewest,
		Merger:                      merger,
		Logger:                      quiet{},
		L0CompactionThreshold:       4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		MaxOpenFiles:                1000,
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: separatedValue, MaxBlobReferenceDepth: 10,
			RewriteMinimumAge: 5 * time.Minute, TargetGarbageRatio: 0.2,
		}
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	return o
}

// quiet drops Pebble's log, except for what ends the process.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

func (quiet) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bare Pebble: "+format+"\n", args...)
	os.Exit(1)
}

// Add is what one one-shot add writes: a log record and a merge operand.
type Add struct {
	LogKey, Record []byte
	Leaf, Operand  []byte
}

// Commit writes one add as one batch and, with sync, waits until it is on disk. It is safe for
// concurrent use: Pebble then shares syncs among callers.
func (s *Store) Commit(a *Add, sync bool) error {
	b := s.db.NewBatch()
	err := errors.Join(b.Set(a.LogKey, a.Record, nil), b.Merge(a.Leaf, a.Operand, nil))
	if err != nil {
		return errors.Join(err, b.Close())
	}
	write := pebble.NoSync
	if sync {
		write = pebble.Sync
	}
	return errors.Join(s.db.Apply(b, write), b.Close())
}

// Set writes one key, without a sync.
func (s *Store) Set(key, value []byte) error { return s.db.Set(key, value, pebble.NoSync) }

// Get reads one key and returns the length of its value.
func (s *Store) Get(key []byte) (int, error) {
	value, closer, err := s.db.Get(key)
	if err != nil {
		return 0, err
	}
	return len(value), closer.Close()
}

// Flush writes the memtable to a table, so that reads go there.
func (s *Store) Flush() error { return s.db.Flush() }

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// CompactedBytes opens a store that nobody else has open, removes all keys that are not from low up to
// high, compacts what is left, and returns how many bytes of files that takes. The store is of no use
// afterwards: only so is the size exact, as tables and blob files hold keys of several kinds. merger
// is the name under which the store's merger was registered; it must be one that concatenates.
func CompactedBytes(ctx context.Context, dir, merger string, low, high []byte) (bytes uint64, err error) {
	concat := *pebble.DefaultMerger
	concat.Name = merger
	db, err := pebble.Open(dir, options(Sizes{Cache: 64 << 20, MemTable: 32 << 20}, &concat))
	if err != nil {
		return 0, fmt.Errorf("limits: open %s for compaction: %w", dir, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	first, last := []byte{0}, []byte{0xff, 0xff, 0xff}
	if err := errors.Join(db.DeleteRange(first, low, pebble.Sync), db.DeleteRange(high, last, pebble.Sync), db.Flush()); err != nil {
		return 0, err
	}
	// Twice: the first leaves range deletions in the last level's tables to compactions that drop them.
	for range 2 {
		if err := db.Compact(ctx, first, last, false); err != nil {
			return 0, err
		}
	}
	m := db.Metrics()
	return uint64(m.Total().TablesSize) + m.BlobFiles.LiveSize, nil
}

// String says how large the parts are.
func (a *Add) String() string {
	return fmt.Sprintf("log %d+%d, leaf %d+%d bytes", len(a.LogKey), len(a.Record), len(a.Leaf), len(a.Operand))
}
