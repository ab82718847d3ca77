package storage

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

func TestLaneRefusesGapsAndForks(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	a := &author{lane: lane(1)}
	r1, e1 := a.group(t, nil, counterOp("a", 1))
	r2, e2 := a.group(t, nil, counterOp("a", 2))
	r3, e3 := a.group(t, nil, counterOp("a", 4))
	apply := func(r *kv.Record, enc []byte) error {
		return try(s, func(b *Batch) error { b.Sync(); return b.Apply(r, enc) })
	}
	require.NoError(t, apply(r1, e1))
	require.ErrorIs(t, apply(r3, e3), ErrGap)
	require.NoError(t, apply(r2, e2))
	require.NoError(t, apply(r1, e1), "a record that is held changes nothing")

	other := &author{lane: lane(1)}
	f1, g1 := other.group(t, nil, counterOp("a", 100))
	require.ErrorIs(t, apply(f1, g1), ErrFork, "other content under a held timestamp")
	f3 := *r3
	f3.Prev = r1.Time
	require.ErrorIs(t, apply(&f3, f3.Append(nil)), ErrFork, "another successor of a held record")
	require.ErrorIs(t, apply(&f3, f3.Append(nil)), kv.ErrCorrupt)

	require.NoError(t, try(s, func(b *Batch) error { // a refused record leaves the batch as it was
		if err := b.Apply(&f3, f3.Append(nil)); err == nil {
			return fmt.Errorf("the fork was taken")
		}
		return b.Apply(r3, e3)
	}))
	at := clock.VectorOf(clock.Entry{Region: 1, Time: r3.Time})
	require.EqualValues(t, 7, readCounter(t, s, "a", at))
	bad := *r3
	bad.Prev, bad.Time = r3.Time, r3.Time+4096
	bad.Txns = []kv.Txn{{Effects: []kv.Effect{{Object: counterObject("a"), Op: []byte{77}}}}}
	require.ErrorIs(t, apply(&bad, bad.Append(nil)), kv.ErrCorrupt)
	require.Equal(t, r3.Time, s.Applied(lane(1)))
	require.NoError(t, s.Failed())
}

func TestLogIsReadInPiecesAndTruncated(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	a := &author{lane: lane(3)}
	var encoded [][]byte
	var times []clock.Timestamp
	for i := range 100 {
		r, enc := a.group(t, nil, counterOp(fmt.Sprint(i), 1))
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		encoded, times = append(encoded, enc), append(times, r.Time)
	}
	var got [][]byte
	after := clock.Timestamp(0)
	for {
		records, err := s.Log(lane(3), after, 200)
		require.NoError(t, err)
		if len(records) == 0 {
			break
		}
		require.Less(t, len(records), 10)
		got = append(got, records...)
		h, err := kv.DecodeHeader(records[len(records)-1])
		require.NoError(t, err)
		after = h.Time
	}
	require.Equal(t, encoded, got)
	require.Positive(t, s.LogStats(lane(3), 0).Bytes)

	do(t, s, func(b *Batch) error { b.TruncateLog(lane(3), times[49]); return nil })
	_, err := s.Log(lane(3), times[48], 1<<20)
	require.ErrorIs(t, err, kv.ErrTooOld)
	records, err := s.Log(lane(3), times[49], 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded[50:], records)
	empty, err := s.Log(lane(4), 0, 100)
	require.NoError(t, err)
	require.Empty(t, empty)

	require.NoError(t, s.Close())
	again := openMem(t, fs)
	require.Equal(t, times[49], again.LogStats(lane(3), 0).Truncated)
	_, err = again.Log(lane(3), times[48], 1<<20)
	require.ErrorIs(t, err, kv.ErrTooOld)
	records, err = again.Log(lane(3), times[49], 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded[50:], records)
	require.Equal(t, times[99], again.Start().Applied[lane(3)])
}

// TestTheCertifiersLaneIsOne: its numbers have any low bits, lie close together, and are ahead of everybody's or
// behind. Its effects cover and are covered, order by (timestamp, region, index), and its log is kept, cut
// and there after a start.
func TestTheCertifiersLaneIsOne(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	a := &author{lane: lane(1)}
	register := kv.Object{Bucket: "b", Key: "r", Type: crdt.RegisterLWW}
	assign := func(v string) kv.Op { return kv.Op{Object: register, Verb: kv.VerbAssign, Data: []byte(v)} }
	var at clock.Vector
	var prev clock.Timestamp
	give := func(r *kv.Record, enc []byte) {
		do(t, s, func(b *Batch) error { b.Sync(); return b.Apply(r, enc) })
		at = at.With(r.Lane.Region, r.Time)
	}
	strong := func(seen clock.Vector, ops ...kv.Op) clock.Timestamp {
		r, _ := (&author{}).group(t, seen, ops...)
		r.Lane, r.Prev, r.Time = clock.Lane{}, prev, max(prev, seen.Max())+1
		give(r, r.Append(nil))
		prev = r.Time
		return r.Time
	}
	reads := func(want string) {
		t.Helper()
		v, err := s.Value(Leaf{Object: register}, at)
		require.NoError(t, err)
		require.Equal(t, want, string(v.Bytes))
	}
	first := strong(nil, counterOp("n", 1), assign("zero"))
	require.EqualValues(t, 1, first)
	local, enc := a.group(t, nil, counterOp("n", 2), assign("one"))
	give(local, enc)
	reads("one") // concurrent, and higher
	second := strong(at, counterOp("n", 4), assign("zero again"))
	require.Equal(t, local.Time+1, second)
	reads("zero again")
	late, enc := a.group(t, nil, counterOp("n", 8), assign("late"))
	late.Time = second // concurrent, and at the same time: the higher region wins
	enc = late.Append(enc[:0])
	give(late, enc)
	reads("late")
	third := strong(at, counterOp("n", 16))
	require.EqualValues(t, 31, readCounter(t, s, "n", at))
	strong(at, kv.Op{Object: counterObject("n"), Verb: kv.VerbReset})
	require.Zero(t, readCounter(t, s, "n", at))
	require.EqualValues(t, 31, readCounter(t, s, "n", at.With(0, third)))
	strong(nil, counterOp("n", 32))
	s.SetCuts(at, at)
	require.NoError(t, s.Sweep(t.Context()))
	require.EqualValues(t, 32, readCounter(t, s, "n", at))
	reads("late")

	do(t, s, func(b *Batch) error { b.TruncateLog(clock.Lane{}, second); return nil })
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	_, err := s.Log(clock.Lane{}, first, 1<<20)
	require.ErrorIs(t, err, kv.ErrTooOld)
	records, err := s.Log(clock.Lane{}, second, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 3)
	require.Equal(t, prev, s.Lanes()[clock.Lane{}])
	require.EqualValues(t, 32, readCounter(t, s, "n", at))
	require.Equal(t, at, s.Lowered(at))
	require.False(t, s.Void(clock.Stamp{Time: prev}.Lane(), prev))
}

// TestALogReachesBackToWhatWasDropped: it is complete down to the last record that a truncation
// really dropped, and so is a log of which nothing was.
func TestALogReachesBackToWhatWasDropped(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	a := &author{lane: lane(1)}
	var times []clock.Timestamp
	for range 5 {
		r, enc := a.group(t, nil, counterOp("n", 1))
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		times = append(times, r.Time)
	}
	cut := func(upTo clock.Timestamp) clock.Timestamp {
		do(t, s, func(b *Batch) error { b.TruncateLog(lane(1), upTo); return nil })
		return s.LogStats(lane(1), 0).Truncated
	}
	require.Zero(t, cut(times[0]-1))
	require.Equal(t, times[1], cut(times[2]-1))
	require.Equal(t, times[1], cut(times[2]-1))
	r, enc := a.group(t, nil, counterOp("n", 1))
	do(t, s, func(b *Batch) error {
		err := b.Apply(r, enc)
		b.TruncateLog(lane(1), r.Time+1)
		return err
	})
	require.Equal(t, r.Time, s.LogStats(lane(1), 0).Truncated, "in the batch that applied it, too")
	records, err := s.Log(lane(1), r.Time, 1<<20)
	require.NoError(t, err)
	require.Empty(t, records)
	last, err := s.lastRecord(lane(1))
	require.NoError(t, err)
	require.Zero(t, last)
}

func TestLogStatsSayWhereToCut(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	a := &author{lane: lane(1)}
	for i := range 8 {
		big := kv.Op{Object: kv.Object{Bucket: "b", Key: "k", Type: crdt.RegisterLWW}, Verb: kv.VerbAssign, Data: randomBytes(i, segmentBytes/2+1)}
		r, enc := a.group(t, nil, big)
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
	}
	all := s.LogStats(lane(1), 1<<40)
	require.Zero(t, all.Cut)
	st := s.LogStats(lane(1), 2*segmentBytes)
	require.NotZero(t, st.Cut)
	do(t, s, func(b *Batch) error { b.TruncateLog(lane(1), st.Cut); return nil })
	require.LessOrEqual(t, s.LogStats(lane(1), 0).Bytes, int64(2*segmentBytes))
	require.Less(t, st.Cut, s.Applied(lane(1)))

	require.NoError(t, s.Close())
	again := openMem(t, fs)
	cut := again.LogStats(lane(1), segmentBytes).Cut
	require.Greater(t, cut, st.Cut, "a start knows where the bytes lie")
	require.Less(t, cut, again.Applied(lane(1)), "and does not have to drop all to hold less")
}

func TestBoundAndMetadataSurvive(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	do(t, s, func(b *Batch) error {
		b.Reserve(900)
		b.Reserve(800)
		b.SetMeta("peers/1", []byte("x"))
		b.SetMeta("peers/2", []byte("y"))
		b.SetMeta("other", nil)
		return nil
	})
	do(t, s, func(b *Batch) error {
		if b.Reserved() != 900 {
			return fmt.Errorf("bound %d", b.Reserved())
		}
		b.DeleteMeta("peers/2")
		return nil
	})
	require.ErrorIs(t, try(s, func(b *Batch) error { b.SetMeta("", nil); return nil }), kv.ErrInvalid)
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	require.EqualValues(t, 900, s.Start().Bound)
	v, err := s.Meta("peers/1")
	require.NoError(t, err)
	require.Equal(t, "x", string(v))
	missing, err := s.Meta("peers/2")
	require.NoError(t, err)
	require.Nil(t, missing)
	var keys []string
	require.NoError(t, s.MetaScan("peers/", func(key string, _ []byte) error { keys = append(keys, key); return nil }))
	require.Equal(t, []string{"peers/1"}, keys)
}

// TestBootstrapHandsOverACut copies what a cut sees while writes and a pending removal go on.
func TestBootstrapHandsOverACut(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	a := &author{lane: lane(1)}
	seen := clock.Vector(nil)
	write := func(ops ...kv.Op) {
		r, enc := a.group(t, seen, ops...)
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		seen = clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
	}
	for i := range 300 {
		write(counterOp(fmt.Sprint(i), 1), kv.Op{Object: setObject("s"), Verb: kv.VerbAdd, Data: element(i)})
	}
	s.cfg.hold.Store(true)
	for i := range 3 * RemovalLeaves {
		write(kv.Op{Object: setObject("t"), Verb: kv.VerbAdd, Data: element(i)})
	}
	write(kv.Op{Object: setObject("t"), Verb: kv.VerbReset})
	cut := seen
	write(counterOp("0", 5))
	require.Equal(t, 1, s.Stats().PendingRemoval)

	to := openMem(t, vfs.NewMem())
	do(t, to, func(b *Batch) error { b.Clear(); return nil })
	handOver(t, s, to, cut)
	do(t, to, func(b *Batch) error {
		b.LoadVoids(map[clock.Lane][]kv.Interval{lane(1): {{From: 1, To: 2}}})
		return nil
	})
	require.True(t, to.Void(lane(1), 2))
	require.Equal(t, listAll(t, s, cut), listAll(t, to, cut))
	require.EqualValues(t, 1, readCounter(t, to, "0", cut))
	_, err := to.Log(lane(1), 0, 100)
	require.ErrorIs(t, err, kv.ErrTooOld)

	records, err := s.Log(lane(1), cut.At(1), 1<<20)
	require.NoError(t, err)
	r, err := kv.DecodeRecord(records[0])
	require.NoError(t, err)
	do(t, to, func(b *Batch) error { return b.Apply(r, records[0]) })
	require.EqualValues(t, 6, readCounter(t, to, "0", seen))
	require.ErrorIs(t, try(to, func(b *Batch) error { return b.LoadLeaf(RawLeaf{Key: []byte("x")}) }), kv.ErrCorrupt)
	require.ErrorIs(t, try(to, func(b *Batch) error {
		return b.LoadLeaf(RawLeaf{Key: benchLeafKeys[0], Items: []byte{0xff}})
	}), kv.ErrCorrupt)
	s.cfg.hold.Store(false)
}

// listAll is every present leaf with its value.
func listAll(t testing.TB, s *Store, at clock.Vector) (out []string) {
	err := s.scan(context.Background(), []byte{spaceLeaf}, []byte{spaceLeaf + 1}, func(key, items []byte) (bool, error) {
		v, err := crdt.Fold(leafType(key), items, at)
		if v.Present {
			out = append(out, fmt.Sprintf("%x=%d,%t", key, v.Int, v.Flag))
		}
		return true, err
	})
	require.NoError(t, err)
	return out
}

func countPresent(t testing.TB, s *Store, at clock.Vector) (n int) {
	require.NoError(t, s.Scan(context.Background(), setObject("s"), 0, nil, nil, func(path, items []byte) (bool, error) {
		v, err := crdt.Fold(crdt.FlagEW, items, at)
		if v.Present {
			n++
		}
		return true, err
	}))
	return n
}

func rawLeaves(t testing.TB, s *Store, key string) (out []string) {
	o := setObject(key)
	prefix := appendObjectKey(nil, &o, 0)
	require.NoError(t, s.scan(context.Background(), prefix, successor(prefix), func(key, _ []byte) (bool, error) {
		out = append(out, string(key))
		return true, nil
	}))
	return out
}

func TestScanGoesOnBehindACursor(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	const elements = ScanLeaves + 100
	fillOps(t, s, elements, func(i int) kv.Op { return kv.Op{Object: setObject("s"), Verb: kv.VerbAdd, Data: element(i)} })
	var all, paged [][]byte
	require.NoError(t, s.Scan(context.Background(), setObject("s"), 0, nil, nil, func(path, _ []byte) (bool, error) {
		all = append(all, bytes.Clone(path))
		return true, nil
	}))
	require.Len(t, all, elements)
	var after []byte
	for {
		n := 0
		require.NoError(t, s.Scan(context.Background(), setObject("s"), 0, nil, after, func(path, _ []byte) (bool, error) {
			after = bytes.Clone(path)
			paged = append(paged, after)
			n++
			return n < 1000, nil
		}))
		if n == 0 {
			break
		}
	}
	require.Equal(t, all, paged)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Scan(ctx, setObject("s"), 0, nil, nil, func(_, _ []byte) (bool, error) { return true, nil })
	require.ErrorIs(t, err, kv.ErrDeadline)
	buckets, err := s.Buckets(context.Background(), nil, "", 10)
	require.NoError(t, err)
	require.Equal(t, []kv.Bucket{kv.DefaultBucket}, buckets)
}

// TestCacheStaysCurrentBesideReaders hammers few counters from all sides; a reader that saw the n-th
// commit exposed must read it.
func TestCacheStaysCurrentBesideReaders(t *testing.T) {
	s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", LeafCacheBytes: 256 << 10, TidyInterval: time.Millisecond})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const keys, commits = 8, 3000
	var mu sync.Mutex
	exposed, total := clock.Vector(nil), [keys]int64{}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				at, want := exposed, total[i%keys]
				mu.Unlock()
				v, err := s.Value(Leaf{Object: counterObject(fmt.Sprint(i % keys))}, at)
				if err != nil || v.Int != want {
					t.Errorf("counter %d at %s: %d, %v; want %d", i%keys, at, v.Int, err, want)
					return
				}
				if i%100 == 0 {
					s.cache.clear()
				}
			}
		})
	}
	a := &author{lane: lane(1)}
	for i := range commits {
		r, enc := a.group(t, nil, counterOp(fmt.Sprint(i%keys), 1), counterOp(fmt.Sprint((i+1)%keys), 1))
		j := &work{durable: make(chan error, 1), build: func(b *Batch) error { return b.Apply(r, enc) }, applied: func() {
			mu.Lock()
			defer mu.Unlock()
			exposed = clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
			total[i%keys]++
			total[(i+1)%keys]++
		}}
		require.NoError(t, s.Submit(context.Background(), j))
		if i%500 == 0 {
			s.SetCuts(clock.VectorOf(clock.Entry{Region: 1, Time: r.Time / 2}), nil)
		}
	}
	close(stop)
	readers.Wait()
}

// TestUnsyncedJobsBecomeDurableByTheDelay runs on a fake clock.
func TestUnsyncedJobsBecomeDurableByTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Config{FS: vfs.NewMem(), Dir: "store", SyncDelay: 30 * time.Millisecond})
		require.NoError(t, err)
		start := time.Now()
		a := &author{lane: lane(1)}
		r, enc := a.group(t, nil, counterOp("a", 1))
		require.NoError(t, try(s, func(b *Batch) error { return b.Apply(r, enc) }))
		require.Equal(t, 30*time.Millisecond, time.Since(start))
		require.NoError(t, s.Close())
	})
}

func TestCloseAnswersWhatWasSubmitted(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	a := &author{lane: lane(1)}
	var waiting []chan error
	for range 50 {
		r, enc := a.group(t, nil, counterOp("a", 1))
		w := &work{durable: make(chan error, 1), build: func(b *Batch) error { return b.Apply(r, enc) }}
		require.NoError(t, s.Submit(context.Background(), w))
		waiting = append(waiting, w.durable)
	}
	require.NoError(t, s.Close())
	for _, c := range waiting {
		require.NoError(t, <-c)
	}
	require.ErrorIs(t, try(s, func(*Batch) error { return nil }), kv.ErrUnavailable)
	require.Equal(t, a.last, openMem(t, fs).Start().Applied[lane(1)])
}

func TestSubmitGivesUpWithItsContext(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	busy, free := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	require.NoError(t, s.Submit(context.Background(), &work{durable: done, build: func(*Batch) error { close(busy); <-free; return nil }}))
	<-busy
	idle := &work{durable: make(chan error, QueuedJobs), build: func(*Batch) error { return nil }}
	for range QueuedJobs {
		require.NoError(t, s.Submit(context.Background(), idle))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Submit(ctx, idle), kv.ErrDeadline)
	close(free)
	require.NoError(t, <-done)
}
