package storage

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

const (
	// separatedValue is the size from which values leave the tables for blob files, so that
	// compaction does not copy them again and again.
	separatedValue = 4 << 10
	// bloomBits a key give about one false positive in a hundred.
	bloomBits = 10
	// memTables is how many memtables exist at a time: the one being written, and the one being
	// flushed or kept for reuse. Pebble takes their bytes off its block cache, of which nothing would
	// be left at the default sizes: each read of a leaf then read and checked a whole bloom filter.
	memTables = 2
)

// options configures Pebble. The format version is set explicitly: its default would not detect a
// damaged record in the middle of a log.
func (s *Store) options(lock *pebble.Lock) *pebble.Options {
	o := &pebble.Options{
		FS:                          watchedFS{s.cfg.FS, s},
		Lock:                        lock,
		CacheSize:                   s.cfg.CacheBytes + memTables*s.cfg.MemTableBytes,
		MemTableSize:                uint64(s.cfg.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		FormatMajorVersion:          pebble.FormatNewest,
		Merger:                      merger,
		Logger:                      pebbleLogger{s},
		EventListener:               s.events(),
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

// events makes background errors final. Pebble would try again for ever; but a full disk or a failed
// sync of a table means that the next commit may find no room, and that must be said, not retried.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { s.backgroundFailed(fmt.Errorf("background write: %w", err)) },
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.fail(fmt.Errorf("damaged file %s: %w", info.Path, info.Details))
		},
	}
}

// pebbleLogger drops Pebble's chatter and turns its fatal errors into the store's.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) { l.s.cfg.Logf("pebble: "+format, args...) }

// Fatalf must not return; Pebble is not usable any more. It may be called on any goroutine, so a panic
// would end the process. See watch.go for what becomes of the caller.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := &fatal{text: fmt.Sprintf("pebble: "+format, args...)}
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err.cause = cause
		}
	}
	l.s.abandon(err)
}

// fatal is what Pebble would end the process for, with the error among what it says.
type fatal struct {
	text  string
	cause error // nil: there is none
}

// Error implements error.
func (f *fatal) Error() string { return f.text }

// Unwrap gives errors.As the cause.
func (f *fatal) Unwrap() error { return f.cause }
