package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// Each benchmark runs its limit, the same bytes through bare Pebble, right before and reports the
// quotient as the metric "ratio" (above 1: faster than bare Pebble).

const benchKeys = 10_000

func benchKey(i int) string { return fmt.Sprintf("counter-%012d", i) } // 20 bytes

// committer forms groups as a group committer does: whoever comes while a job is queued joins its
// group.
type committer struct {
	s    *Store
	sync bool

	mu      sync.Mutex
	waiting *benchGroup
	hybrid  *clock.Hybrid
	last    clock.Timestamp
}

type benchGroup struct {
	c    *committer
	ops  []kv.Txn
	done chan struct{}
	err  error
	enc  []byte
}

func (c *committer) add(op kv.Effect) error {
	c.mu.Lock()
	g := c.waiting
	first := g == nil
	if first {
		g = &benchGroup{c: c, done: make(chan struct{})}
		c.waiting = g
	}
	g.ops = append(g.ops, kv.Txn{Effects: []kv.Effect{op}})
	c.mu.Unlock()
	if first {
		if err := c.s.Submit(context.Background(), g); err != nil {
			return err
		}
	}
	<-g.done
	return g.err
}

func (g *benchGroup) Build(b *Batch) error {
	c := g.c
	c.mu.Lock()
	c.waiting = nil
	c.mu.Unlock()
	r := &kv.Record{Header: kv.Header{Lane: lane(1), Time: c.hybrid.Next(clock.WallOf(time.Now()), 0), Prev: c.last, Kind: kv.RecordGroup}, Txns: g.ops}
	g.enc = r.Append(g.enc)
	c.last = r.Time
	if c.sync {
		b.Sync()
	}
	return b.Apply(r, g.enc)
}

func (g *benchGroup) Applied() {
	if !g.c.sync {
		close(g.done)
	}
}

func (g *benchGroup) Durable(err error) {
	if g.c.sync {
		g.err = err
		close(g.done)
	}
}

func increment(t testing.TB) []byte {
	target, err := crdt.Resolve(counterOp("k", 1))
	require.NoError(t, err)
	return target.Op
}

func benchStore(b *testing.B, leafCache int64) *Store {
	b.Helper()
	s, err := Open(Config{Dir: filepath.Join(b.TempDir(), "store"), LeafCacheBytes: leafCache, Logf: b.Logf, MemTableBytes: 64 << 20})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

func barePebble(b *testing.B) *pebble.DB {
	b.Helper()
	o := &pebble.Options{MemTableSize: 64 << 20, MemTableStopWritesThreshold: 4, FormatMajorVersion: pebble.FormatNewest,
		CacheSize: 64 << 20, Logger: quietLogger{}}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(b.TempDir(), o)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	return db
}

type quietLogger struct{}

func (quietLogger) Infof(string, ...any)              {}
func (quietLogger) Errorf(string, ...any)             {}
func (quietLogger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// parallel runs n operations on some goroutines and returns the rate per second.
func parallel(goroutines, n int, op func(i int) error) (float64, error) {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for range goroutines {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := op(i); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	rate := float64(n) / time.Since(start).Seconds()
	if e := failed.Load(); e != nil {
		return 0, *e
	}
	return rate, nil
}

func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name       string
		goroutines int
		sync       bool
	}{{"unsynced-8", 8, false}, {"unsynced-64", 64, false}, {"synced-64", 64, true}, {"synced-512", 512, true}} {
		b.Run(c.name, func(b *testing.B) { benchmarkCommit(b, c.goroutines, c.sync) })
	}
}

func benchmarkCommit(b *testing.B, goroutines int, synced bool) {
	db := barePebble(b)
	op := increment(b)
	o := pebble.NoSync
	if synced {
		o = pebble.Sync
	}
	var seq atomic.Uint64
	bare, err := parallel(goroutines, b.N, func(i int) error {
		key := benchKey(i % benchKeys)
		l := Leaf{Object: counterObject(key)}
		t := clock.Timestamp(seq.Add(1) << 12)
		r := kv.Record{Header: kv.Header{Lane: lane(1), Time: t, Kind: kv.RecordGroup},
			Txns: []kv.Txn{{Effects: []kv.Effect{{Object: l.Object, Op: op}}}}}
		batch := db.NewBatch()
		if err := batch.Set(appendLogKey(nil, lane(1), t), r.Append(nil), nil); err != nil {
			return err
		}
		if err := batch.Merge(l.appendKey(nil), crdt.AppendItem(nil, clock.Dot{Region: 1, Time: t}, nil, op), nil); err != nil {
			return err
		}
		return batch.Commit(o)
	})
	require.NoError(b, err)

	s := benchStore(b, 0)
	com := &committer{s: s, sync: synced, hybrid: clock.NewHybrid(0, 0)}
	stop := advanceCuts(s)
	b.ResetTimer()
	ours, err := parallel(goroutines, b.N, func(i int) error {
		return com.add(kv.Effect{Object: counterObject(benchKey(i % benchKeys)), Op: op})
	})
	b.StopTimer()
	stop()
	require.NoError(b, err)
	b.ReportMetric(ours/bare, "ratio")
	b.ReportMetric(bare, "bare/s")
	b.ReportMetric(ours, "ours/s")
	b.ReportMetric(float64(b.N)/float64(s.Stats().Batches), "ops/batch")
}

// advanceCuts lets everything settle soon, as in a healthy cluster.
func advanceCuts(s *Store) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				v := clock.VectorOf(clock.Entry{Region: 1, Time: s.Applied(lane(1))})
				s.SetCuts(v, v)
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// settle waits for everything submitted, moves the cuts up, and sweeps.
func settle(t testing.TB, s *Store) clock.Vector {
	t.Helper()
	do(t, s, func(*Batch) error { return nil })
	v := clock.Vector(nil)
	for l, at := range s.appliedLanes() {
		v = v.Join(clock.VectorOf(clock.Entry{Region: l.Region, Time: at}))
	}
	s.SetCuts(v, v)
	require.NoError(t, s.Sweep(context.Background()))
	return v
}

func (s *Store) appliedLanes() map[clock.Lane]clock.Timestamp {
	s.logs.mu.RLock()
	defer s.logs.mu.RUnlock()
	out := make(map[clock.Lane]clock.Timestamp)
	for l, g := range s.logs.lanes {
		out[l] = g.applied
	}
	return out
}

func BenchmarkReadCounter(b *testing.B) {
	for _, cached := range []bool{true, false} {
		name, cache := "cached", int64(0)
		if !cached {
			name, cache = "uncached", -1
		}
		b.Run(name, func(b *testing.B) {
			s := benchStore(b, cache)
			fillCounters(b, s, benchKeys)
			at := settle(b, s)
			require.NoError(b, s.Compact(context.Background()))
			db := barePebble(b)
			for i := range benchKeys {
				l := Leaf{Object: counterObject(benchKey(i))}
				items, err := s.Items(l)
				require.NoError(b, err)
				require.NoError(b, db.Set(l.appendKey(nil), items, pebble.NoSync))
			}
			require.NoError(b, db.Compact(context.Background(), []byte{0}, []byte{255}, false))
			compareReads(b, func(i int) error {
				l := Leaf{Object: kv.Object{Bucket: kv.DefaultBucket, Key: benchNames[i], Type: crdt.Counter}}
				v, err := s.Value(l, at)
				if err == nil && v.Int != 1 {
					err = fmt.Errorf("counter %d is %d", i, v.Int)
				}
				return err
			}, func(i int) error {
				v, closer, err := db.Get(benchLeafKeys[i])
				if err != nil {
					return err
				}
				_ = v
				return closer.Close()
			})
		})
	}
}

var (
	benchNames    []kv.Key
	benchLeafKeys [][]byte
)

func init() {
	for i := range benchKeys {
		benchNames = append(benchNames, kv.Key(benchKey(i)))
		l := Leaf{Object: counterObject(benchKey(i))}
		benchLeafKeys = append(benchLeafKeys, l.appendKey(nil))
	}
}

// compareReads takes turns, so that whatever else the machine does strikes both.
func compareReads(b *testing.B, ours, bare func(i int) error) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	measure := func(f func(i int) error, n int) time.Duration {
		start := time.Now()
		for range n {
			if err := f(rng.IntN(benchKeys)); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	measure(ours, 2*benchKeys)
	measure(bare, 2*benchKeys)
	const turns = 20
	n := b.N/turns + 1
	var limit, took time.Duration
	b.ResetTimer()
	for range turns {
		limit += measure(bare, n)
		took += measure(ours, n)
	}
	b.StopTimer()
	b.ReportMetric(float64(limit)/float64(took), "ratio")
	b.ReportMetric(float64(limit.Nanoseconds())/float64(n*turns), "bare-ns/op")
	b.ReportMetric(float64(took.Nanoseconds())/float64(n*turns), "ours-ns/op")
}

// fillCounters adds 1 to n counters, in groups.
func fillCounters(t testing.TB, s *Store, n int) {
	t.Helper()
	fillOps(t, s, n, func(i int) kv.Op { return counterOp(benchKey(i), 1) })
}

func fillOps(t testing.TB, s *Store, n int, op func(i int) kv.Op) {
	t.Helper()
	a := &author{lane: lane(1), last: s.Applied(lane(1))}
	at := clock.VectorOf(clock.Entry{Region: 1, Time: a.last})
	for from := 0; from < n; from += 1000 {
		var txns [][]kv.Op
		for i := from; i < min(from+1000, n); i++ {
			txns = append(txns, []kv.Op{op(i)})
		}
		r, enc := a.txns(t, at, txns...)
		do(t, s, func(b *Batch) error { return b.Apply(r, enc) })
		at = clock.VectorOf(clock.Entry{Region: 1, Time: r.Time})
	}
}

func BenchmarkReadAfterMillionAdds(b *testing.B) {
	s := benchStore(b, -1)
	fillCounters(b, s, 2)
	fillOps(b, s, 1000, func(int) kv.Op { return counterOp(benchKey(0), 1) })
	a := &author{lane: lane(1), last: s.Applied(lane(1))}
	const adds = 1_000_000
	var wg sync.WaitGroup
	for i := range adds / 4 { // records of four adds each: a million operands would be the same, slower
		r, enc := a.txns(b, nil, []kv.Op{counterOp(benchKey(0), 1)}, []kv.Op{counterOp(benchKey(0), 1)},
			[]kv.Op{counterOp(benchKey(0), 1)}, []kv.Op{counterOp(benchKey(0), 1)})
		wg.Add(1)
		require.NoError(b, s.Submit(context.Background(), &benchRecord{r: r, enc: enc, wg: &wg}))
		if i%1000 == 0 {
			wg.Wait()
			v := clock.VectorOf(clock.Entry{Region: 1, Time: s.Applied(lane(1))})
			s.SetCuts(v, v)
		}
	}
	wg.Wait()
	at := settle(b, s)
	require.NoError(b, s.Compact(context.Background()))
	hot := Leaf{Object: counterObject(benchKey(0))}
	cold := Leaf{Object: counterObject(benchKey(1))}
	v, err := s.Value(hot, at)
	require.NoError(b, err)
	require.EqualValues(b, adds+1001, v.Int)
	compareReads(b, func(int) error { _, err := s.Value(hot, at); return err },
		func(int) error { _, err := s.Value(cold, at); return err })
}

type benchRecord struct {
	r   *kv.Record
	enc []byte
	wg  *sync.WaitGroup
}

func (j *benchRecord) Build(b *Batch) error { return b.Apply(j.r, j.enc) }
func (j *benchRecord) Applied()             { j.wg.Done() }
func (j *benchRecord) Durable(error)        {}

func setObject(key string) kv.Object {
	return kv.Object{Bucket: kv.DefaultBucket, Key: kv.Key(key), Type: crdt.SetAW}
}

func element(i int) []byte {
	return binary.BigEndian.AppendUint64([]byte("element-"), uint64(i)*0x9e3779b97f4a7c15)
}
