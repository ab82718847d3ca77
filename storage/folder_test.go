package storage

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func TestForeignFolderIsRefusedUnharmed(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("home", 0o755))
	overwrite(t, fs, "home/thesis.tex", []byte("precious"))
	_, err := Open(Config{FS: fs, Dir: "home"})
	require.ErrorIs(t, err, kv.ErrInvalid)
	require.ErrorContains(t, err, "thesis.tex")
	names, err := fs.List("home")
	require.NoError(t, err)
	require.Equal(t, []string{"thesis.tex"}, names)
}

func TestFormatFileTellsVersionsApart(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	require.NoError(t, s.Close())
	overwrite(t, fs, "store/FORMAT", []byte("theriac store 9\n"))
	_, err := Open(Config{FS: fs, Dir: "store"})
	require.ErrorIs(t, err, kv.ErrInvalid)
	overwrite(t, fs, "store/FORMAT", []byte("theriac stOre 1\n"))
	_, err = Open(Config{FS: fs, Dir: "store"})
	require.ErrorIs(t, err, kv.ErrCorrupt)
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "store")
	s, err := Open(Config{Dir: dir})
	require.NoError(t, err)
	_, err = Open(Config{Dir: dir})
	require.ErrorIs(t, err, kv.ErrUnavailable)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, s.Close())
	s, err = Open(Config{Dir: dir})
	require.NoError(t, err)
	require.False(t, s.Start().Fresh)
	require.NoError(t, s.Close())
}

func TestStoreWithoutItsWitnessIsShortUntilRecovered(t *testing.T) {
	fs, at := filled(t)
	first := openMem(t, fs)
	incarnation := first.Start().Incarnation
	require.False(t, first.Start().Short)
	require.NoError(t, first.Checkpoint("copy"))
	require.ErrorIs(t, first.Checkpoint("copy"), kv.ErrInvalid)
	require.NoError(t, first.Close())

	open := func() *Store {
		s, err := Open(Config{FS: fs, Dir: "copy"})
		require.NoError(t, err)
		return s
	}
	s := open()
	require.True(t, s.Start().Short)
	require.Contains(t, s.Start().Reason, "checkpoint")
	require.NotEqual(t, incarnation, s.Start().Incarnation)
	incarnation = s.Start().Incarnation
	require.EqualValues(t, 42, readCounter(t, s, "42", at))
	require.NoError(t, s.Close())
	s = open()
	require.True(t, s.Start().Short, "also after the next start")
	require.Equal(t, incarnation, s.Start().Incarnation)
	do(t, s, func(b *Batch) error { b.Recovered(); return nil })
	require.NoError(t, s.Close())
	s = open()
	require.False(t, s.Start().Short)
	do(t, s, func(b *Batch) error { b.Short("eu knows more"); return nil })
	require.NoError(t, s.Close())
	s = open()
	require.True(t, s.Start().Short)
	require.Equal(t, "eu knows more", s.Start().Reason)
	require.NotEqual(t, incarnation, s.Start().Incarnation, "what it lacks it lacks under another incarnation")
	incarnation = s.Start().Incarnation
	require.NoError(t, s.Close())
	s = open()
	require.Equal(t, incarnation, s.Start().Incarnation)
	require.Equal(t, "eu knows more", s.Start().Reason)
	require.True(t, s.Start().Short)
	require.Equal(t, "eu knows more", s.Start().Reason)
	require.NoError(t, s.Close())
}

func TestLostTailIsRefusedWithARemedy(t *testing.T) {
	fs, _ := filled(t)
	var logs []string
	for _, name := range files(t, fs, "store/data") {
		if strings.HasSuffix(name, ".log") {
			logs = append(logs, name)
		}
	}
	last := logs[len(logs)-1]
	b := contents(t, fs, last)
	overwrite(t, fs, last, b[:2*separatedValue]) // the file is recycled: what counts is at its beginning
	_, err := Open(Config{FS: fs, Dir: "store"})
	require.ErrorIs(t, err, kv.ErrCorrupt)
	require.ErrorContains(t, err, "delete the file "+witnessName)
	require.NoError(t, fs.Remove("store/"+witnessName))
	s := openMem(t, fs)
	require.True(t, s.Start().Short)
}

func TestMissingDataIsRefused(t *testing.T) {
	fs, _ := filled(t)
	require.NoError(t, fs.RemoveAll("store/data"))
	_, err := Open(Config{FS: fs, Dir: "store"})
	require.ErrorIs(t, err, kv.ErrCorrupt)
}

// TestCrashDuringCreationLeavesNothingOrAStore crashes after every file system operation of Open.
func TestCrashDuringCreationLeavesNothingOrAStore(t *testing.T) {
	for stop := range 60 {
		mem := vfs.NewCrashableMem()
		var clone *vfs.MemFS
		n := 0
		counting := &countingFS{FS: mem, at: func() {
			if n++; n == stop {
				clone = mem.CrashClone(vfs.CrashCloneCfg{})
			}
		}}
		s, err := Open(Config{FS: counting, Dir: "a/b/store"})
		require.NoError(t, err)
		if clone == nil {
			clone = mem.CrashClone(vfs.CrashCloneCfg{})
		}
		require.NoError(t, s.Close())
		again, err := Open(Config{FS: clone, Dir: "a/b/store"})
		require.NoError(t, err, "stopped at operation %d", stop)
		require.False(t, again.Start().Short, "stopped at operation %d", stop)
		a := &author{lane: lane(1)}
		r, enc := a.group(t, clock.Vector(nil), counterOp("a", 1))
		do(t, again, func(b *Batch) error { return b.Apply(r, enc) })
		require.NoError(t, again.Close())
	}
}

// TestPowerCutWhileOpeningLeavesAStoreWhateverEntriesOfFoldersSurvive crashes after every file system
// operation of a creation and of the two openings after it. No order is promised in which new entries of a
// folder reach the disk before it is synced.
func TestPowerCutWhileOpeningLeavesAStoreWhateverEntriesOfFoldersSurvive(t *testing.T) {
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 0))
		for stop := 1; ; stop++ {
			fs, clone, n := vfs.NewCrashableMem(), (*vfs.MemFS)(nil), 0
			var mu sync.Mutex // Pebble removes old files on a goroutine of its own
			for range 3 {
				s, err := Open(Config{FS: &countingFS{FS: fs, at: func() {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == stop {
						clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
					}
				}}, Dir: "store"})
				require.NoError(t, err)
				require.NoError(t, s.Close())
			}
			if clone == nil {
				break
			}
			again, err := Open(Config{FS: clone, Dir: "store"})
			require.NoError(t, err, "seed %d, stopped at operation %d", seed, stop)
			require.False(t, again.Start().Short, "seed %d, stopped at operation %d", seed, stop)
			require.NoError(t, again.Close())
		}
	}
}

// countingFS calls at before each operation that changes folders.
type countingFS struct {
	vfs.FS
	at func()
}

func (c *countingFS) Create(name string, k vfs.DiskWriteCategory) (vfs.File, error) {
	c.at()
	return c.FS.Create(name, k)
}
func (c *countingFS) OpenDir(name string) (vfs.File, error) {
	c.at()
	return c.FS.OpenDir(name)
}
func (c *countingFS) Rename(old, name string) error {
	c.at()
	return c.FS.Rename(old, name)
}
func (c *countingFS) Remove(name string) error {
	c.at()
	return c.FS.Remove(name)
}
func (c *countingFS) Unwrap() vfs.FS { return c.FS }
