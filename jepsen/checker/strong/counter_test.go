package strong

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// placeHistory makes a linearizable history of one place: processes that each call, take effect at once and return,
// in random turns. Adds are of 1 to spread, of either sign if that is negative; a set has spread elements. One in 20 calls is of unknown outcome, and half of these took effect.
func placeHistory(seed uint64, kind string, calls, processes int, spread int64) *history.History {
	rng := rand.New(rand.NewPCG(seed, 2))
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "place", Regions: regions}}
	at := thing{set: map[string]bool{}}
	open := make([]int, processes) // index of each process's call, from 1
	done := make([]bool, processes)
	for now := int64(1); len(h.Txns) < calls || slices.ContainsFunc(open, func(n int) bool { return n != 0 }); now++ {
		p := rng.IntN(processes)
		switch {
		case open[p] == 0 && len(h.Txns) < calls:
			h.Txns = append(h.Txns, history.Txn{ID: len(h.Txns) + 1, Process: len(h.Txns) + 1, Region: "eu", Level: "strong", Start: now,
				Outcome: history.OK, Ops: []history.Op{{Do: history.Get, Key: "x", Type: kind}}})
			open[p], done[p] = len(h.Txns), false
		case open[p] == 0:
		case !done[p]:
			takeEffect(rng, &h.Txns[open[p]-1], &at, spread)
			done[p] = true
		default:
			h.Txns[open[p]-1].End = now
			open[p] = 0
		}
	}
	return h
}

func takeEffect(rng *rand.Rand, t *history.Txn, at *thing, spread int64) {
	o := &t.Ops[0]
	applied := true
	if rng.IntN(20) == 0 {
		t.Outcome, applied = history.Unknown, rng.IntN(2) == 0
	}
	write := rng.IntN(2) == 0
	switch {
	case !write:
		if t.Outcome == history.OK {
			o.Got = at.answerRight(o)
		}
		return
	case o.Type == "counter":
		o.Do, o.Arg = history.Add, &history.Value{Int: 1 + rng.Int64N(max(1, spread, -spread))}
		if spread < 0 && rng.IntN(2) == 0 {
			o.Arg.Int = -o.Arg.Int
		}
	case o.Type == "flag-ew":
		o.Do = []history.Do{history.Enable, history.Disable}[rng.IntN(2)]
	case o.Type == "set-aw":
		o.Do, o.Element = []history.Do{history.Insert, history.Insert, history.Remove}[rng.IntN(3)], fmt.Sprint("e", rng.Int64N(spread))
	default:
		o.Do, o.Arg = history.Assign, &history.Value{Text: fmt.Sprint(t.ID)}
	}
	if applied {
		at.do(o)
	}
}

// TestCountersOfManyUnknownOutcomesAreDecided: where each add of unknown outcome may have taken effect at any time
// after it began, and adds are of different sizes.
func TestCountersOfManyUnknownOutcomesAreDecided(t *testing.T) {
	for seed := range uint64(3) {
		for _, spread := range []int64{1, 5, -3} {
			h := placeHistory(seed, "counter", 1000, 10, spread)
			r := Linearizable("").Check(h, checker.Options{})
			require.Equal(t, checker.Valid, r.Verdict, "seed %d, adds up to %d: %v %s", seed, spread, r.Anomalies, r.Note)
			if spread > 0 {
				loseAdds(h, spread)
				r = Linearizable("").Check(h, checker.Options{})
				require.Equal(t, checker.Invalid, r.Verdict, "seed %d, adds up to %d: %s", seed, spread, r.Note)
			}
		}
	}
}

// loseAdds takes an acknowledged add, and what those of unknown outcome could make up for it, from the last read.
func loseAdds(h *history.History, spread int64) {
	lost := spread
	for i := range h.Txns {
		if h.Txns[i].Outcome == history.Unknown && h.Txns[i].Writes() {
			lost += h.Txns[i].Ops[0].Arg.Int
		}
	}
	for i := len(h.Txns) - 20; ; i-- {
		if o := &h.Txns[i].Ops[0]; o.Got != nil {
			o.Got.Int -= lost
			return
		}
	}
}

// TestALargeCounterIsDecided: it needs no memory for each call.
func TestALargeCounterIsDecided(t *testing.T) {
	h := placeHistory(1, "counter", 30_000, 10, 1)
	r := Linearizable("").Check(h, checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict, "%v %s", r.Anomalies, r.Note)
}

// TestAnEmptyBudgetLeavesACounterUndecided: but what no order explains needs none.
func TestAnEmptyBudgetLeavesACounterUndecided(t *testing.T) {
	h := placeHistory(1, "counter", 1000, 10, 5)
	require.Equal(t, checker.Unknown, Linearizable("").Check(h, checker.Options{Budget: 100}).Verdict)
	loseAdds(h, 5)
	require.Equal(t, checker.Invalid, Linearizable("").Check(h, checker.Options{Budget: 100}).Verdict)
}

// TestNarrowSearchesAreHonest: a search that holds one line at a time finds orders, where it does, that there are, and says
// that there is none only if it dropped nothing.
func TestNarrowSearchesAreHonest(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		h := anyCalls(rng, "counter", 2+rng.IntN(6))
		p := places(h, "")
		if len(p) == 0 || !sums(p[0]) {
			continue
		}
		calls := useful(p[0].calls)
		effects, ok := effectsOf(calls)
		if !ok {
			continue
		}
		l := &ledger{left: 1_000_000, width: 1, crowd: 1}
		fits := l.run(calls, effects, moments(calls))
		want := linesUp(h, thing{set: map[string]bool{}}, make([]bool, len(h.Txns)))
		outcomes[fmt.Sprint(fits, l.narrow, want)]++
		require.False(t, fits && !want, "seed %d %s", seed, lines(h))
		require.False(t, !fits && !l.narrow && want, "seed %d %s", seed, lines(h))
		fits, sure := addsUp(calls, 1_000_000, 1)
		require.True(t, sure && fits == want, "seed %d %s", seed, lines(h))
	}
	require.Positive(t, outcomes["false true true"], "nothing was dropped that would have been needed: %v", outcomes)
}
