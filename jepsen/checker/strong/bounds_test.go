package strong

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// bounded are the bounds of the histories that anyCounts draws: of one counter, of all others of its bucket, of
// those of another bucket, and none.
var bounded = []struct {
	note   string
	limits map[string][3]int64 // by place: the lower and the upper bound, and the start
}{
	{`[{"lower":0},{"key":"a","lower":-2,"upper":2,"start":1}]`, map[string][3]int64{
		"a:counter": {-2, 2, 1}, "b:counter": {0, 1 << 40, 0}, "m:map/f:counter": {0, 1 << 40, 0}}},
	{`[{"key":"a","upper":1},{"bucket":"x","lower":-1},{"key":"m","lower":-1}]`, map[string][3]int64{
		"a:counter": {-1 << 40, 1, 0}, `"x":a:counter`: {-1, 1 << 40, 0}, "m:map/f:counter": {-1, 1 << 40, 0}}},
	{``, nil},
}

// anyCounts draws transactions on a few counters, with any answers.
func anyCounts(rng *rand.Rand) *history.History {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "any", Regions: regions}}
	places := []history.Op{{Key: "a", Type: "counter"}, {Key: "a", Type: "counter"}, {Key: "b", Type: "counter"}, {Bucket: "x", Key: "a", Type: "counter"},
		{Key: "m", Type: "map", Path: []history.Step{{Name: "f", Type: "counter"}}}}
	for i := range 1 + rng.IntN(8) {
		t := history.Txn{ID: i + 1, Process: i + 1, Region: "eu", Level: "strong", Start: rng.Int64N(12), Outcome: history.OK, Final: rng.IntN(3) == 0}
		t.End = t.Start + rng.Int64N(4)
		switch rng.IntN(8) {
		case 0:
			t.Outcome = history.Fail
		case 1:
			t.Outcome = history.Unknown
		}
		for range 1 + rng.IntN(3) {
			o := places[rng.IntN(len(places))]
			switch rng.IntN(16) {
			case 0:
				o.Do = history.Reset
			case 1:
				o = history.Op{Do: history.Reset, Key: "m", Type: "map"}
			case 2:
				o = history.Op{Do: history.Insert, Key: "a", Type: "set-aw", Element: "e"}
			case 3, 4, 5, 6, 7, 8:
				o.Do, o.Arg = history.Add, &history.Value{Int: rng.Int64N(7) - 3}
			default:
				o.Do, o.Got = history.Get, &history.Value{Int: rng.Int64N(7) - 2}
			}
			t.Ops = append(t.Ops, o)
		}
		h.Txns = append(h.Txns, t)
	}
	return h
}

// counted is what a plain look at each operation finds wrong with one counter.
type counted struct {
	h      *history.History
	place  string
	limits [3]int64
	bound  bool
}

// adds is what a transaction added to the counter in its first operations, and whether it added at all.
func (c counted) adds(t *history.Txn, ops int) (sum int64, added bool) {
	for i := range ops {
		if o := &t.Ops[i]; o.Do == history.Add && checker.Place(o) == c.place {
			sum, added = sum+o.Arg.Int, true
		}
	}
	return sum, added
}

// between is the least and the most that the counter is, if some transactions certainly count and others perhaps.
func (c counted) between(certain, perhaps func(t *history.Txn) bool) (lo, hi int64) {
	lo, hi = c.limits[2], c.limits[2]
	for i := range c.h.Txns {
		t := &c.h.Txns[i]
		sum, _ := c.adds(t, len(t.Ops))
		switch {
		case t.Outcome == history.Fail:
		case certain(t):
			lo, hi = lo+sum, hi+sum
		case perhaps(t):
			lo, hi = lo+min(sum, 0), hi+max(sum, 0)
		}
	}
	return lo, hi
}

// wrong are the anomalies, by name.
func (c counted) wrong() map[string]int {
	out := map[string]int{}
	var finals []int64
	for i := range c.h.Txns {
		t := &c.h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			if t.Outcome != history.OK || o.Do != history.Get || checker.Place(o) != c.place {
				continue
			}
			if c.bound && (o.Got.Int < c.limits[0] || o.Got.Int > c.limits[1]) {
				out["bound violated"]++
			}
			if own, _ := c.adds(t, j); t.Final {
				finals = append(finals, o.Got.Int-own)
				lo, hi := c.between(
					func(a *history.Txn) bool { return a != t && a.Outcome == history.OK && a.End < t.Start },
					func(a *history.Txn) bool { return a != t && a.Start <= t.End })
				if o.Got.Int-own < lo || o.Got.Int-own > hi {
					out["final read of a wrong sum"] = 1
				}
			}
		}
		if _, added := c.adds(t, len(t.Ops)); added && t.Outcome == history.OK && c.bound {
			lo, hi := c.between(
				func(a *history.Txn) bool { return a.Outcome == history.OK && a.End <= t.End },
				func(a *history.Txn) bool { return a.Start <= t.End })
			if hi < c.limits[0] || lo > c.limits[1] {
				out["bound violated by acknowledged writes"] = 1
			}
		}
	}
	if len(finals) > 0 && slices.ContainsFunc(finals, func(n int64) bool { return n != finals[0] }) {
		out["final reads differ"] = 1
	}
	if c.reset() {
		delete(out, "final read of a wrong sum")
		delete(out, "bound violated by acknowledged writes")
	}
	return out
}

// reset reports whether anything may have reset the counter.
func (c counted) reset() bool {
	for i := range c.h.Txns {
		t := &c.h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			if o.Do == history.Reset && t.Outcome != history.Fail && strings.HasPrefix(c.place+"/", checker.Place(o)+"/") {
				return true
			}
		}
	}
	return false
}

// TestBoundsAgainstPlainSums: what is found is what sums over all transactions, taken anew for each answer, find.
// STRONG_HISTORIES says how many histories are tried, STRONG_SEED which is the first.
func TestBoundsAgainstPlainSums(t *testing.T) {
	first, most := setting(t, "STRONG_SEED", 1), setting(t, "STRONG_HISTORIES", usualHistories/4)
	met := map[string]int{}
	for seed := first; seed < first+most; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		h, b := anyCounts(rng), bounded[seed%uint64(len(bounded))]
		h.Header.Notes = map[string]string{BoundsNote: b.note}
		want, got := map[string]int{}, map[string]int{}
		for _, place := range []string{"a:counter", "b:counter", `"x":a:counter`, "m:map/f:counter"} {
			limits, bound := b.limits[place]
			for name, n := range (counted{h, place, limits, bound}).wrong() {
				want[name] += n
			}
		}
		r := Bounds().Check(h, checker.Options{Anomalies: 100})
		for _, a := range r.Anomalies {
			got[a.Name]++
			met[a.Name]++
		}
		replay := fmt.Sprintf("STRONG_SEED=%d STRONG_HISTORIES=1 go test -run TestBoundsAgainstPlainSums%s%v", seed, lines(h), r.Anomalies)
		require.Equal(t, want, got, replay)
		require.Equal(t, len(want) > 0, r.Verdict == checker.Invalid, replay)
	}
	if most >= usualHistories/4 {
		require.Len(t, met, 4)
	}
}
