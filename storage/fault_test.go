package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"sort"
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

// filled makes a store with tables, blob files and a log to replay, synced, and crashes it.
func filled(t testing.TB) (fs *vfs.MemFS, at clock.Vector) {
	fs = vfs.NewCrashableMem()
	s, err := Open(Config{FS: fs, Dir: "store", SyncDelay: time.Hour})
	require.NoError(t, err)
	a := &author{lane: lane(1)}
	put := func(from, to int) {
		for i := from; i < to; i++ {
			big := kv.Op{Object: kv.Object{Bucket: "b", Key: kv.Key(fmt.Sprint(i)), Type: 2}, Verb: kv.VerbAssign, Data: randomBytes(i, separatedValue+1)}
			r, enc := a.group(t, at, counterOp(fmt.Sprint(i), int64(i)), big)
			do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
			at = clock.VectorOf(clock.Entry{Region: 1, Time: a.last})
		}
	}
	put(0, 20)
	require.NoError(t, s.db.Flush())
	put(20, 40)
	require.NoError(t, s.Compact(context.Background()))
	put(40, 43)
	require.NoError(t, s.witness.sync())
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())
	return crashed, at
}

func randomBytes(seed, n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(seed), 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// files lists all files below a folder.
func files(t testing.TB, fs vfs.FS, dir string) (out []string) {
	names, err := fs.List(dir)
	require.NoError(t, err)
	sort.Strings(names)
	for _, name := range names {
		p := path.Join(dir, name)
		info, err := fs.Stat(p)
		require.NoError(t, err)
		if info.IsDir() {
			out = append(out, files(t, fs, p)...)
		} else if info.Size() > 0 {
			out = append(out, p)
		}
	}
	return out
}

func contents(t testing.TB, fs vfs.FS, name string) []byte {
	f, err := fs.Open(name)
	require.NoError(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return b
}

func overwrite(t testing.TB, fs vfs.FS, name string, b []byte) {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(bytes.Clone(b)) // with its checks on, the file system spoils what it was given
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// TestFlippedBitIsAnErrorOrHarmless flips bits all over what was synced. Each is an error that names
// the file or folder, at open or at a read, or changes no answer.
func TestFlippedBitIsAnErrorOrHarmless(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	fs, at := filled(t)
	outcomes := map[string]int{}
	flips := 60 // of each file
	if testing.Short() {
		flips = 20
	}
	for _, name := range files(t, fs, "store") {
		size := len(contents(t, fs, name))
		for range min(size*8, flips) {
			bit := rng.IntN(size * 8)
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			b := contents(t, clone, name)
			b[bit/8] ^= 1 << (bit % 8)
			overwrite(t, clone, name, b)
			outcome := judgeDamaged(t, clone, at, fmt.Sprintf("%s bit %d", name, bit))
			outcomes[kindOfFile(name)+": "+outcome]++
		}
	}
	t.Log(outcomes)
	require.NotZero(t, outcomes["log: refused"]+outcomes["log: no difference"])
	require.NotZero(t, outcomes["MANIFEST: refused"])
	require.NotZero(t, outcomes["table: error at a read"]+outcomes["table: refused"])
}

func kindOfFile(name string) string {
	switch {
	case strings.HasSuffix(name, ".log"):
		return "log"
	case strings.HasSuffix(name, ".sst"):
		return "table"
	case strings.HasSuffix(name, ".blob"):
		return "blob"
	}
	return strings.SplitN(path.Base(name), "-", 2)[0]
}

// judgeDamaged opens a damaged store and reads everything in it.
func judgeDamaged(t *testing.T, fs vfs.FS, at clock.Vector, what string) string {
	s, err := Open(Config{FS: fs, Dir: "store", Incarnation: func() uint64 { return 7 }})
	if err != nil {
		require.Contains(t, err.Error(), "store", what)
		require.True(t, errors.Is(err, kv.ErrCorrupt) || errors.Is(err, kv.ErrInvalid) || errors.Is(err, kv.ErrUnavailable), "%s: %v", what, err)
		return "refused"
	}
	defer func() { _ = s.Close() }()
	require.False(t, s.Start().Short, "%s: short without a word: %s", what, s.Start().Reason)
	require.False(t, s.Start().Fresh, what)
	for i := range 43 {
		v, err := s.Value(Leaf{Object: counterObject(fmt.Sprint(i))}, at)
		w, err2 := s.Value(Leaf{Object: kv.Object{Bucket: "b", Key: kv.Key(fmt.Sprint(i)), Type: 2}}, at)
		if err = errors.Join(err, err2); err != nil {
			require.ErrorIs(t, err, kv.ErrCorrupt, what)
			require.ErrorIs(t, s.Failed(), kv.ErrReadOnly, what)
			require.Regexp(t, `0000|\.blob`, err.Error()+s.Failed().Error(), "%s: the file is named", what)
			return "error at a read"
		}
		require.EqualValues(t, i, v.Int, what)
		require.True(t, bytes.Equal(randomBytes(i, separatedValue+1), w.Bytes), "%s: key %d, %d bytes", what, i, len(w.Bytes))
	}
	records, err := s.Log(lane(1), 0, 1<<30)
	if err != nil {
		require.ErrorIs(t, err, kv.ErrCorrupt, what)
		return "error at a read"
	}
	require.Len(t, records, 43, what)
	for _, r := range records {
		_, err := kv.DecodeRecord(r)
		require.NoError(t, err, what)
	}
	return "no difference"
}

// failing lets a test make the file system fail from some operation on.
type failing struct {
	left atomic.Int64 // operations of the kinds until one fails; negative: none does
	err  error
	kind func(errorfs.Op) bool
}

func (f *failing) String() string { return "failing" }

func (f *failing) MaybeError(op errorfs.Op) error {
	if !f.kind(op) || f.left.Load() < 0 {
		return nil
	}
	if f.left.Add(-1) < 0 {
		f.left.Store(0) // and all later ones too
		return f.err
	}
	return nil
}

func TestFailedSyncOrFullDiskStopsWritesAndLosesNothingSilently(t *testing.T) {
	syncs := func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	}
	writes := func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWriteAt
	}
	for name, kind := range map[string]func(errorfs.Op) bool{"sync": syncs, "write": writes} {
		for left := range 40 {
			t.Run(fmt.Sprintf("%s %d", name, left), func(t *testing.T) {
				failOnce(t, &failing{kind: kind, err: map[string]error{"sync": syscall.EIO, "write": syscall.ENOSPC}[name]}, int64(left)*4)
			})
		}
	}
}

func TestAFailedFlushIsNotTriedForEver(t *testing.T) {
	var running atomic.Pointer[Store]
	var after atomic.Int32 // files begun after the failure
	f := &failing{err: syscall.EIO, kind: func(op errorfs.Op) bool {
		if s := running.Load(); op.Kind == errorfs.OpCreate && s != nil && s.Failed() != nil {
			after.Add(1)
		}
		return (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.HasSuffix(op.Path, ".sst")
	}}
	f.left.Store(-1)
	s, err := Open(Config{FS: errorfs.Wrap(vfs.NewMem(), f), Dir: "store", MemTableBytes: 64 << 10})
	require.NoError(t, err)
	running.Store(s)
	f.left.Store(0)
	a := &author{lane: lane(1)}
	for err == nil {
		r, enc := a.group(t, nil, kv.Op{Object: kv.Object{Bucket: "b", Key: kv.Key(fmt.Sprint(a.last)), Type: 2}, Verb: kv.VerbAssign, Data: make([]byte, 300)})
		err = try(s, func(b *Batch) error { return b.Apply(r, enc) })
	}
	require.ErrorIs(t, err, kv.ErrReadOnly)
	<-s.guard.stranded
	require.LessOrEqual(t, after.Load(), int32(1), "the attempt that was under way")
	_, err = s.Value(Leaf{Object: counterObject("x")}, nil)
	require.NoError(t, err, "reads go on")
	require.ErrorIs(t, s.Close(), kv.ErrReadOnly)
}

// failOnce writes until an error strikes and checks what was promised.
func failOnce(t *testing.T, f *failing, left int64) {
	f.left.Store(-1)
	mem := vfs.NewCrashableMem()
	var fatal atomic.Int32
	s, err := Open(Config{FS: errorfs.Wrap(mem, f), Dir: "store", MemTableBytes: 64 << 10, Fatal: func(error) { fatal.Add(1) }})
	require.NoError(t, err)
	f.left.Store(left)
	a := &author{lane: lane(1)}
	var durable clock.Timestamp
	var failure error
	for i := range 2000 {
		r, enc := a.group(t, nil, kv.Op{Object: kv.Object{Bucket: "b", Key: kv.Key(fmt.Sprint(i)), Type: 2}, Verb: kv.VerbAssign, Data: make([]byte, 300)})
		if failure = try(s, func(b *Batch) error { b.Sync(); return b.Apply(r, enc) }); failure != nil {
			break
		}
		durable = r.Time
	}
	require.ErrorIs(t, failure, kv.ErrReadOnly)
	// Whoever finds a failure of the background refuses writes at once; Fatal may still be on its way.
	require.Eventually(t, func() bool { return fatal.Load() == 1 }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, try(s, func(*Batch) error { return nil }), kv.ErrReadOnly, "writes are refused from then on")
	_, err = s.Value(Leaf{Object: counterObject("x")}, nil)
	require.NoError(t, err, "reads go on")
	clone := mem.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close() // it says what went wrong once more
	require.EqualValues(t, 1, fatal.Load(), "told once")
	again, err := Open(Config{FS: clone, Dir: "store"})
	require.NoError(t, err)
	require.GreaterOrEqual(t, again.Start().Applied[lane(1)], durable, "what was acknowledged is there")
	require.False(t, again.Start().Short)
	require.NoError(t, again.Close())
}
