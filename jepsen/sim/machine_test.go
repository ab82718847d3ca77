package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

func TestClocksAreOffDriftAndStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMachineClock(time.Second, 0.5)
		start := clock.WallOf(time.Now())
		time.Sleep(10 * time.Second)
		require.Equal(t, 15*time.Second, c.Monotonic())
		require.Equal(t, 16*time.Second, c.Wall().Sub(start))
		began := time.Now()
		fired, _ := c.NewTimer(3 * time.Second)
		<-fired
		require.InDelta(t, 2*time.Second, time.Since(began), 10, "a fast clock's timers are early")
		require.GreaterOrEqual(t, c.Monotonic(), 18*time.Second, "never before their time by the same clock")
		c.set(-time.Hour)
		require.Less(t, c.Wall(), start)
		c.set(0)
		c.synchronise()
		require.Equal(t, clock.WallOf(time.Now()), c.Wall())
		mono := c.Monotonic()
		time.Sleep(time.Second)
		require.Equal(t, mono+time.Second, c.Monotonic())
		fired, release := c.NewTimer(time.Hour)
		release()
		require.Empty(t, fired)
	})
}

func write(t *testing.T, d *disk, name, text string) vfs.File {
	t.Helper()
	f, err := d.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte(text))
	require.NoError(t, err)
	return f
}

func TestDisksAreSlowFailAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(0, rand.New(rand.NewPCG(1, 1)), newReached())
		f, other := write(t, d, "1.log", "synced"), write(t, d, "2.sst", "x")
		d.setSlow(100 * time.Millisecond)
		began := time.Now()
		require.NoError(t, f.Sync())
		took := time.Since(began)
		require.GreaterOrEqual(t, took, 50*time.Millisecond)
		require.Less(t, took, 150*time.Millisecond)
		require.NoError(t, other.Sync())
		require.Equal(t, took, time.Since(began), "only the log is slow")
		root, err := d.OpenDir("")
		require.NoError(t, err)
		require.NoError(t, root.Sync())
		_, err = f.Write([]byte(" not"))
		require.NoError(t, err)
		d.fail(syscall.EIO)
		require.True(t, d.failing())
		_, err = f.SyncTo(1)
		for _, err := range []error{err, f.Sync(), f.SyncData()} {
			require.ErrorIs(t, err, syscall.EIO)
		}
		after := d.crash()
		require.False(t, after.failing(), "a new process meets a new disk")
		read, err := after.Open("1.log")
		require.NoError(t, err)
		b, err := io.ReadAll(read)
		require.NoError(t, err)
		require.Contains(t, string(b), "synced")
		d.end()
		require.NoError(t, f.SyncData(), "what is over disturbs nobody")
	})
}

// A log is told to the file system in memory late. A crash must leave the same of it as if it had been told at once.
func TestALogSurvivesACrashAsAnyFile(t *testing.T) {
	for seed := range uint64(200) {
		draw := rand.New(rand.NewPCG(seed, 7))
		d, plain := newDisk(0, rand.New(rand.NewPCG(seed, 1)), newReached()), vfs.NewCrashableMem()
		var files [2]vfs.File
		again := func(what func(vfs.FS) (vfs.File, error)) {
			for i, fs := range []vfs.FS{d, plain} {
				f, err := what(fs)
				require.NoError(t, err)
				if files[i] != nil {
					require.NoError(t, files[i].Close())
				}
				root, err := fs.OpenDir("")
				require.NoError(t, err)
				require.NoError(t, root.Sync())
				files[i] = f
			}
		}
		again(func(fs vfs.FS) (vfs.File, error) { return fs.Create("1.log", vfs.WriteCategoryUnspecified) })
		name := "1.log"
		for range draw.IntN(40) {
			switch draw.IntN(12) {
			case 0: // used again for the next log
				before, after := name, fmt.Sprintf("%d.log", draw.IntN(1000)+2)
				if before == after {
					continue
				}
				again(func(fs vfs.FS) (vfs.File, error) {
					return fs.ReuseForWrite(before, after, vfs.WriteCategoryUnspecified)
				})
				name = after
			case 1:
				sizes := [2]int64{}
				for i, f := range files {
					info, err := f.Stat()
					require.NoError(t, err)
					sizes[i] = info.Size()
				}
				require.Equal(t, sizes[1], sizes[0], "seed %d", seed)
			case 2, 3, 4, 5:
				for _, f := range files {
					require.NoError(t, f.SyncData())
				}
			case 6:
				require.Equal(t, content(t, plain, name), content(t, d, name), "seed %d", seed)
			default:
				text := bytes.Repeat([]byte{byte(draw.IntN(256))}, draw.IntN(9000))
				for _, f := range files {
					_, err := f.Write(text)
					require.NoError(t, err)
				}
			}
		}
		same := rand.New(rand.NewPCG(seed, 1))
		random := rand.New(rand.NewPCG(same.Uint64(), 1))
		want := plain.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: same.IntN(101), RNG: random})
		require.Equal(t, content(t, want, name), content(t, d.crash(), name), "seed %d", seed)
	}
}

func content(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return b
}

// answering takes all requests.
type answering struct {
	kv.Service
	taken, asked atomic.Int64
}

func (a *answering) Do(context.Context, kv.Request) (kv.Response, error) {
	a.taken.Add(1)
	return kv.Response{}, nil
}

func (a *answering) Commit(context.Context, kv.TxnID, kv.Options) (kv.Receipt, error) {
	a.taken.Add(1)
	return kv.Receipt{}, nil
}

func TestCallsGetLostAndArriveLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late sync.WaitGroup
		a := &answering{}
		var acknowledged atomic.Int64
		told := func(_ *kv.Options, serving int, _ kv.Receipt) { acknowledged.Add(int64(serving)) }
		c := &callers{
			Service: a, answered: told, serving: func() int { return 1 }, region: "eu", reach: newReached(), late: &late, ctx: t.Context(),
			random: rand.New(rand.NewPCG(1, 1)),
		}
		write := kv.Request{Ops: make([]kv.Op, 1)}
		write.Options.Attempt.Retry = true
		_, err := c.Do(t.Context(), write)
		require.NoError(t, err)
		c.setBad(1)
		_, err = c.Do(t.Context(), kv.Request{}) // a read
		require.NoError(t, err)
		for i := range 300 {
			if i%2 == 0 {
				_, err = c.Do(t.Context(), write)
			} else {
				_, err = c.Commit(t.Context(), 1, kv.Options{})
			}
			require.ErrorIs(t, err, kv.ErrUnavailable)
			require.Equal(t, kv.OutcomeUnknown, kv.OutcomeOf(err))
		}
		late.Wait()
		counts := c.reach.all()
		require.Equal(t, 300, counts["request lost"]+counts["answer lost"]+counts["request held up"])
		require.NotZero(t, counts["request lost"])
		require.Equal(t, counts["request held up"], counts["late request taken"])
		require.Equal(t, 2+counts["answer lost"]+counts["request held up"], int(a.taken.Load()))
		require.Equal(t, 151, counts["write tried again"])
		require.Equal(t, a.taken.Load()-1, acknowledged.Load(), "all but the read")
	})
}

func (a *answering) Status(context.Context) (kv.Status, error) {
	return kv.Status{Incarnation: 7, Exposed: clock.Vector{{Time: 64}}}, nil
}

func (a *answering) Begin(context.Context, kv.Begin) (kv.TxnID, kv.Receipt, error) {
	return 5, kv.Receipt{}, nil
}

func (a *answering) Outcome(_ context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	switch asked := a.asked.Add(1); {
	case !req.Attempt.Retry || req.Attempt.ID.IsZero() || req.Attempt.After != 64 || req.Attempt.Lane != (clock.Lane{}):
		return kv.OutcomeAnswer{}, kv.Errorf(kv.KindInvalid, "that names no try at level strong")
	case asked%5 == 0:
		return kv.OutcomeAnswer{}, kv.Errorf(kv.KindUnavailable, "not now")
	case asked%2 == 0:
		return kv.OutcomeAnswer{Outcome: kv.Applied, Commit: clock.Stamp{Time: 128}}, nil
	}
	return kv.OutcomeAnswer{Outcome: kv.NotApplied}, nil
}

// Callers at level strong name their tries, ask what became of them, and send some once more.
func TestStrongCallersAskWhatBecameOfTheirWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late sync.WaitGroup
		a := &answering{}
		c := &callers{
			Service: a, answered: func(*kv.Options, int, kv.Receipt) {}, serving: func() int { return 3 }, region: "eu", reach: newReached(), late: &late,
			ctx: t.Context(), random: rand.New(rand.NewPCG(1, 1)), bad: 1,
		}
		id, _, err := c.Begin(t.Context(), kv.Begin{Options: kv.Options{Level: kv.LevelStrong}})
		require.NoError(t, err)
		write := kv.Request{Ops: make([]kv.Op, 1), Options: kv.Options{Level: kv.LevelStrong}}
		outcomes := map[kv.Outcome]int{}
		note := func(r kv.Receipt, err error) {
			if err == nil {
				require.Equal(t, clock.Stamp{Time: 128}, r.Commit)
				require.Equal(t, 2, r.Regions)
				outcomes[kv.Applied]++
				return
			}
			outcomes[kv.OutcomeOf(err)]++
		}
		for range 100 {
			resp, err := c.Do(t.Context(), write)
			note(resp.Receipt, err)
			note(c.Commit(t.Context(), id, kv.Options{}))
			read := write
			read.Queries = make([]kv.Query, 1)
			_, err = c.Do(t.Context(), read)
			require.Error(t, err, "the answer is lost")
		}
		late.Wait()
		require.Greater(t, outcomes[kv.Applied], 30)
		require.Greater(t, outcomes[kv.NotApplied], 30)
		require.Greater(t, outcomes[kv.OutcomeUnknown], 30)
		require.NotZero(t, c.reach.all()["late retry taken"])
	})
}
