package causal

// chains cover the transactions that write: each has seen all before it in its chain that anybody may still see. A
// chain belongs to a session while that lasts; then anybody who has seen its end may go on with it. That keeps
// clocks short, however many sessions come and go.
//
// Chains of sessions have pages of clocks of their own, for they go on for long. Those of single transactions (no
// session, level eventual, unknown outcome) are many and soon end: they fill page after page, and a page that is
// full and known to all is never touched again, so that all clocks share it.
type chains struct {
	all    []chain
	pages  int32
	pools  [2]pool
	held   []int32 // chain of each session; -1: it has none yet
	placed []int32 // how many of each session are in chains
	left   []int32 // how many transactions of each session its chain still waits for
}

type chain struct {
	kind    int
	length  int32
	members []int32 // without those at the end that nobody will see any more
}

// pool holds the chains of one kind that anybody may go on with, in the order in which they are tried.
type pool struct {
	free   []int32
	next   int32 // the number of the next new one, if the page has room
	oldest int32 // chains below are left alone
}

// The pools of chains.
const (
	ofSessions = iota
	ofSingles
)

const (
	maxTried = 16 // how many free chains a transaction tries before it begins one
	grown    = 4  // how many transactions a session has in chains before it begins one of a session's
	warm     = 4  // in how many pages, the last ones, single transactions go on with chains
)

// startChains finds out how long each session needs its chain.
func (r *run) startChains() {
	r.held = make([]int32, len(r.sessions))
	r.left = make([]int32, len(r.sessions))
	r.placed = make([]int32, len(r.sessions))
	for i := range r.held {
		r.held[i] = -1
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
	c := r.chainFor(t)
	to := &r.chains.all[c]
	to.length++
	to.members = append(to.members, t)
	r.chain[t], r.pos[t] = c, to.length
	r.clocks[t] = r.clocks[t].set(t, c, to.length)
	for _, reg := range r.nodes[t].writes {
		r.addWriter(reg, c, t)
	}
	if !r.inSessionChain(t) || r.hold(r.nodes[t].session, c) {
		r.leave(c)
	}
}

// hold notes the chain of a session and reports whether it needs it no longer.
func (r *run) hold(session, c int32) bool {
	if was := r.held[session]; was >= 0 && was != c {
		r.leave(was)
	}
	r.held[session] = c
	r.placed[session]++
	r.left[session]--
	return r.left[session] == 0
}

// leave leaves a chain to anybody.
func (r *run) leave(c int32) {
	p := &r.pools[r.chains.all[c].kind]
	p.free = append(p.free, c)
}

// chainFor chooses the chain of t. A session begins in one of single transactions: as long as it has hardly seen
// anything it can't go on with another session's.
func (r *run) chainFor(t int32) int32 {
	held, young := int32(-1), true
	if r.inSessionChain(t) {
		s := r.nodes[t].session
		held, young = r.held[s], r.placed[s] < grown
		if held >= 0 && !r.goesOn(t, held) {
			held = -1
		}
		if held >= 0 && r.chains.all[held].kind == ofSessions {
			return held
		}
		if c := r.takeChain(t, ofSessions); c >= 0 {
			return c
		}
		if !young {
			return r.newChain(ofSessions)
		}
	}
	if held >= 0 {
		return held
	}
	if c := r.takeChain(t, ofSingles); c >= 0 {
		return c
	}
	return r.newChain(ofSingles)
}

// goesOn reports whether t has seen all of a chain that anybody may still see.
func (r *run) goesOn(t, c int32) bool {
	members := r.chains.all[c].members
	for len(members) > 0 && r.gone(members[len(members)-1]) {
		members = members[:len(members)-1]
	}
	r.chains.all[c].members = members
	return len(members) == 0 || r.clocks[t].get(c) >= r.pos[members[len(members)-1]]
}

// takeChain returns a free chain that t can go on with; -1: it found none. Those that t can't go on with are tried again
// last.
func (r *run) takeChain(t int32, kind int) int32 {
	p := &r.pools[kind]
	for range min(maxTried, len(p.free)) {
		c := p.free[0]
		p.free = p.free[1:]
		if c < p.oldest {
			continue
		}
		if r.goesOn(t, c) {
			return c
		}
		p.free = append(p.free, c)
	}
	return -1
}

func (r *run) newChain(kind int) int32 {
	p := &r.pools[kind]
	if p.next&(1<<pageBits-1) == 0 {
		p.next = r.pages << pageBits
		r.pages++
		if kind == ofSingles {
			p.oldest = p.next - (warm-1)<<pageBits
		}
		for range 1 << pageBits {
			r.chains.all = append(r.chains.all, chain{kind: kind})
		}
	}
	p.next++
	return p.next - 1
}
