package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

const (
	hugeSet   = 1_000_000
	smallSets = 10_000 // of 100 elements each: a store of the same size
)

func setAdd(set string, i int) kv.Op {
	return kv.Op{Object: setObject(set), Verb: kv.VerbAdd, Data: element(i)}
}

func elementLeaf(set string, i int) Leaf {
	return Leaf{Object: setObject(set), Path: kv.AppendPath(nil, kv.Path{{Name: string(element(i)), Type: crdt.FlagEW}})}
}

// BenchmarkHugeSet compares adding to, and asking, one set of a million elements with the same on
// ten thousand sets of a hundred elements. ratio is small over huge: below 1 the huge set is slower.
func BenchmarkHugeSet(b *testing.B) {
	huge, small := benchStore(b, -1), benchStore(b, -1)
	fillOps(b, huge, hugeSet, func(i int) kv.Op { return setAdd("huge", i) })
	fillOps(b, small, hugeSet, func(i int) kv.Op { return setAdd(benchKey(i%smallSets), i) })
	atHuge, atSmall := settle(b, huge), settle(b, small)
	require.NoError(b, huge.Compact(context.Background()))
	require.NoError(b, small.Compact(context.Background()))

	b.Run("contains", func(b *testing.B) {
		compareReads(b, func(int) error {
			return present(huge, elementLeaf("huge", rand.IntN(hugeSet)), atHuge)
		}, func(int) error {
			i := rand.IntN(hugeSet)
			return present(small, elementLeaf(benchKey(i%smallSets), i), atSmall)
		})
	})
	b.Run("add", func(b *testing.B) {
		adder := func(s *Store, set func(i int) string) func() float64 {
			com := &committer{s: s, hybrid: clock.NewHybrid(0, s.Applied(lane(1))), last: s.Applied(lane(1))}
			return func() float64 {
				rate, err := parallel(8, b.N, func(int) error {
					i := hugeSet + rand.IntN(1<<40)
					target, err := crdt.Resolve(setAdd(set(i), i))
					if err != nil {
						return err
					}
					l := elementLeaf(set(i), i)
					return com.add(kv.Effect{Object: l.Object, Path: l.Path, Op: target.Op})
				})
				require.NoError(b, err)
				return rate
			}
		}
		addSmall := adder(small, func(i int) string { return benchKey(i % smallSets) })
		addHuge := adder(huge, func(int) string { return "huge" })
		limit := addSmall()
		b.ResetTimer()
		ours := addHuge()
		b.StopTimer()
		b.ReportMetric(ours/limit, "ratio")
	})
}

func present(s *Store, l Leaf, at clock.Vector) error {
	v, err := s.Value(l, at)
	if err == nil && !v.Present {
		err = fmt.Errorf("an element is missing")
	}
	return err
}

// BenchmarkBytesAtRest reports the bytes of all files for each element of a set whose million
// elements were all removed, and for each live counter beyond its key.
func BenchmarkBytesAtRest(b *testing.B) {
	for range b.N {
		b.ReportMetric(bytesPerRemoved(b, false), "B/removed-one-by-one")
		b.ReportMetric(bytesPerRemoved(b, true), "B/removed-at-once")
		b.ReportMetric(bytesPerCounter(b), "B/counter-beyond-key")
	}
}

func bytesPerRemoved(b *testing.B, atOnce bool) float64 {
	s := benchStore(b, -1)
	fillOps(b, s, hugeSet, func(i int) kv.Op { return setAdd("huge", i) })
	start := time.Now()
	if atOnce {
		fillOps(b, s, 1, func(int) kv.Op { return kv.Op{Object: setObject("huge"), Verb: kv.VerbReset} })
	} else {
		fillOps(b, s, hugeSet, func(i int) kv.Op { return kv.Op{Object: setObject("huge"), Verb: kv.VerbRemove, Data: element(i)} })
	}
	for s.Stats().PendingRemoval > 0 {
		runtime.Gosched()
	}
	b.Logf("removed in %v", time.Since(start))
	return float64(bytesAtRest(b, s)) / hugeSet
}

func bytesPerCounter(b *testing.B) float64 {
	s := benchStore(b, -1)
	const n = 200_000
	fillCounters(b, s, n)
	return float64(bytesAtRest(b, s))/n - float64(len(benchKey(0)))
}

// bytesAtRest settles, drops the log, compacts, and adds the tables and blob files up.
func bytesAtRest(b *testing.B, s *Store) int64 {
	start := time.Now()
	settle(b, s)
	b.Logf("swept in %v", time.Since(start))
	do(b, s, func(batch *Batch) error { batch.TruncateLog(lane(1), batch.Applied(lane(1))); return nil })
	require.NoError(b, s.Compact(context.Background()))
	return int64(s.Stats().TableBytes)
}

// BenchmarkReopenAfterKill opens a store of a million counters as a killed process left it: what was
// written is in the files, nothing was closed.
func BenchmarkReopenAfterKill(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	s, err := Open(Config{Dir: dir})
	require.NoError(b, err)
	fillCounters(b, s, 1_000_000)
	do(b, s, func(*Batch) error { return nil })
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		copied := filepath.Join(b.TempDir(), fmt.Sprint(i))
		require.NoError(b, os.CopyFS(copied, os.DirFS(dir)))
		b.StartTimer()
		again, err := Open(Config{Dir: copied})
		require.NoError(b, err)
		b.StopTimer()
		require.False(b, again.Start().Short)
		require.NoError(b, again.Close())
		b.StartTimer()
	}
	b.StopTimer()
	require.NoError(b, s.Close())
}

// BenchmarkCatchUp applies records of one add each, several to a batch, as a region that was away.
func BenchmarkCatchUp(b *testing.B) {
	s := benchStore(b, 0)
	a := &author{lane: lane(2)}
	const perBatch = 64
	records := make([]*kv.Record, b.N)
	encoded := make([][]byte, b.N)
	for i := range records {
		records[i], encoded[i] = a.group(b, nil, counterOp(benchKey(i%benchKeys), 1))
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	for from := 0; from < b.N; from += perBatch {
		to := min(from+perBatch, b.N)
		wg.Add(1)
		w := &caughtUp{wg: &wg, build: func(batch *Batch) error {
			for i := from; i < to; i++ {
				r, err := kv.DecodeRecord(encoded[i])
				if err == nil {
					err = batch.Apply(r, encoded[i])
				}
				if err != nil {
					return err
				}
			}
			return nil
		}}
		require.NoError(b, s.Submit(context.Background(), w))
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

type caughtUp struct {
	wg    *sync.WaitGroup
	build func(*Batch) error
}

func (j *caughtUp) Build(b *Batch) error { return j.build(b) }
func (j *caughtUp) Applied()             { j.wg.Done() }
func (j *caughtUp) Durable(error)        {}
