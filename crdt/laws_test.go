package crdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// eachType runs a law for every registered type as an object. rapid prints the seed of a failure and
// the flag that repeats it.
func eachType(t *testing.T, law func(t *rapid.T, root kv.Type)) {
	for _, root := range crdt.Types() {
		t.Run(crdt.Name(root), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { law(t, root) })
		})
	}
}

// agree checks that a replica reads, at some snapshots that include its horizon, what the
// specification says.
func agree(t *rapid.T, r *replica) {
	for range 2 {
		s := r.h.drawCut(t, r.horizon, r.applied)
		require.Equal(t, r.h.spec.value(r.h.spec.root, nil, s), r.read(t, s), "at %s, horizon %s", s, r.horizon)
	}
}

// Any two orders that respect causality fold to the same value, at every snapshot: the one that the
// specification gives.
func TestOrdersThatRespectCausalityFoldToTheSpecifiedValue(t *testing.T) {
	eachType(t, func(t *rapid.T, root kv.Type) {
		r := newReplica(drawHistory(t, root))
		for _, g := range r.h.drawOrder(t) {
			r.apply(t, g)
			r.resume(t)
		}
		agree(t, r)
	})
}

// Folding in steps at any cuts equals folding at once, and forgetting what is settled changes no
// readable value, now or later: rewrites at any legal (horizon, settled), at any time, before
// whatever may still arrive.
func TestRewritesChangeNoReadableValueNowOrLater(t *testing.T) {
	forgotten, spent := map[kv.Type]int{}, map[kv.Type]int{}
	eachType(t, func(t *rapid.T, root kv.Type) {
		r := newReplica(drawHistory(t, root))
		for _, g := range r.h.drawOrder(t) {
			r.apply(t, g)
			r.resume(t)
			if rapid.Bool().Draw(t, "rewrite now") {
				r.rewrite(t)
			}
			agree(t, r)
		}
		forgotten[root] += r.forgotten
		spent[root] += r.spent
	})
	for _, root := range crdt.Types() { // a run that exercised nothing fails
		require.Greater(t, forgotten[root], 100, "dots forgotten in %s", crdt.Name(root))
		require.Greater(t, spent[root], 20, "overrides spent in %s", crdt.Name(root))
	}
}

// A region that joins at a cut gets the leaves filtered to it, and everything later from the log.
func TestARegionThatJoinsAtACutReadsTheSame(t *testing.T) {
	eachType(t, func(t *rapid.T, root kv.Type) {
		r := newReplica(drawHistory(t, root))
		order := r.h.drawOrder(t)
		at := rapid.IntRange(0, len(order)).Draw(t, "joins after")
		for _, g := range order[:at] {
			r.apply(t, g)
			r.rewrite(t)
		}
		r.finish(t)
		n := r.joined(t, r.h.drawCut(t, r.horizon, r.applied))
		for _, g := range order {
			if g.stamp.Time > n.applied.At(g.stamp.Region) {
				n.apply(t, g)
				n.rewrite(t)
				agree(t, n)
			}
		}
	})
}

// finish finishes what is pending.
func (r *replica) finish(t *rapid.T) {
	for _, f := range r.pending {
		r.land(t, f, func() bool { return true })
	}
	r.pending = nil
}

// State at rest costs what the value costs: once everything is settled, a leaf that is absent has
// no items and one that is present has one, or one for each value of a register-mv.
func TestStateAtRestCostsWhatTheValueCosts(t *testing.T) {
	eachType(t, func(t *rapid.T, root kv.Type) {
		r := newReplica(drawHistory(t, root))
		for _, g := range r.h.drawOrder(t) {
			r.apply(t, g)
			r.rewrite(t)
		}
		r.finish(t)
		r.horizon = r.applied
		for _, path := range r.paths() {
			want := 0
			if v := r.fold(t, path, r.applied); v.Type == crdt.RegisterMV {
				want = len(v.List)
			} else if v.Present {
				want = 1
			}
			r.rewriteLeaf(t, path, r.applied)
			n, err := crdt.CountItems(r.leaves[path])
			require.NoError(t, err)
			require.Equal(t, want, n, "path %q", path)
		}
		r.horizon = r.applied
		agree(t, r)
	})
}

// A removed element or object leaves zero bytes once below the horizon; only a disable waits until
// settled.
func TestWhatIsRemovedLeavesNothingBelowTheHorizon(t *testing.T) {
	eachType(t, func(t *rapid.T, root kv.Type) {
		r := newReplica(drawHistory(t, root))
		for _, g := range r.h.drawOrder(t) {
			r.apply(t, g)
		}
		r.finish(t)
		r.horizon = r.applied
		for _, path := range r.paths() {
			present := r.fold(t, path, r.applied).Present
			r.rewriteLeaf(t, path, clock.Vector(nil))
			if leaf := r.leafType(path); leaf != crdt.FlagDW {
				require.Equal(t, present, len(r.leaves[path]) > 0, "path %q", path)
			}
		}
		agree(t, r)
	})
}
