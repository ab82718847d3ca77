package causal

import "slices"

// writers are the transactions that wrote registers, in a line for each register and chain. The lines of a register
// stand by their last writer, so that who knows the older writers need not look at chains that have not written since.
type writers struct {
	of         []head // of each register
	lines      []line
	line       map[lineOf]int32 // index of lines
	allSettled []int32          // of each write of each transaction: below which number that one has seen all
	firstWrite []int32          // where the writes of each transaction begin there
}

// head is where the lines of a register begin.
type head struct {
	newest int32 // index of writers.lines; -1: there is none
	count  int32 // of writers: each has its number, in the order of the walk
}

// line holds the writers of a register in one chain, in its order.
type line struct {
	chain        int32
	newer, older int32 // lines of the same register; -1: none
	writers      []written
}

// written is a write of a register.
type written struct {
	by     int32 // transaction
	number int32 // among the writers of the register
}

type lineOf struct{ register, chain int32 }

func (r *run) startWriters() {
	r.line = map[lineOf]int32{}
	r.writers.of = make([]head, len(r.sample))
	for i := range r.writers.of {
		r.writers.of[i].newest = -1
	}
	r.firstWrite = make([]int32, len(r.nodes)+1)
	for i := range r.nodes {
		r.firstWrite[i+1] = r.firstWrite[i] + int32(len(r.nodes[i].writes))
	}
	r.allSettled = make([]int32, r.firstWrite[len(r.nodes)])
}

// settled returns, of each write of n, below which number n has seen all writers of that register.
func (r *run) settled(n int32) []int32 { return r.allSettled[r.firstWrite[n]:r.firstWrite[n+1]] }

// addWriter notes that n, the last of its chain so far, wrote a register.
func (r *run) addWriter(reg, chain, n int32) {
	w := &r.writers.of[reg]
	i, ok := r.line[lineOf{reg, chain}]
	if !ok {
		i = int32(len(r.lines))
		r.line[lineOf{reg, chain}] = i
		r.lines = append(r.lines, line{chain: chain, newer: -1, older: -1})
		r.putFirst(w, i)
	} else if w.newest != i {
		r.takeOut(i)
		r.putFirst(w, i)
	}
	l := &r.lines[i]
	// Those that are gone stand at the end, for whoever has seen one has seen all before it in the chain.
	for len(l.writers) > 0 && r.gone(l.writers[len(l.writers)-1].by) {
		l.writers = l.writers[:len(l.writers)-1]
	}
	l.writers = append(l.writers, written{n, w.count})
	w.count++
}

// takeOut takes a line that is not the first out of its register's.
func (r *run) takeOut(i int32) {
	l := &r.lines[i]
	r.lines[l.newer].older = l.older
	if l.older >= 0 {
		r.lines[l.older].newer = l.newer
	}
}

func (r *run) putFirst(w *head, i int32) {
	r.lines[i].newer, r.lines[i].older = -1, w.newest
	if w.newest >= 0 {
		r.lines[w.newest].newer = i
	}
	w.newest = i
}

// unsettled calls f, until it returns true, with the last transaction of each chain that wrote a register and that t has
// seen, but not with those of numbers below from. It returns the number below which t has seen all writers that
// anybody may still see.
func (r *run) unsettled(t, reg, from int32, f func(n int32) bool) int32 {
	w := &r.writers.of[reg]
	settled := w.count
	for i := w.newest; i >= 0; i = r.lines[i].older {
		l := &r.lines[i]
		if l.writers[len(l.writers)-1].number < from {
			break
		}
		n := r.lastSeen(t, l)
		if n < len(l.writers) && !r.gone(l.writers[n].by) {
			settled = min(settled, l.writers[n].number)
		}
		for n > 0 && r.gone(l.writers[n-1].by) {
			n--
		}
		if n > 0 && l.writers[n-1].number >= from && f(l.writers[n-1].by) {
			return from
		}
	}
	return settled
}

// lastSeen returns how many writers of a line t has seen.
func (r *run) lastSeen(t int32, l *line) int {
	seen := r.clocks[t].get(l.chain)
	if r.pos[l.writers[len(l.writers)-1].by] <= seen {
		return len(l.writers)
	}
	n, _ := slices.BinarySearchFunc(l.writers, seen+1, func(w written, pos int32) int { return int(r.pos[w.by] - pos) })
	return n
}
