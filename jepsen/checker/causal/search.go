package causal

// kind of a hop.
type kind int8

const (
	inSession kind = iota // the second comes later in the session of the first
	readFrom              // the second read from the first
	mustOrder             // the first must come before the second: inferred
)

// hop is a step from one transaction to one that comes after it.
type hop struct {
	from, to int32
	kind     kind
	order    int32 // of mustOrder: which of causes.inferred
}

// search finds shortest paths, backwards, breadth first. From a transaction to any later one of its
// session is one hop.
type search struct {
	orders  lists // of each transaction, the orders that put it later
	stamp   []int32
	round   int32
	next    []hop // from each transaction that was reached, towards the end
	queue   []int32
	upTo    map[int32]int32 // of each session, below which place all were reached
	visited int             // since a search for the smallest cycle began

	components int // in which a cycle was looked for
	impossible int // reads that can't be
}

// within says which transactions and hops a search may use.
type within struct {
	orders bool
	member []bool // nil: all
}

// path returns the shortest way from one transaction to another that comes after it; from may be to: then
// it is the shortest cycle. Nil: there is none.
func (r *run) path(from, to int32, in within) []hop {
	r.startSearch(to)
	for i := 0; i < len(r.queue); i++ {
		if r.expand(r.queue[i], from, in) {
			return r.walk(from, to)
		}
	}
	return nil
}

func (r *run) startSearch(to int32) {
	if r.stamp == nil {
		r.stamp = make([]int32, len(r.nodes))
		r.next = make([]hop, len(r.nodes))
	}
	r.round++
	r.upTo = map[int32]int32{}
	r.queue = append(r.queue[:0], to)
}

// expand reaches all that directly come before n, and reports whether target is among them.
func (r *run) expand(n, target int32, in within) bool {
	if r.expandSession(n, target, in) {
		return true
	}
	for _, rd := range r.nodes[n].reads {
		if rd.from != initial && r.reach(hop{rd.from, n, readFrom, 0}, target, in) {
			return true
		}
	}
	if !in.orders {
		return false
	}
	for _, o := range r.orders.of(n) {
		if r.reach(hop{r.inferred[o].earlier, n, mustOrder, o}, target, in) {
			return true
		}
	}
	return false
}

func (r *run) expandSession(n, target int32, in within) bool {
	s, place := r.nodes[n].session, r.nodes[n].place
	if s < 0 || !r.bound(n) {
		return false
	}
	low := r.upTo[s]
	for p := place - 1; p >= low; p-- {
		if m := r.sessions[s][p]; r.binds(m) && r.reach(hop{m, n, inSession, 0}, target, in) {
			return true
		}
	}
	r.upTo[s] = max(low, place)
	return false
}

func (r *run) reach(h hop, target int32, in within) bool {
	if in.member != nil && !in.member[h.from] || r.stamp[h.from] == r.round {
		return false
	}
	r.stamp[h.from] = r.round
	r.next[h.from] = h
	r.visited++
	if h.from == target {
		return true
	}
	r.queue = append(r.queue, h.from)
	return false
}

func (r *run) walk(from, to int32) []hop {
	path := []hop{r.next[from]}
	for at := path[0].to; at != to; at = r.next[at].to {
		path = append(path, r.next[at])
	}
	return path
}

// Bounds of the search for the smallest cycles: what is beyond them is told by a cycle that may not be the
// smallest, or counted only.
const (
	maxComponents = 20        // in which a cycle is looked for
	maxStarts     = 500       // transactions of a component through which one is looked for
	maxVisited    = 4_000_000 // transactions, in all
)

// findCycles tells a cycle of each component in which the transactions can't be put into an order.
func (r *run) findCycles() {
	looped := make([]bool, len(r.nodes))
	for _, c := range r.loops {
		r.findCycle(c, false)
		for _, n := range c {
			looped[n] = true
		}
	}
	if len(r.inferred) == 0 {
		return
	}
	r.orders = r.listOrders()
	for _, c := range components(r.withOrders()) {
		if len(c) > 1 && !anyOf(c, looped) {
			r.findCycle(c, true)
		}
	}
}

func anyOf(c []int32, marked []bool) bool {
	for _, n := range c {
		if marked[n] {
			return true
		}
	}
	return false
}

// listOrders sorts the inferred orders by the later transaction.
func (r *run) listOrders() lists {
	l := lists{first: make([]int32, len(r.nodes)+1), all: make([]int32, len(r.inferred))}
	for _, o := range r.inferred {
		l.first[o.later+1]++
	}
	for i := range r.nodes {
		l.first[i+1] += l.first[i]
	}
	at := append([]int32(nil), l.first...)
	for i, o := range r.inferred {
		l.all[at[o.later]] = int32(i)
		at[o.later]++
	}
	return l
}

// withOrders is the graph with the inferred orders.
func (r *run) withOrders() *lists {
	l := &lists{first: make([]int32, 1, len(r.nodes)+1), all: make([]int32, 0, len(r.before.all)+len(r.inferred))}
	for n := range r.nodes {
		l.all = append(l.all, r.before.of(int32(n))...)
		for _, o := range r.orders.of(int32(n)) {
			l.all = append(l.all, r.inferred[o].earlier)
		}
		l.first = append(l.first, int32(len(l.all)))
	}
	return l
}

// findCycle tells the smallest cycle of a component that it finds.
func (r *run) findCycle(c []int32, orders bool) {
	if r.components++; r.components > maxComponents {
		r.kept[CausalityViolated]++
		return
	}
	member := make([]bool, len(r.nodes))
	for _, n := range c {
		member[n] = true
	}
	var best []hop
	r.visited = 0
	for i, n := range c {
		if best != nil && (len(best) == 2 || i >= maxStarts || r.visited > maxVisited) {
			break
		}
		if found := r.path(n, n, within{orders, member}); best == nil || len(found) < len(best) {
			best = found
		}
	}
	r.explainCycle(best)
}
