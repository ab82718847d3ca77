package strong

import "slices"

// view is what a search sees of a graph: edges of some kinds, and, if apart, only paths on which no
// anti-dependency follows another. Then each node n is two: 2n is reached through a dependency, 2n+1
// through an anti-dependency, and from there only dependencies go on.
type view struct {
	g     *graph
	kinds kind
	apart bool
}

func (v *view) size() int {
	if v.apart {
		return 2 * v.g.nodes
	}
	return v.g.nodes
}

func (v *view) node(n int32) int32 {
	if v.apart {
		return n / 2
	}
	return n
}

// step returns where an edge leads from a node, or none if it can't be taken.
func (v *view) step(from int32, e *edge) int32 {
	switch {
	case e.kind&v.kinds == 0:
		return none
	case !v.apart:
		return e.to
	case e.kind == rw && from&1 == 1:
		return none
	case e.kind&(rw|onward) != 0:
		return 2*e.to + 1
	}
	return 2 * e.to
}

// tarjan finds strongly connected components (Tarjan 1972) without recursion.
type tarjan struct {
	view
	number []int32 // in the order of discovery, from 1
	low    []int32
	of     []int32 // component of each node, from 1; 0: not yet known
	stack  []int32
	frames []frame
	last   int32
	found  int32
	big    [][]int32 // components of more than one node
}

type frame struct {
	node int32
	next int32 // edge to look at
}

// components returns those of more than one node, and the component of each node.
func components(v view) ([][]int32, []int32) {
	n := v.size()
	t := &tarjan{view: v, number: make([]int32, n), low: make([]int32, n), of: make([]int32, n)}
	for i := range int32(n) {
		if t.number[i] == 0 {
			t.visit(i)
		}
	}
	return t.big, t.of
}

func (t *tarjan) enter(n int32) {
	t.last++
	t.number[n], t.low[n] = t.last, t.last
	t.stack = append(t.stack, n)
	t.frames = append(t.frames, frame{n, t.g.first[t.node(n)]})
}

func (t *tarjan) visit(root int32) {
	t.enter(root)
	for len(t.frames) > 0 {
		f := &t.frames[len(t.frames)-1]
		if f.next == t.g.first[t.node(f.node)+1] {
			t.leave()
			continue
		}
		e := &t.g.edges[f.next]
		f.next++
		n := f.node
		switch to := t.step(n, e); {
		case to == none:
		case t.number[to] == 0:
			t.enter(to)
		case t.of[to] == 0:
			t.low[n] = min(t.low[n], t.number[to])
		}
	}
}

// leave ends the visit of the node on top, and takes its component off the stack if it is the root.
func (t *tarjan) leave() {
	n := t.frames[len(t.frames)-1].node
	t.frames = t.frames[:len(t.frames)-1]
	if len(t.frames) > 0 {
		p := t.frames[len(t.frames)-1].node
		t.low[p] = min(t.low[p], t.low[n])
	}
	if t.low[n] != t.number[n] {
		return
	}
	t.found++
	at := len(t.stack) - 1
	for ; t.stack[at] != n; at-- {
		t.of[t.stack[at]] = t.found
	}
	t.of[n] = t.found
	if len(t.stack)-at > 1 {
		c := slices.Clone(t.stack[at:])
		slices.Sort(c)
		t.big = append(t.big, c)
	}
	t.stack = t.stack[:at]
}

// paths finds shortest paths by breadth-first search.
type paths struct {
	view
	left  *int    // edges that may still be followed
	inner []int32 // component of each node; searches stay in one
	came  []int32 // edge by which a node was reached
	from  []int32 // node from which it was
	round []int32 // search that reached it
	now   int32
	queue []int32
}

func newPaths(v view, inner []int32, left *int) *paths {
	n := v.size()
	return &paths{view: v, left: left, inner: inner, came: make([]int32, n), from: make([]int32, n), round: make([]int32, n)}
}

// find returns the edges of a shortest path of at least one edge, of less than most if there is one.
func (p *paths) find(from, to int32, most int) []edge {
	p.now++
	p.queue = append(p.queue[:0], from)
	depth, end := 0, 1
	for i := 0; i < len(p.queue); i++ {
		if i == end {
			depth, end = depth+1, len(p.queue)
		}
		if depth+1 >= most || *p.left <= 0 {
			return nil
		}
		if p.spread(p.queue[i], to) {
			return p.back(from, to)
		}
	}
	return nil
}

// spread reaches a node's neighbours, and reports whether one is the goal.
func (p *paths) spread(n, goal int32) bool {
	first := p.g.first[p.node(n)]
	out := p.g.out(p.node(n))
	*p.left -= len(out)
	for i := range out {
		to := p.step(n, &out[i])
		if to == none || p.inner != nil && p.inner[to] != p.inner[goal] || p.round[to] == p.now {
			continue
		}
		p.round[to], p.came[to], p.from[to] = p.now, first+int32(i), n
		if to == goal {
			return true
		}
		p.queue = append(p.queue, to)
	}
	return false
}

func (p *paths) back(from, to int32) []edge {
	var out []edge
	for n := to; ; {
		out = append(out, p.g.edges[p.came[n]])
		if n = p.from[n]; n == from {
			slices.Reverse(out)
			return out
		}
	}
}
