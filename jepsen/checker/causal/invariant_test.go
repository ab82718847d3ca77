package causal

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/history"
)

// TestInvariants holds what doc.go numbers against the plain definition of what happened before what: of clocks and
// chains, of inferred orders, and of the paths that explanations tell.
func TestInvariants(t *testing.T) {
	orders := 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		h := anyHistory(rng, 2+rng.IntN(10), true)
		o := &oracle{h: h, in: make([]bool, len(h.Txns))}
		o.begin()
		if !o.acyclic() {
			continue
		}
		r := walked(h)
		requireClocks(t, r, o, seed)
		for _, i := range r.inferred {
			orders++
			require.False(t, o.after[i.earlier][i.later] || o.after[i.later][i.earlier], "seed %d: T%d T%d", seed, i.earlier+1, i.later+1)
			require.True(t, o.after[i.earlier][i.reader], "seed %d: T%d T%d", seed, i.earlier+1, i.reader+1)
			at := i.earlier
			for _, hop := range r.path(i.earlier, i.reader, within{}) {
				require.Equal(t, at, hop.from, "seed %d", seed)
				require.True(t, o.after[hop.from][hop.to], "seed %d: T%d T%d", seed, hop.from+1, hop.to+1)
				at = hop.to
			}
			require.Equal(t, i.reader, at, "seed %d", seed)
		}
	}
	require.Greater(t, orders, 500)
}

// walked does all but the search for cycles.
func walked(h *history.History) *run {
	r := &run{h: h, counts: map[string]int{}, kept: map[string]int{}}
	r.intern()
	r.commit()
	r.judge()
	r.link()
	r.order()
	return r
}

// requireClocks: a clock says of each transaction in a chain whether it happened before, and each of a chain has seen those
// that stand before it and that anybody still sees.
func requireClocks(t *testing.T, r *run, o *oracle, seed uint64) {
	chained := map[int32][]int32{}
	for a := range r.nodes {
		if !r.nodes[a].in || r.chain[a] < 0 {
			continue
		}
		chained[r.chain[a]] = append(chained[r.chain[a]], int32(a))
		for b := range r.nodes {
			if r.nodes[b].in {
				r.now = r.at[b]
				if got := r.happenedBefore(int32(a), int32(b)); got != o.after[a][b] {
					require.Equal(t, o.after[a][b], got, "seed %d: T%d T%d", seed, a+1, b+1)
				}
			}
		}
	}
	for _, c := range chained {
		slices.SortFunc(c, func(a, b int32) int { return cmp.Compare(r.pos[a], r.pos[b]) })
		for i := 1; i < len(c); i++ {
			for _, earlier := range c[:i] {
				if r.now = r.at[c[i]]; !r.gone(earlier) && !o.after[earlier][c[i]] {
					require.Fail(t, "not seen", "seed %d: T%d T%d", seed, earlier+1, c[i]+1)
				}
			}
		}
	}
}
