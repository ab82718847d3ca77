package strong

import (
	"cmp"
	"container/heap"
	"math/bits"
	"slices"
)

// goal is a node that anti-dependencies lead to: a transaction, or a hub for several.
type goal struct {
	node    int32
	begins  []edge // onward edges of a hub; empty for a transaction
	readers []edge // anti-dependencies to it, of transactions that are not before it
	lo, hi  int32  // positions of the first transaction that it stands for, and of the last reader
}

// single tells cycles with exactly one anti-dependency: a transaction that read what had been
// replaced by one that it depends on. It is a question of reachability, not of components, since
// cycles with more anti-dependencies are allowed: the goals of 64 anti-dependencies at a time are
// carried along all dependencies in topological order, from the first of them to the last reader.
type single struct {
	*searcher
	order    []int32 // transactions in topological order
	position []int32
	mask     []uint64
	paths    *paths
}

// single needs the dependencies to be without cycles, but for those that were told.
func (s *searcher) single() {
	d := &single{searcher: s, position: make([]int32, s.g.nodes), mask: make([]uint64, s.g.nodes),
		paths: newPaths(view{s.g, dependencies, false}, nil, &s.left)}
	d.order = s.g.topological()
	for i, n := range d.order {
		d.position[n] = int32(i)
	}
	goals := d.goals()
	for len(goals) > 0 && len(s.anomalies) < s.most {
		n := min(64, len(goals))
		if !d.batch(goals[:n]) {
			s.unsure = append(s.unsure, "whether any transaction reads what one that it depends on has replaced")
			return
		}
		goals = goals[n:]
	}
}

// ready is a heap of nodes whose dependencies are all in the order.
type ready []int32

func (r ready) Len() int           { return len(r) }
func (r ready) Less(i, j int) bool { return r[i] < r[j] }
func (r ready) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ready) Push(n any)        { *r = append(*r, n.(int32)) }
func (r *ready) Pop() any {
	last := len(*r) - 1
	n := (*r)[last]
	*r = (*r)[:last]
	return n
}

// topological orders the nodes by their dependencies, and else as they were recorded: what is close
// in time is close in the order, so that goals need not be carried far. Nodes on cycles and after
// them, whose cycles were told, have no place in it and come last.
func (g *graph) topological() []int32 {
	waits := make([]int32, g.nodes)
	for i := range g.edges {
		if g.edges[i].kind&dependencies != 0 {
			waits[g.edges[i].to]++
		}
	}
	var next ready
	var order, rest []int32
	for n := range int32(g.nodes) {
		if waits[n] == 0 {
			next = append(next, n) // ascending, so a heap
		}
	}
	for len(next) > 0 {
		n := heap.Pop(&next).(int32)
		order = append(order, n)
		for _, e := range g.out(n) {
			if e.kind&dependencies == 0 {
				continue
			}
			if waits[e.to]--; waits[e.to] == 0 {
				heap.Push(&next, e.to)
			}
		}
	}
	for n, w := range waits {
		if w > 0 {
			rest = append(rest, int32(n))
		}
	}
	return append(order, rest...)
}

// goals collects what could be reached: an anti-dependency to a transaction that is later in the
// order leads to none that its reader depends on.
func (d *single) goals() []goal {
	at := map[int32]int{}
	var goals []goal
	for _, e := range d.g.edges {
		if e.kind != rw {
			continue
		}
		lo := d.firstOf(e.to)
		if lo >= d.position[e.from] {
			continue
		}
		k, ok := at[e.to]
		if !ok {
			k = len(goals)
			at[e.to] = k
			goals = append(goals, goal{node: e.to, lo: lo})
			if e.to >= int32(d.g.txns) {
				goals[k].begins = d.g.out(e.to)
			}
		}
		goals[k].readers = append(goals[k].readers, e)
		goals[k].hi = max(goals[k].hi, d.position[e.from])
	}
	slices.SortStableFunc(goals, func(a, b goal) int { return cmp.Compare(a.lo, b.lo) })
	return goals
}

// firstOf is the position of the first transaction that a goal stands for.
func (d *single) firstOf(node int32) int32 {
	if node < int32(d.g.txns) {
		return d.position[node]
	}
	first := int32(len(d.order))
	for _, e := range d.g.out(node) {
		first = min(first, d.position[e.to])
	}
	return first
}

// batch judges up to 64 goals, and reports whether the budget was enough.
func (d *single) batch(goals []goal) bool {
	hi := int32(0)
	for i := range goals {
		hi = max(hi, goals[i].hi)
	}
	span := d.order[goals[0].lo : hi+1]
	if d.left -= len(span); d.left <= 0 {
		return false
	}
	for _, n := range span {
		d.mask[n] = 0
	}
	starts := map[int32]uint64{}
	ends := map[int32]uint64{}
	for i := range goals {
		goals[i].mark(uint64(1)<<i, starts, ends)
	}
	for _, n := range span {
		if hit := d.mask[n] & ends[n]; hit != 0 {
			d.tellSingle(n, &goals[bits.TrailingZeros64(hit)])
		}
		d.carry(n, hi, d.mask[n]|starts[n])
	}
	return true
}

func (g *goal) mark(bit uint64, starts, ends map[int32]uint64) {
	for _, e := range g.begins {
		starts[e.to] |= bit
	}
	if len(g.begins) == 0 {
		starts[g.node] |= bit
	}
	for _, e := range g.readers {
		ends[e.from] |= bit
	}
}

// carry hands a node's goals to all that depend on it.
func (d *single) carry(n, hi int32, mask uint64) {
	if mask == 0 {
		return
	}
	for _, e := range d.g.out(n) {
		if e.kind&dependencies != 0 && d.position[e.to] <= hi {
			d.mask[e.to] |= mask
		}
	}
}

// tellSingle tells the shortest cycle from a reader through a goal back to it.
func (d *single) tellSingle(reader int32, g *goal) {
	if d.told[reader] || len(d.anomalies) >= d.most {
		return
	}
	k := slices.IndexFunc(g.readers, func(e edge) bool { return e.from == reader })
	head := []edge{g.readers[k]}
	begins := []edge{{to: g.node}}
	if len(g.begins) > 0 {
		begins = g.begins
	}
	var best []edge
	for _, b := range begins {
		most := len(d.order)
		if best != nil {
			most = len(best) - len(head)
		}
		if p := d.paths.find(b.to, reader, most); p != nil {
			best = head
			if len(g.begins) > 0 {
				best = append(slices.Clone(head), b)
			}
			best = append(slices.Clone(best), p...)
		}
	}
	if best != nil {
		d.tell(best)
		return
	}
	d.report([]int32{reader}, d.paths.view, nil)
}
