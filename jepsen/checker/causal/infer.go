package causal

import "slices"

// causes holds, for each transaction, what it has causally seen, and what follows for the order of the
// writes.
type causes struct {
	clocks []clock
	chain  []int32 // of a transaction that writes and is followed; -1: of none
	pos    []int32 // its place in the chain, from 1
	chains
	writers  []writers // of each register
	seen     map[sessionState]sighting
	recent   []recent // of each register
	inferred []order
	known    map[[2]int32]struct{}
	scratch  []sighting
	loops    [][]int32 // components of more than one transaction in what happened before what
}

// chains cover the transactions that write: each has seen all before it in its chain. A chain belongs to
// a session while that lasts; then anybody who has seen its end may go on with it. That keeps clocks
// short, however many sessions come and go.
type chains struct {
	length  []int32
	session []int32 // chain of each session; -1: it has none yet
	left    []int32 // how many transactions of each session its chain still waits for
	free    []int32 // chains that belong to no session, in the order in which they are tried
}

// maxTried is how many free chains a transaction tries before it begins one.
const maxTried = 16

// writers are the transactions that wrote a register, by chain.
type writers struct {
	chains []int32
	nodes  [][]int32       // of each of the chains, in its order
	index  map[int32]int32 // where a chain stands in chains; only if there are many
	set    chainSet        // the chains; only if there are many
}

// manyChains is from how many chains on a register's writers are looked up by chain: below, trying all is
// cheaper.
const manyChains = 24

type sessionState struct{ session, register int32 }

// sighting is the last transaction whose write of a register a session has read or made, and the
// session's transaction that did so.
type sighting struct{ writer, at int32 }

// recent holds the last sightings of a register by transactions in chains, whatever their session.
type recent struct {
	ring [8]sighting
	n    int // how many there were
}

func (l *recent) add(s sighting) {
	l.ring[l.n%len(l.ring)] = s
	l.n++
}

// order is a pair of transactions of which the first must come before the second, because reader has
// seen the first, which wrote the register, and read the second's value there.
type order struct{ earlier, later, reader, register int32 }

// order walks along what happened before what, and infers the order of writes.
func (r *run) order() {
	n := len(r.nodes)
	r.clocks = make([]clock, n)
	r.chain, r.pos = make([]int32, n), make([]int32, n)
	r.writers = make([]writers, len(r.sample))
	r.seen = map[sessionState]sighting{}
	r.recent = make([]recent, len(r.sample))
	r.known = map[[2]int32]struct{}{}
	r.countChains()
	for _, c := range components(&r.before) {
		if len(c) > 1 {
			r.loops = append(r.loops, c)
		}
		for _, t := range c {
			if r.nodes[t].in {
				r.step(t)
			}
		}
	}
	r.counts[CountInferred] = len(r.inferred)
}

// step: of what t directly follows all has been through here, but in a loop.
func (r *run) step(t int32) {
	var c clock
	for _, b := range r.before.of(t) {
		c = c.join(t, r.clocks[b])
	}
	r.clocks[t] = c
	r.infer(t)
	r.place(t)
	r.noteSeen(t)
}

// countChains finds out how long each session needs its chain.
func (r *run) countChains() {
	r.session = make([]int32, len(r.sessions))
	r.left = make([]int32, len(r.sessions))
	for i := range r.session {
		r.session[i] = -1
	}
	for i := range r.nodes {
		if r.chain[i] = -1; r.inSessionChain(int32(i)) {
			r.left[r.nodes[i].session]++
		}
	}
}

// needsChain: of a transaction that nothing follows, or that writes nothing, nobody asks whether it was seen.
func (r *run) needsChain(n int32) bool { return r.followed[n] && len(r.nodes[n].writes) > 0 }

func (r *run) inSessionChain(n int32) bool {
	return r.needsChain(n) && r.nodes[n].session >= 0 && r.binds(n) && r.bound(n)
}

// place puts t into a chain and its writes into the registers' lists.
func (r *run) place(t int32) {
	if !r.needsChain(t) {
		return
	}
	c := int32(-1)
	inSession := r.inSessionChain(t)
	if inSession {
		c = r.session[r.nodes[t].session]
	}
	if c < 0 || r.clocks[t].get(c) != r.length[c] {
		c = r.takeChain(t)
	}
	r.length[c]++
	r.chain[t], r.pos[t] = c, r.length[c]
	r.clocks[t] = r.clocks[t].set(t, c, r.length[c])
	for _, reg := range r.nodes[t].writes {
		r.writers[reg].add(c, t)
	}
	r.keepChain(t, c, inSession)
}

// keepChain leaves the chain to the session, or to anybody.
func (r *run) keepChain(t, c int32, inSession bool) {
	if inSession {
		s := r.nodes[t].session
		r.session[s] = c
		if r.left[s]--; r.left[s] > 0 {
			return
		}
	}
	r.free = append(r.free, c)
}

// takeChain returns a free chain whose end t has seen, or a new one. Those that t can't go on with are
// tried again last.
func (r *run) takeChain(t int32) int32 {
	for range min(maxTried, len(r.free)) {
		c := r.free[0]
		r.free = r.free[1:]
		if r.clocks[t].get(c) == r.length[c] {
			return c
		}
		r.free = append(r.free, c)
	}
	r.length = append(r.length, 0)
	return int32(len(r.length) - 1)
}

func (w *writers) add(chain, n int32) {
	i := w.find(chain)
	if i < 0 {
		i = int32(len(w.chains))
		w.chains = append(w.chains, chain)
		w.nodes = append(w.nodes, nil)
		w.reindex()
	}
	w.nodes[i] = append(w.nodes[i], n)
}

func (w *writers) reindex() {
	switch n := len(w.chains); {
	case n > manyChains:
		w.index[w.chains[n-1]] = int32(n - 1)
		w.set = w.set.add(w.chains[n-1])
	case n == manyChains:
		w.index = map[int32]int32{}
		for i, c := range w.chains {
			w.index[c] = int32(i)
			w.set = w.set.add(c)
		}
	}
}

func (w *writers) find(chain int32) int32 {
	if w.index == nil {
		return int32(slices.Index(w.chains, chain))
	}
	if i, ok := w.index[chain]; ok {
		return i
	}
	return -1
}

// happenedBefore reports whether b has causally seen a, a transaction in a chain.
func (r *run) happenedBefore(a, b int32) bool {
	return a != b && r.chain[a] >= 0 && r.clocks[b].get(r.chain[a]) >= r.pos[a]
}

// infer looks at each read of t: every other write of the register that t has seen must come before the
// one that it read. The simplest witnesses go first, since they explain best.
func (r *run) infer(t int32) {
	reads := r.nodes[t].reads
	if len(reads) == 0 {
		return
	}
	bad := make([]bool, len(reads))
	r.inferDirect(t, bad)
	for i, rd := range reads {
		if !bad[i] {
			r.inferSeen(t, rd)
		}
	}
}

// inferDirect: whoever reads from a transaction, or follows it in a session, has seen all that it wrote.
func (r *run) inferDirect(t int32, bad []bool) {
	reads := r.nodes[t].reads
	for _, by := range r.before.of(t) {
		w := &r.nodes[by]
		if len(w.writes) < len(reads) {
			for _, reg := range w.writes {
				if i, ok := r.nodes[t].readOf(reg); ok && !bad[i] {
					bad[i] = r.try(t, reads[i], by)
				}
			}
			continue
		}
		for i, rd := range reads {
			if !bad[i] && w.wrote(rd.register) {
				bad[i] = r.try(t, rd, by)
			}
		}
	}
}

// inferSeen tries, of each chain, the last transaction that wrote the register and that t has seen, unless
// it was seen by one that has settled where it belongs: the transaction that t read from, or an earlier
// reader or writer of the register that t follows. (What the earlier one had seen comes before what it
// read, and that is tried.)
func (r *run) inferSeen(t int32, rd read) {
	var space [1 + maxSightings]clock
	old := space[:0]
	if rd.from != initial {
		old = append(old, r.clocks[rd.from])
	}
	sightings := r.sightings(t, rd.register)
	for _, s := range sightings {
		if r.try(t, rd, s.writer) {
			return
		}
		old = append(old, r.clocks[s.at])
	}
	r.inferSince(t, rd, old)
}

// maxSightings of those that t follows are used: more of them hardly shorten what is left to try.
const maxSightings = 3

// sightings returns some of the register's sightings that t follows, likely late ones.
func (r *run) sightings(t, reg int32) []sighting {
	found := r.scratch[:0]
	for _, b := range r.before.of(t) {
		if len(found) == maxSightings-1 {
			break
		}
		if s, ok := r.sighted(b, reg); ok {
			found = append(found, s)
		}
	}
	l := &r.recent[reg]
	for i := 1; i <= min(l.n, len(l.ring)); i++ {
		if s := l.ring[(l.n-i)%len(l.ring)]; r.happenedBefore(s.at, t) {
			found = append(found, s)
			break
		}
	}
	r.scratch = found
	return found
}

// sighted returns the last sighting of a register in b's session up to b.
func (r *run) sighted(b, reg int32) (sighting, bool) {
	session := r.nodes[b].session
	if session < 0 {
		return sighting{}, false
	}
	s, ok := r.seen[sessionState{session, reg}]
	return s, ok && (s.at == b || r.sessionBefore(s.at, b))
}

func (r *run) inferSince(t int32, rd read, old []clock) {
	w := &r.writers[rd.register]
	found := false
	one := func(i int32) {
		if n := r.lastSeen(t, w.nodes[i]); n >= 0 && !found {
			found = r.try(t, rd, n)
		}
	}
	if w.index != nil {
		r.clocks[t].since(old, w.set, func(chain int32) { one(w.index[chain]) })
		return
	}
	for i, c := range w.chains {
		n := r.clocks[t].get(c)
		for _, o := range old {
			if o.get(c) >= n {
				n = 0
				break
			}
		}
		if n > 0 {
			one(int32(i))
		}
	}
}

// lastSeen returns the last transaction of one chain's list that t has seen; -1: none.
func (r *run) lastSeen(t int32, list []int32) int32 {
	seen := r.clocks[t].get(r.chain[list[0]])
	i, _ := slices.BinarySearchFunc(list, seen+1, func(n, pos int32) int { return int(r.pos[n] - pos) })
	if i == 0 {
		return -1
	}
	return list[i-1]
}

// try notes that w, which t has seen and which wrote the register of a read of t, comes before the
// transaction that t read from. It reports whether that can't be.
func (r *run) try(t int32, rd read, w int32) bool {
	if w == rd.from || w == t {
		return false
	}
	pair := [2]int32{w, rd.from}
	if _, ok := r.known[pair]; ok {
		return false
	}
	if rd.from == initial || r.happenedBefore(rd.from, w) {
		r.explainRead(t, rd, w)
		return true
	}
	if !r.happenedBefore(w, rd.from) {
		r.known[pair] = struct{}{}
		r.inferred = append(r.inferred, order{w, rd.from, t, rd.register})
	}
	return false
}

// noteSeen notes what has been seen of registers by t, and so by whoever follows it.
func (r *run) noteSeen(t int32) {
	if !r.bound(t) {
		return
	}
	for _, rd := range r.nodes[t].reads {
		if rd.from != initial {
			r.noteSighting(t, rd.register, rd.from)
		}
	}
	for _, reg := range r.nodes[t].writes {
		r.noteSighting(t, reg, t)
	}
}

func (r *run) noteSighting(t, reg, writer int32) {
	s := sighting{writer, t}
	if session := r.nodes[t].session; session >= 0 && r.binds(t) {
		r.seen[sessionState{session, reg}] = s
	}
	if r.chain[t] >= 0 {
		r.recent[reg].add(s)
	}
}
