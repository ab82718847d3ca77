package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// nth fails one operation of a kind, or it and all that follow.
type nth struct {
	n    atomic.Int64 // until the one that fails; negative: it is over
	all  bool
	err  error
	kind func(errorfs.Op) bool
}

func (f *nth) String() string { return "nth" }

func (f *nth) MaybeError(op errorfs.Op) error {
	if !f.kind(op) {
		return nil
	}
	if n := f.n.Add(-1); n == -1 || f.all && n < 0 {
		return f.err
	}
	return nil
}

// struck reports whether the operation came.
func (f *nth) struck() bool { return f.n.Load() < 0 }

const never = 1 << 40

func anyOp(op errorfs.Op) bool {
	// Pebble logs and goes on where files can't be removed, and where it can't tell their size.
	return op.Kind != errorfs.OpRemove && op.Kind != errorfs.OpStat && op.Kind != errorfs.OpFileStat && op.Kind != errorfs.OpGetDiskUsage
}

// TestOpenMeetsEveryFault opens a store while some operation of the file system fails, every eighth in
// turn, once or from then on. Open says so, or needed it not; and then the store opens and holds what was
// acknowledged, as if nothing had been.
func TestOpenMeetsEveryFault(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const step = 8 // each Open that gives up leaves a Pebble store behind
	full, at := filled(t)
	copied := full.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, errors.Join(copied.Remove("store/"+witnessName), syncDir(copied, "store")))
	for name, c := range map[string]struct {
		from  *vfs.MemFS
		at    clock.Vector
		short bool
	}{
		"new": {from: vfs.NewCrashableMem()}, "full": {from: full, at: at}, "copied": {from: copied, at: at, short: true},
	} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s all=%t", name, all), func(t *testing.T) {
				for n := rng.Int64N(step); ; n += step {
					fs := c.from.CrashClone(vfs.CrashCloneCfg{})
					f := &nth{all: all, err: syscall.EIO, kind: anyOp}
					f.n.Store(n)
					s, err := Open(Config{FS: errorfs.Wrap(fs, f), Dir: "store", CacheBytes: 1, MemTableBytes: 256 << 10,
						TidyInterval: time.Hour, SweepInterval: time.Hour})
					struck := f.struck()
					f.n.Store(never) // what an Open that gave up has left behind would try for ever
					if err == nil {
						_ = s.Close() // the fault may have struck the running store
					} else {
						require.True(t, struck, err)
						require.ErrorIs(t, err, kv.ErrUnavailable, "operation %d: %v", n, err)
						require.NotContains(t, err.Error(), remedy, "operation %d", n)
					}
					again, err := Open(Config{FS: fs.CrashClone(vfs.CrashCloneCfg{}), Dir: "store", CacheBytes: 1, MemTableBytes: 256 << 10})
					require.NoError(t, err, "after operation %d failed", n)
					require.Equal(t, c.short, again.Start().Short, "after operation %d failed", n)
					require.Equal(t, c.at.At(1), again.Start().Applied[lane(1)], "after operation %d failed", n)
					require.NoError(t, again.Close())
					if !struck {
						return
					}
				}
			})
		}
	}
}

// TestReadsMeetEveryFault reads in every way while one read of the disk after the other fails. Each
// says so, or gives the whole answer; and nothing is left open behind it.
func TestReadsMeetEveryFault(t *testing.T) {
	fs, at := filled(t)
	f := &nth{err: syscall.EIO, kind: func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileReadAt && !strings.HasSuffix(op.Path, ".log") || op.Kind == errorfs.OpOpen
	}}
	f.n.Store(never)
	open := func() *Store {
		s, err := Open(Config{FS: errorfs.Wrap(fs, f), Dir: "store", CacheBytes: 1, MemTableBytes: 64 << 10, LeafCacheBytes: -1,
			TidyInterval: time.Hour, SweepInterval: time.Hour})
		require.NoError(t, err)
		// What Pebble reads in the background would meet the fault in place of the read, and end the store.
		for m := s.db.Metrics(); !m.Table.InitialStatsCollectionComplete || m.Table.PendingStatsCollectionCount+m.Compact.NumInProgress+m.Flush.NumInProgress > 0; m = s.db.Metrics() {
			runtime.Gosched()
		}
		return s
	}
	s := open()
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false)) // none is due later
	step := int64(1)
	if testing.Short() {
		step = 4
	}
	for name, read := range waysToRead(at) {
		t.Run(name, func(t *testing.T) {
			want, err := read(s)
			require.NoError(t, err)
			for n := int64(0); ; n += step {
				require.NoError(t, s.Close())
				s = open() // with nothing cached
				f.n.Store(n)
				got, err := read(s)
				struck := f.struck()
				f.n.Store(never)
				require.NoError(t, s.Failed(), "the disk may recover")
				if err == nil {
					require.Equal(t, want, got, "read %d failed, and nobody said so", n)
				} else {
					require.ErrorIs(t, err, kv.ErrUnavailable, "read %d", n)
				}
				got, err = read(s)
				require.NoError(t, err, "after read %d failed", n)
				require.Equal(t, want, got)
				if !struck {
					return
				}
			}
		})
	}
	require.NoError(t, s.Close())
}

// waysToRead is every way to read a store, as text.
func waysToRead(at clock.Vector) map[string]func(s *Store) ([]string, error) {
	return map[string]func(s *Store) ([]string, error){
		"value": func(s *Store) (out []string, err error) {
			for i := range 43 {
				v, e := s.Value(Leaf{Object: counterObject(fmt.Sprint(i))}, at)
				w, e2 := s.Value(Leaf{Object: kv.Object{Bucket: "b", Key: kv.Key(fmt.Sprint(i)), Type: 2}}, at)
				out, err = append(out, fmt.Sprint(v.Int, string(w.Bytes))), errors.Join(err, e, e2)
			}
			return out, err
		},
		"scan": func(s *Store) (out []string, err error) {
			err = s.scan(s.stopped, []byte{spaceLeaf}, []byte{spaceLeaf + 1}, func(key, items []byte) (bool, error) {
				out = append(out, string(key)+string(items))
				return true, nil
			})
			return out, err
		},
		"keys": func(s *Store) (out []string, err error) {
			err = s.ScanKeys(s.stopped, KeyRange{Bucket: "b"}, at, func(o kv.Object) (bool, error) {
				out = append(out, string(o.Key))
				return true, nil
			})
			return out, err
		},
		"buckets": func(s *Store) ([]string, error) {
			found, err := s.Buckets(s.stopped, nil, "", 100)
			return []string{fmt.Sprint(found)}, err
		},
		"log": func(s *Store) (out []string, err error) {
			records, err := s.Log(lane(1), 0, 1<<30)
			for _, r := range records {
				out = append(out, string(r))
			}
			return out, err
		},
		"range": func(s *Store) (out []string, err error) {
			for shard := range uint8(Shards) {
				leaves, _, e := s.ShardRange(s.stopped, shard, nil, at, 1<<20)
				err = errors.Join(err, e)
				out = append(out, fmt.Sprint(leaves))
			}
			return out, err
		},
		"sweep": func(s *Store) ([]string, error) { return nil, s.Sweep(s.stopped) },
		"removal": func(s *Store) ([]string, error) {
			err := try(s, func(b *Batch) error {
				o := counterObject("1")
				b.remove(&removal{prefix: appendObjectKey(nil, &o, 0)[:2], cursor: appendObjectKey(nil, &o, 0)[:2]})
				if b.err != nil {
					return b.err
				}
				return errNotNow // nothing of it is to be written
			})
			if errors.Is(err, errNotNow) {
				err = nil
			}
			return nil, err
		},
	}
}

var errNotNow = errors.New("not now")
