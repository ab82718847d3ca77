package crdt_test

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
)

// This file makes histories: several regions commit groups of transactions on one object, each at a
// snapshot that its region had, and receive each other's groups in causal order.

// group is what one group commit wrote.
type group struct {
	stamp  clock.Stamp
	deps   clock.Vector // join of the snapshots
	txns   [][]*event
	lowest clock.Vector // meet of the snapshots
	record []effect     // what the coordinator makes of it
}

// history is all groups of a run, in an order that respects causality, and the specification of
// what they mean.
type history struct {
	regions int // besides the certifier, number 0, which is an origin like any
	groups  []*group
	spec    specification
}

// site is one region while a history is made.
type site struct {
	exposed []clock.Vector // every cut it has exposed; the last is the present one
	last    clock.Timestamp
}

func (s *site) now() clock.Vector { return s.exposed[len(s.exposed)-1] }

// universe lists what clients may address in an object of a type.
func universe(root kv.Type) []kv.Op {
	if root != crdt.Map && root != crdt.MapGO {
		return opsOn(nil, root)
	}
	field := func(p kv.Path, name string, t kv.Type) kv.Path {
		return append(slices.Clone(p), kv.Step{Name: name, Type: t})
	}
	inner := field(nil, "m", crdt.Map)
	deep := field(inner, "n", crdt.MapGO)
	var out []kv.Op
	for _, p := range []kv.Path{
		field(nil, "a", crdt.Counter), field(nil, "a", crdt.RegisterLWW), field(nil, "s\x00", crdt.SetAW),
		inner, field(inner, "", crdt.FlagDW), field(inner, "r", crdt.SetRW), field(inner, "v", crdt.RegisterMV),
		deep, field(deep, "c", crdt.Counter), field(deep, "g", crdt.SetGO), nil,
	} {
		t := root
		if len(p) > 0 {
			t = p[len(p)-1].Type
		}
		out = append(out, opsOn(p, t)...)
	}
	return slices.DeleteFunc(out, func(op kv.Op) bool { // what a map-go refuses
		n := len(op.Path)
		return op.Verb == kv.VerbReset && (n == 1 && root == crdt.MapGO || n > 1 && op.Path[n-2].Type == crdt.MapGO)
	})
}

func opsOn(p kv.Path, t kv.Type) []kv.Op {
	out := []kv.Op{{Path: p, Verb: kv.VerbReset}}
	with := func(v kv.Verb, data ...string) {
		for _, d := range data {
			out = append(out, kv.Op{Path: p, Verb: v, Data: []byte(d)})
		}
	}
	switch t {
	case crdt.Counter:
		out = append(out, kv.Op{Path: p, Verb: kv.VerbIncrement, Int: 1}, kv.Op{Path: p, Verb: kv.VerbIncrement, Int: -1},
			kv.Op{Path: p, Verb: kv.VerbIncrement, Int: 1000}, kv.Op{Path: p, Verb: kv.VerbIncrement, Int: 1 << 40})
	case crdt.RegisterLWW, crdt.RegisterMV:
		with(kv.VerbAssign, "", "x", "y")
	case crdt.FlagEW, crdt.FlagDW:
		with(kv.VerbEnable, "")
		with(kv.VerbDisable, "")
	case crdt.SetAW, crdt.SetRW:
		with(kv.VerbAdd, "", "e\x00")
		with(kv.VerbRemove, "", "e\x00")
	case crdt.SetGO:
		with(kv.VerbAdd, "", "e\x00")
	}
	return out
}

// drawHistory makes a history of an object.
func drawHistory(t *rapid.T, root kv.Type) *history {
	h := &history{regions: rapid.IntRange(1, 2).Draw(t, "regions"), spec: specification{root: root}}
	ops := universe(root)
	sites := make([]*site, h.regions+1)
	for i := range sites {
		sites[i] = &site{exposed: []clock.Vector{nil}}
	}
	eager := rapid.IntRange(1, 8).Draw(t, "eager") // deliveries tried for each commit
	for range rapid.IntRange(1, 24).Draw(t, "commits") {
		r := clock.Region(rapid.IntRange(0, h.regions).Draw(t, "region"))
		h.commit(t, r, sites[r], ops)
		for range rapid.IntRange(0, eager).Draw(t, "deliveries") {
			to := rapid.IntRange(0, h.regions).Draw(t, "to")
			h.deliver(sites[to], clock.Region(rapid.IntRange(0, h.regions).Draw(t, "from")))
		}
	}
	return h
}

// commit adds a group of one or two transactions, whose snapshots may be older than the present.
func (h *history) commit(t *rapid.T, r clock.Region, s *site, ops []kv.Op) {
	g := &group{}
	for i := range rapid.IntRange(1, 2).Draw(t, "transactions") {
		back := rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "age of snapshot")
		snapshot := s.exposed[max(0, len(s.exposed)-1-back)]
		if i == 0 {
			g.lowest = snapshot
		}
		g.deps, g.lowest = g.deps.Join(snapshot), g.lowest.Meet(snapshot)
		g.txns = append(g.txns, h.drawTxn(t, snapshot, ops))
	}
	s.last = max(s.last, g.deps.Max()) + clock.Timestamp(rapid.IntRange(1, 4).Draw(t, "ticks"))
	g.stamp = clock.Stamp{Region: r, Time: s.last}
	index := uint32(0)
	for i, txn := range g.txns {
		for _, e := range txn {
			e.dot, e.txn = clock.Dot{Region: r, Time: s.last, Index: index}, len(h.groups)*2+i
			index++
			h.spec.events = append(h.spec.events, e)
		}
	}
	g.record = h.settleAndCombine(t, g)
	h.groups = append(h.groups, g)
	s.exposed = append(s.exposed, s.now().With(r, s.last))
}

func (h *history) drawTxn(t *rapid.T, snapshot clock.Vector, ops []kv.Op) []*event {
	var txn []*event
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "operations") {
		op := rapid.SampledFrom(ops).Draw(t, "op")
		e := &event{op: op, snapshot: snapshot, path: op.Path, verb: op.Verb, n: op.Int, data: string(op.Data)}
		switch op.Verb { // an element's flag, as DESIGN section 4 decomposes a set
		case kv.VerbAdd:
			e.path, e.verb, e.data = h.element(op), kv.VerbEnable, ""
		case kv.VerbRemove:
			e.path, e.verb, e.data = h.element(op), kv.VerbDisable, ""
		}
		txn = append(txn, e)
	}
	return txn
}

func (h *history) element(op kv.Op) kv.Path {
	set, flag := h.spec.root, crdt.FlagEW
	if n := len(op.Path); n > 0 {
		set = op.Path[n-1].Type
	}
	if set == crdt.SetRW {
		flag = crdt.FlagDW
	}
	return append(slices.Clone(op.Path), kv.Step{Name: string(op.Data), Type: flag})
}

// deliver exposes the next group of an origin at a site, if what it depends on is there.
func (h *history) deliver(s *site, from clock.Region) {
	for _, g := range h.groups {
		if g.stamp.Region == from && g.stamp.Time > s.now().At(from) {
			if s.now().Includes(g.deps) {
				s.exposed = append(s.exposed, s.now().With(from, g.stamp.Time))
			}
			return
		}
	}
}

// closed lowers a vector until it is a causally closed cut of transactions.
func (h *history) closed(v clock.Vector) clock.Vector {
	var cut clock.Vector
	for _, g := range h.groups { // in an order that respects causality, gaps within a region excluded
		r := g.stamp.Region
		if g.stamp.Time <= v.At(r) && h.previous(g) == cut.At(r) && cut.Includes(g.deps) {
			cut = cut.With(r, g.stamp.Time)
		}
	}
	return cut
}

// previous is the timestamp of the group before g in its region.
func (h *history) previous(g *group) clock.Timestamp {
	var before clock.Timestamp
	for _, o := range h.groups {
		if o.stamp.Region == g.stamp.Region && o.stamp.Time < g.stamp.Time {
			before = max(before, o.stamp.Time)
		}
	}
	return before
}

// drawCut draws a causally closed cut between two.
func (h *history) drawCut(t *rapid.T, low, high clock.Vector) clock.Vector {
	if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
		return high
	}
	var v clock.Vector
	for r := range clock.Region(h.regions + 1) {
		if most := high.At(r); most > 0 {
			v = v.With(r, clock.Timestamp(rapid.Uint64Range(uint64(low.At(r)), uint64(most)).Draw(t, "cut")))
		}
	}
	return h.closed(v).Join(low)
}

// settledBelow is the highest vector that the definition of settled allows with a horizon: every
// transaction of a group above the horizon, also of those that come later, has seen all of it.
func (h *history) settledBelow(horizon clock.Vector) clock.Vector {
	v := horizon
	for _, g := range h.groups {
		if g.stamp.Time > horizon.At(g.stamp.Region) {
			v = v.Meet(g.lowest)
		}
	}
	return v
}

// drawOrder draws another order of the groups that respects causality.
func (h *history) drawOrder(t *rapid.T) []*group {
	var out []*group
	var have clock.Vector
	left := slices.Clone(h.groups)
	for len(left) > 0 {
		var ready []int
		seen := map[clock.Region]bool{}
		for i, g := range left {
			if !seen[g.stamp.Region] && have.Includes(g.deps) {
				ready = append(ready, i)
			}
			seen[g.stamp.Region] = true
		}
		if len(ready) == 0 {
			panic(fmt.Sprintf("no group can be applied at %s", have))
		}
		i := rapid.SampledFrom(ready).Draw(t, "next")
		out = append(out, left[i])
		have = have.With(left[i].stamp.Region, left[i].stamp.Time)
		left = slices.Delete(left, i, i+1)
	}
	return out
}
