package storage

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// voidRecord is what a node logs when it starts after a crash: all up to floor may be lost.
func voidRecord(l clock.Lane, last, floor, at clock.Timestamp) *kv.Record {
	return &kv.Record{Header: kv.Header{Lane: l, Prev: last, Time: at, Kind: kv.RecordVoid}, Void: kv.Interval{From: last, To: floor}}
}

func TestVoidIntervalsStayForGood(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	r := voidRecord(lane(1), 0, 200, 300)
	do(t, s, func(b *Batch) error { return b.Apply(r, r.Append(nil)) })
	do(t, s, func(b *Batch) error { b.TruncateLog(lane(1), 5000); return nil })
	check := func(s *Store) {
		require.False(t, s.Void(lane(1), 0))
		require.True(t, s.Void(lane(1), 1))
		require.True(t, s.Void(lane(1), 200))
		require.True(t, s.Void(lane(1), 300), "no token names the record itself")
		require.False(t, s.Void(lane(1), 301))
		require.False(t, s.Void(lane(2), 150))
		require.Equal(t, map[clock.Lane][]kv.Interval{lane(1): {{From: 0, To: 300}}}, s.Voids())
	}
	check(s)
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	check(s)
	do(t, s, func(b *Batch) error { b.Clear(); return nil })
	check(s)
}

func TestTokensAreLoweredBelowVoidRecords(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	v := clock.VectorOf(clock.Entry{Region: 1, Time: 1 << 12}, clock.Entry{Region: 2, Time: 1 << 12})
	require.Equal(t, v, s.Lowered(v))
	a := &author{lane: lane(1)}
	group, enc := a.group(t, nil, counterOp("a", 1))
	first, second := voidRecord(lane(1), group.Time, group.Time+64, group.Time+128), voidRecord(lane(2), 0, 64, 128)
	do(t, s, func(b *Batch) error {
		return errors.Join(b.Apply(group, enc), b.Apply(first, first.Append(nil)), b.Apply(second, second.Append(nil)))
	})
	at := clock.VectorOf(clock.Entry{Region: 1, Time: first.Time}, clock.Entry{Region: 2, Time: second.Time}, clock.Entry{Region: 3, Time: 64})
	require.Equal(t, clock.VectorOf(clock.Entry{Region: 1, Time: group.Time}, clock.Entry{Region: 3, Time: 64}), s.Lowered(at))
	at = at.With(1, group.Time)
	require.Equal(t, group.Time, s.Lowered(at).At(1), "a group is not void")
	require.Equal(t, group.Time, at.At(1), "the snapshot itself stays")
}

// TestCrashLoopLeavesOneVoidInterval restarts again and again without a commit, as txn starts a lane.
func TestCrashLoopLeavesOneVoidInterval(t *testing.T) {
	t.Parallel()
	const restarts = 200
	fs := vfs.NewCrashableMem()
	a := &author{lane: lane(1)}
	var groups []clock.Timestamp
	crash := func(commit bool) {
		s, err := Open(Config{FS: fs, Dir: "store", MemTableBytes: 256 << 10, SyncDelay: time.Hour})
		require.NoError(t, err)
		last := s.Applied(lane(1))
		floor := max(s.Start().Bound, last) + 1
		r := voidRecord(lane(1), last, floor, floor+clock.Timestamp(len(groups))%3+1)
		do(t, s, func(b *Batch) error { b.Reserve(r.Time + 1000); return b.Apply(r, r.Append(nil)) })
		if commit {
			a.last = r.Time
			g, enc := a.group(t, nil, counterOp("a", 1))
			do(t, s, func(b *Batch) error { b.Reserve(g.Time + 1000); return b.Apply(g, enc) })
			groups = append(groups, g.Time)
		}
		require.LessOrEqual(t, len(s.Voids()[lane(1)]), len(groups)+1)
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, s.Close())
		fs = clone
	}
	for i := range restarts {
		crash(i%(restarts/4) == restarts/4-1)
	}
	s := openMem(t, fs)
	require.Len(t, groups, 4)
	require.Len(t, s.Voids()[lane(1)], len(groups), "one between two commits, however often it crashed")
	require.Equal(t, len(groups), voidsOnDisk(t, s))
	for _, g := range groups {
		require.False(t, s.Void(lane(1), g), "what was committed stays valid")
	}
}

// voidsOnDisk checks that the disk holds what is in memory, and returns how many intervals that are.
func voidsOnDisk(t require.TestingT, s *Store) (n int) {
	stored := make(voids)
	require.NoError(t, s.scanMeta([]byte{spaceMeta, metaVoid}, func(key, value []byte) error {
		l, i, err := decodeVoid(key, value)
		stored[l] = append(stored[l], i)
		n++
		return err
	}))
	require.Equal(t, s.Voids(), map[clock.Lane][]kv.Interval(stored))
	return n
}

// voidWorld compares a store with a list of every timestamp that was taken back.
type voidWorld struct {
	s    *Store
	fs   *vfs.MemFS
	void map[clock.Lane]map[clock.Timestamp]bool
	last map[clock.Lane]clock.Timestamp
}

const voidWorldEnd = 200

func (w *voidWorld) open(t *rapid.T) {
	s, err := Open(Config{FS: w.fs, Dir: "store"})
	require.NoError(t, err)
	w.s = s
}

func (w *voidWorld) mark(l clock.Lane, i kv.Interval) {
	if w.void[l] == nil {
		w.void[l] = make(map[clock.Timestamp]bool)
	}
	for t := i.From + 1; t <= i.To && t > i.From; t++ {
		w.void[l][t] = true
	}
}

var errRefused = errors.New("refused")

// change draws a batch of void records and of intervals from another store, which may be refused.
func (w *voidWorld) change(t *rapid.T) {
	refused := rapid.IntRange(0, 4).Draw(t, "refused") == 0
	var adds []func(b *Batch) error
	add := func(fn func(b *Batch) error, intervals ...kv.Interval) func(clock.Lane) {
		adds = append(adds, fn)
		return func(l clock.Lane) {
			for _, i := range intervals {
				if !refused {
					w.mark(l, i)
				}
			}
		}
	}
	last := map[clock.Lane]clock.Timestamp{}
	for range rapid.IntRange(1, 4).Draw(t, "intervals") {
		l := clock.Lane{Region: clock.Region(rapid.IntRange(1, 2).Draw(t, "region")), Slot: clock.Slot(rapid.IntRange(0, 1).Draw(t, "slot"))}
		i := kv.Interval{From: clock.Timestamp(rapid.IntRange(0, voidWorldEnd).Draw(t, "from"))}
		i.To = min(i.From+clock.Timestamp(rapid.IntRange(0, 20).Draw(t, "length")), voidWorldEnd)
		if rapid.Bool().Draw(t, "loaded") {
			add(func(b *Batch) error { b.LoadVoids(map[clock.Lane][]kv.Interval{l: {i}}); return nil }, i)(l)
			continue
		}
		prev := max(last[l], w.last[l])
		r := voidRecord(l, prev, prev+1, prev+clock.Timestamp(rapid.IntRange(1, 4).Draw(t, "step")))
		r.Void = i // a peer's may be odd
		last[l] = r.Time
		add(func(b *Batch) error { return b.Apply(r, r.Append(nil)) }, i, kv.Interval{From: prev, To: r.Time})(l)
	}
	err := try(w.s, func(b *Batch) error {
		b.Sync()
		for _, fn := range adds {
			if err := fn(b); err != nil {
				return err
			}
		}
		if refused {
			return errRefused
		}
		return nil
	})
	if refused {
		require.ErrorIs(t, err, errRefused)
		return
	}
	require.NoError(t, err)
	for l, at := range last {
		w.last[l] = at
	}
}

func (w *voidWorld) crash(t *rapid.T) {
	clone := w.fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, w.s.Close())
	w.fs = clone
	w.open(t)
}

func (w *voidWorld) check(t *rapid.T) {
	for region := range clock.Region(4) {
		for slot := range clock.Slot(3) {
			l := clock.Lane{Region: region, Slot: slot}
			for at := range clock.Timestamp(2 * voidWorldEnd) {
				if w.void[l][at] != w.s.Void(l, at) {
					t.Fatalf("lane %v at %d: void is %t, %v", l, at, w.void[l][at], w.s.Voids()[l])
				}
			}
		}
	}
	for l, list := range w.s.Voids() {
		for n, i := range list {
			require.Less(t, i.From, i.To, "lane %v: %v", l, list)
			require.True(t, n == 0 || list[n-1].To < i.From, "lane %v: %v do not stand apart", l, list)
		}
	}
	voidsOnDisk(t, w.s)
}

func TestVoidsAreWhatTheNaiveListSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &voidWorld{fs: vfs.NewCrashableMem(), void: map[clock.Lane]map[clock.Timestamp]bool{}, last: map[clock.Lane]clock.Timestamp{}}
		w.open(t)
		defer func() { _ = w.s.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"change":  w.change,
			"change2": w.change,
			"crash":   w.crash,
			"check":   w.check,
		})
		w.check(t)
	})
}

func TestVoidsOfTheLargestTimestamps(t *testing.T) {
	v := make(voids)
	v.add(lane(1), kv.Interval{From: math.MaxUint64 - 1, To: math.MaxUint64})
	merged, swallowed := v.add(lane(1), kv.Interval{From: 0, To: math.MaxUint64 - 1})
	require.Equal(t, kv.Interval{From: 0, To: math.MaxUint64}, merged)
	require.Len(t, swallowed, 1)
	_, void := v.at(lane(1), math.MaxUint64)
	require.True(t, void)
}

func TestDamagedVoidIntervalRefusesToOpen(t *testing.T) {
	for name, value := range map[string][]byte{
		"short": {1}, "empty interval": binary.BigEndian.AppendUint64(nil, 5), "backwards": make([]byte, 8),
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := openMem(t, fs)
			do(t, s, func(b *Batch) error { return b.pb.Set(voidKey(lane(1), 5), value, nil) })
			require.NoError(t, s.Close())
			_, err := Open(Config{FS: fs, Dir: "store"})
			require.ErrorIs(t, err, kv.ErrCorrupt)
			require.ErrorContains(t, err, "void interval")
		})
	}
}
