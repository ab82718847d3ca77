package causal

import "slices"

// causes holds, for each transaction, what it has causally seen, and what follows for the order of the
// writes.
type causes struct {
	walk   // in which order they are looked at
	clocks []clock
	chain  []int32 // of a transaction that writes and is followed; -1: of none
	pos    []int32 // its place in the chain, from 1
	chains
	writers
	seen     []map[int32]sighting // by session and register: the last of a transaction that binds
	recent   []recent             // of each register
	inferred []order
	known    map[[2]int32]struct{}
	scratch  []sighting
	loops    [][]int32 // components of more than one transaction in what happened before what
}

// sighting is a transaction whose write of a register another one, or itself, has read or made. That one has seen all
// writers of numbers below settled.
type sighting struct{ writer, at, settled int32 }

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
	r.recent = make([]recent, len(r.sample))
	r.known = map[[2]int32]struct{}{}
	r.seen = make([]map[int32]sighting, len(r.sessions))
	for i := range r.seen {
		r.seen[i] = map[int32]sighting{}
	}
	components := components(&r.before)
	r.startWalk(components)
	r.startChains()
	r.startWriters()
	for _, c := range components {
		if len(c) > 1 {
			r.loops = append(r.loops, c)
		}
		for _, t := range c {
			if r.now = r.at[t]; r.nodes[t].in {
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
	settled := r.infer(t)
	r.place(t)
	r.noteSeen(t, settled)
}

// happenedBefore reports whether b, to which the walk has come, has causally seen a, a transaction in a chain.
func (r *run) happenedBefore(a, b int32) bool {
	return a != b && r.chain[a] >= 0 && !r.gone(a) && r.clocks[b].get(r.chain[a]) >= r.pos[a]
}

// infer looks at each read of t: every other write of the register that t has seen must come before the
// one that it read. The simplest witnesses go first, since they explain best. It returns below which numbers t has
// seen all writers of what it read.
func (r *run) infer(t int32) []int32 {
	reads := r.nodes[t].reads
	if len(reads) == 0 {
		return nil
	}
	bad := make([]bool, len(reads))
	settled := make([]int32, len(reads))
	r.inferDirect(t, bad)
	for i, rd := range reads {
		if !bad[i] {
			settled[i] = r.inferSeen(t, rd)
		}
	}
	return settled
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
// read, and that is tried.) It returns below which number t has seen all writers.
func (r *run) inferSeen(t int32, rd read) int32 {
	var space [1 + maxSightings]clock
	old := space[:0]
	from := int32(0)
	if rd.from != initial {
		old = append(old, r.clocks[rd.from])
		from = r.settledBy(rd.from, rd.register)
	}
	for _, s := range r.sightings(t, rd.register) {
		if r.try(t, rd, s.writer) {
			return from
		}
		old = append(old, r.clocks[s.at])
		from = max(from, s.settled)
	}
	return r.unsettled(t, rd.register, from, func(w int32) bool {
		return !r.seenBy(old, w) && r.try(t, rd, w)
	})
}

// seenBy reports whether w is in any of the clocks.
func (r *run) seenBy(clocks []clock, w int32) bool {
	for _, c := range clocks {
		if c.get(r.chain[w]) >= r.pos[w] {
			return true
		}
	}
	return false
}

// settledBy returns below which number the writer of a register had seen all.
func (r *run) settledBy(n, reg int32) int32 {
	i, _ := slices.BinarySearch(r.nodes[n].writes, reg)
	return r.settled(n)[i]
}

// maxSightings of those that t follows are used: more of them hardly shorten what is left to try.
const maxSightings = 2

// sightings returns some of the register's sightings that t follows: the last of its session, and of the recent ones
// that which had seen most.
func (r *run) sightings(t, reg int32) []sighting {
	found := r.scratch[:0]
	if session := r.nodes[t].session; session >= 0 {
		if s, ok := r.seen[session][reg]; ok && r.sessionBefore(s.at, t) {
			found = append(found, s)
		}
	}
	l := &r.recent[reg]
	best := sighting{settled: -1}
	for i := 1; i <= min(l.n, len(l.ring)); i++ {
		if s := l.ring[(l.n-i)%len(l.ring)]; s.settled > best.settled && r.happenedBefore(s.at, t) {
			best = s
		}
	}
	if best.settled >= 0 {
		found = append(found, best)
	}
	r.scratch = found
	return found
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

// noteSeen notes what has been seen of registers by t, and so by whoever follows it; settled is what infer returned.
func (r *run) noteSeen(t int32, settled []int32) {
	if !r.bound(t) {
		return
	}
	v, own := &r.nodes[t], r.settled(t)
	for i, reg := range v.writes {
		own[i] = r.settledBefore(t, reg, settled)
	}
	for i, rd := range v.reads {
		if rd.from != initial {
			r.noteSighting(rd.register, sighting{rd.from, t, settled[i]})
		}
	}
	for i, reg := range v.writes {
		r.noteSighting(reg, sighting{t, t, own[i]})
	}
}

// settledBefore returns below which number t, which writes a register, has seen all writers of it, as far as its reads
// or the sightings say: nothing is looked up for it.
func (r *run) settledBefore(t, reg int32, reads []int32) int32 {
	if i, ok := r.nodes[t].readOf(reg); ok {
		return reads[i]
	}
	from := int32(0)
	for _, s := range r.sightings(t, reg) {
		from = max(from, s.settled)
	}
	return from
}

func (r *run) noteSighting(reg int32, s sighting) {
	if session := r.nodes[s.at].session; session >= 0 && r.binds(s.at) {
		r.seen[session][reg] = s
	}
	if r.chain[s.at] >= 0 {
		r.recent[reg].add(s)
	}
}
