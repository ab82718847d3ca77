package crdt_test

import (
	"bytes"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// This file is a small model of what txn and storage do with package crdt: it settles what a
// transaction overrides of its own, combines adds, lands effects on leaves, removals on all leaves
// below that they touch, at once or bit by bit, and rewrites.

// effect is one effect of a record.
type effect struct {
	crdt.Target
	path     string // encoded
	dot      clock.Dot
	snapshot clock.Vector // of an override
}

// settleAndCombine makes a group's effects as a coordinator does.
func (h *history) settleAndCombine(t *rapid.T, g *group) []effect {
	var out []effect
	for _, txn := range g.txns {
		var kept []effect
		for _, e := range txn {
			next := h.resolve(t, e)
			kept = slices.DeleteFunc(kept, func(f effect) bool {
				if next.Below {
					return bytes.HasPrefix([]byte(f.path), []byte(next.path))
				}
				return f.path == next.path && crdt.Replaces(next.Leaf, next.Op)
			})
			kept = append(kept, next)
		}
		for _, f := range kept {
			out = combine(out, f)
		}
	}
	return out
}

func (h *history) resolve(t *rapid.T, e *event) effect {
	op := e.op
	op.Object = kv.Object{Bucket: "b", Key: "k", Type: h.spec.root}
	target, err := crdt.Resolve(op)
	require.NoError(t, err)
	path := kv.AppendPath(nil, target.Path)
	require.Equal(t, kv.AppendPath(nil, e.path), path)

	again, err := crdt.EffectTarget(&kv.Effect{Object: op.Object, Path: path, Op: target.Op})
	require.NoError(t, err)
	again.Path = target.Path
	require.Equal(t, target, again)

	f := effect{Target: target, path: string(path), dot: e.dot}
	if target.Override {
		f.snapshot = e.snapshot
	}
	return f
}

func combine(out []effect, f effect) []effect {
	for i := range out {
		if out[i].path == f.path && !out[i].Override && !f.Override {
			if op, ok := crdt.Combine(f.Leaf, out[i].Op, f.Op); ok {
				out[i].Op = op
				return out
			}
		}
	}
	return append(out, f)
}

// replica is one region's store of one object.
type replica struct {
	h       *history
	leaves  map[string][]byte // encoded path to items
	applied clock.Vector
	horizon clock.Vector
	pending []*effect // removals that have landed on some leaves only

	forgotten, spent int // what the rewrites achieved
}

func newReplica(h *history) *replica { return &replica{h: h, leaves: map[string][]byte{}} }

func (r *replica) leafType(path string) kv.Type {
	if path == "" {
		return r.h.spec.root
	}
	return kv.Type(path[len(path)-1])
}

// apply lands a group's effects. A removal lands at once, or only on some leaves.
func (r *replica) apply(t *rapid.T, g *group) {
	for i := range g.record {
		f := &g.record[i]
		switch {
		case !f.Below:
			r.leaves[f.path] = crdt.AppendItem(r.leaves[f.path], f.dot, f.snapshot, f.Op)
		case rapid.IntRange(0, 3).Draw(t, "pending") > 0:
			r.land(t, f, func() bool { return true })
		default:
			r.pending = append(r.pending, f)
		}
	}
	r.applied = r.applied.With(g.stamp.Region, g.stamp.Time)
}

// land writes a removal to the leaves below that it touches, as far as the caller wants.
func (r *replica) land(t *rapid.T, f *effect, want func() bool) {
	for _, path := range r.paths() {
		if !bytes.HasPrefix([]byte(path), []byte(f.path)) || !want() {
			continue
		}
		touches, err := crdt.Touches(r.leafType(path), r.leaves[path], f.snapshot)
		require.NoError(t, err)
		if touches {
			r.leaves[path] = crdt.AppendItem(r.leaves[path], f.dot, f.snapshot, f.Op)
		}
	}
}

// resume lands more of the pending removals; some of it again, as after a crash.
func (r *replica) resume(t *rapid.T) {
	r.pending = slices.DeleteFunc(r.pending, func(f *effect) bool {
		done := rapid.Bool().Draw(t, "done")
		r.land(t, f, func() bool { return done || rapid.Bool().Draw(t, "this leaf") })
		return done
	})
}

func (r *replica) paths() []string { return slices.Sorted(maps.Keys(r.leaves)) }

// items are a leaf's items with what is pending above it.
func (r *replica) items(path string) []byte {
	items := r.leaves[path]
	for _, f := range r.pending {
		if bytes.HasPrefix([]byte(path), []byte(f.path)) {
			items = crdt.AppendItem(slices.Clone(items), f.dot, f.snapshot, f.Op)
		}
	}
	return items
}

// raiseHorizon draws a legal horizon: no lower than before, and below what is pending.
func (r *replica) raiseHorizon(t *rapid.T) {
	next := r.h.drawCut(t, r.horizon, r.applied)
	for _, f := range r.pending {
		if next.Sees(f.dot) {
			return
		}
	}
	r.horizon = next
}

// rewrite rewrites some leaves at a legal horizon and settled vector.
func (r *replica) rewrite(t *rapid.T) {
	r.raiseHorizon(t)
	settled := r.h.settledBelow(r.horizon)
	if rapid.IntRange(0, 3).Draw(t, "lower settled") == 0 {
		settled = r.h.drawCut(t, nil, settled)
	}
	for _, path := range r.paths() {
		if rapid.IntRange(0, 3).Draw(t, "rewrite") > 0 {
			r.rewriteLeaf(t, path, settled)
		}
	}
}

func (r *replica) rewriteLeaf(t *rapid.T, path string, settled clock.Vector) {
	before := r.leaves[path]
	out, kept, err := crdt.Rewrite(r.leafType(path), nil, before, r.horizon, settled)
	require.NoError(t, err)
	n, err := crdt.CountItems(out)
	require.NoError(t, err)
	require.Equal(t, n, kept)
	again, _, err := crdt.Rewrite(r.leafType(path), nil, out, r.horizon, settled)
	require.NoError(t, err)
	require.Equal(t, out, again, "a second rewrite changes nothing")
	r.count(before, out)
	if kept == 0 {
		delete(r.leaves, path)
		return
	}
	r.leaves[path] = out
}

func (r *replica) count(before, after []byte) {
	tally := func(items []byte, step int) {
		for _, item := range crdt.SplitItems(items) {
			if crdt.HasSnapshot(item) {
				r.spent -= step
			}
			if crdt.HasDot(item) {
				r.forgotten -= step
			}
		}
	}
	tally(before, -1)
	tally(after, 1)
}

// read is the object's value at a snapshot.
func (r *replica) read(t *rapid.T, at clock.Vector) kv.Value {
	if !crdt.IsCollection(r.h.spec.root) {
		return r.fold(t, "", at)
	}
	c := crdt.NewCollector(r.h.spec.root)
	for _, path := range r.paths() {
		rel, err := kv.DecodePath([]byte(path))
		require.NoError(t, err)
		require.NoError(t, c.Add(rel, r.fold(t, path, at)))
	}
	return c.Value()
}

// fold folds a leaf's items, sometimes in another order and some of them twice.
func (r *replica) fold(t *rapid.T, path string, at clock.Vector) kv.Value {
	items := r.items(path)
	if rapid.Bool().Draw(t, "shuffle") {
		parts := rapid.Permutation(crdt.SplitItems(items)).Draw(t, "order")
		for _, p := range parts {
			if crdt.HasDot(p) && rapid.IntRange(0, 3).Draw(t, "twice") == 0 {
				parts = append(parts, p)
			}
		}
		items = bytes.Join(parts, nil)
	}
	v, err := crdt.Fold(r.leafType(path), items, at)
	require.NoError(t, err)
	return v
}

// joined is a new replica that starts from this one's leaves at a cut.
func (r *replica) joined(t *rapid.T, cut clock.Vector) *replica {
	n := newReplica(r.h)
	n.applied, n.horizon = cut, r.horizon
	for path, items := range r.leaves {
		out, err := crdt.Filter(nil, items, cut)
		require.NoError(t, err)
		if len(out) > 0 {
			n.leaves[path] = out
		}
	}
	return n
}
