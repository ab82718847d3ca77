package semantics

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// counters makes a history of n transactions, half of them reads, on so many counters, one in twenty of
// unknown outcome and of these half applied. Increments are 1 to most. Regions see one another some transactions late.
func counters(n, keys int, most int64) *history.History {
	type write struct {
		time uint64
		sum  int64
	}
	rng := rand.New(rand.NewPCG(1, 1))
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "counter", Regions: []string{"eu", "us", "ap"}}}
	written := make([][3][]write, keys)
	var seen [3]history.Vector
	for q := range seen {
		seen[q] = history.Vector{1: 0, 2: 0, 3: 0}
	}
	for i := range n {
		now, q, k := uint64(i+1)*10, rng.IntN(3), rng.IntN(keys)
		snap := history.Vector{q + 1: now - 10}
		for o := range 3 {
			if o != q { // in steps of all regions, so that snapshots are closed
				snap[o+1] = now - min(now, now%1000+1000)
			}
		}
		t := history.Txn{ID: i + 1, Process: i + 1, Region: h.Header.Regions[q], Level: "causal", Start: int64(now), End: int64(now) + 5,
			Outcome: history.OK, Snapshot: snap}
		o := history.Op{Do: history.Get, Key: fmt.Sprint("c", k), Type: "counter"}
		unknown := rng.IntN(20) == 0
		if rng.IntN(2) == 0 {
			o.Do, o.Arg = history.Add, &history.Value{Int: 1 + rng.Int64N(most)}
			if !unknown || rng.IntN(2) == 0 {
				list := written[k][q]
				var sum int64
				if len(list) > 0 {
					sum = list[len(list)-1].sum
				}
				written[k][q] = append(list, write{now, sum + o.Arg.Int})
			}
			t.Commit = &history.Stamp{Region: q + 1, Time: now}
		} else {
			v := new(history.Value)
			for origin, list := range written[k] {
				j, _ := slices.BinarySearchFunc(list, snap[origin+1], func(w write, t uint64) int { return cmp.Or(cmp.Compare(w.time, t), -1) })
				if j > 0 {
					v.Int += list[j-1].sum
				}
			}
			o.Got = v
		}
		if unknown {
			t.Outcome, t.End, t.Commit, t.Snapshot, o.Got = history.Unknown, -1, nil, nil, nil
		}
		t.Ops = []history.Op{o}
		h.Txns = append(h.Txns, t)
	}
	return h
}

func benchmark(b *testing.B, h *history.History) {
	var r checker.Result
	for b.Loop() {
		r = Checker{}.Check(h, checker.Options{})
	}
	if r.Verdict != checker.Valid {
		b.Fatalf("%s: %v %s", r.Verdict, r.Anomalies, r.Note)
	}
	b.ReportMetric(float64(len(h.Txns))*float64(b.N)/b.Elapsed().Seconds(), "txns/s")
}

// BenchmarkCounters is for growth with the history: its counters are as busy in all sizes.
func BenchmarkCounters(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmark(b, counters(n, n/1000, 1)) })
	}
}

// BenchmarkOneCounter is the worst case: every transaction of unknown outcome may matter to every read.
func BenchmarkOneCounter(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmark(b, counters(n, 1, 1)) })
	}
}

// BenchmarkOneCounterOfManySums is the same with increments of many sizes: more sums than can be visited.
func BenchmarkOneCounterOfManySums(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmark(b, counters(n, 1, 2000)) })
	}
}

// BenchmarkAllTypes is of the model's histories, with 5% of unknown outcomes. (Half of the model's steps
// begin a transaction of 1 to 4 operations.)
func BenchmarkAllTypes(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newModel(1, 5)
			m.spread = n / 500
			benchmark(b, m.run(4*n))
		})
	}
}
