package causal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal/model"
	"github.com/theriac-db/theriac/jepsen/history"
)

// long makes a history in which sessions come and go and writers are gone while others still write: the things of
// which short ones have too few.
func long(rng *rand.Rand) *history.History {
	return model.History(rng.IntN, model.Shape{Regions: 1 + rng.IntN(4), Keys: 2 + rng.IntN(40), Callers: 2 + rng.IntN(20),
		Ops: 1 + rng.IntN(6), Plain: rng.IntN(3) == 0}, 100+rng.IntN(300))
}

// makeStale changes the answer of a read to a value that was there some writes before.
func makeStale(rng *rand.Rand, h *history.History) {
	from, back := rng.IntN(len(h.Txns)), 1+rng.IntN(12)
	values := map[string][]*history.Value{}
	for i := range h.Txns {
		for j := range h.Txns[i].Ops {
			o := &h.Txns[i].Ops[j]
			switch all := values[o.Key]; {
			case o.Writes() && h.Txns[i].Outcome == history.OK:
				values[o.Key] = append(all, o.Arg)
			case !o.Writes() && i >= from && len(all) > back && !h.Txns[i].Writes():
				o.Got = all[len(all)-back]
				return
			}
		}
	}
}

// TestLongHistoriesAgainstTheDefinition: what the checker leaves out for the sake of long histories changes no verdict.
// CAUSAL_LONG says how many are tried, CAUSAL_SEED which is the first.
func TestLongHistoriesAgainstTheDefinition(t *testing.T) {
	first, most := number(t, "CAUSAL_SEED", 1), number(t, "CAUSAL_LONG", 60)
	verdicts := map[checker.Verdict]int{}
	for seed := first; seed < first+most; seed++ {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := long(rng)
		for range rng.IntN(3) {
			makeStale(rng, h)
		}
		want := checker.Invalid
		if correct(h) {
			want = checker.Valid
		}
		got := Checker{}.Check(h, checker.Options{})
		require.Equal(t, want, got.Verdict, "CAUSAL_SEED=%d CAUSAL_LONG=1 go test -run TestLongHistoriesAgainstTheDefinition\n%v", seed, got.Anomalies)
		verdicts[want]++
	}
	if most >= 60 {
		require.Greater(t, verdicts[checker.Valid], 10)
		require.Greater(t, verdicts[checker.Invalid], 10)
	}
}

// TestInvariantsOfLongHistories holds the clocks and chains of long histories against the definition. Some chains must have
// gone on where a writer was gone, without having seen it.
func TestInvariantsOfLongHistories(t *testing.T) {
	reused := 0
	for seed := range uint64(12) {
		h := long(rand.New(rand.NewPCG(seed, 2)))
		o := &oracle{h: h, in: make([]bool, len(h.Txns))}
		o.begin()
		r := walked(h)
		requireClocks(t, r, o, seed)
		for _, c := range r.chains.all {
			reused += int(c.length) - len(c.members)
		}
	}
	require.Greater(t, reused, 10)
}

// TestWorkGrowsWithTheHistory: chains that nobody can go on with, of sessions that begin without having seen anything and of
// writers at level eventual, grow in number with the history; what a transaction must compare must not.
func TestWorkGrowsWithTheHistory(t *testing.T) {
	for _, plain := range []bool{true, false} {
		small, big := walked(large(1, 5_000, 1000, plain)), walked(large(1, 20_000, 1000, plain))
		require.Greater(t, len(big.chains.all), len(small.chains.all))
		require.Less(t, compared(big), 1.5*compared(small), "plain: %t", plain)
	}
}

// compared is how many pages of clocks a transaction and one that it follows do not share, on average.
func compared(r *run) float64 {
	pages := 0
	for n, c := range r.clocks {
		for _, before := range r.before.of(int32(n)) {
			for i, b := range r.clocks[before] {
				if b == nil || b == c[i] {
					continue
				}
				for j, p := range b.pages {
					if p != nil && p != c[i].pages[j] {
						pages++
					}
				}
			}
		}
	}
	return float64(pages) / float64(len(r.clocks))
}
