package causal

// walk is the order in which the checker looks at transactions: each after all that it follows. When it has passed
// all that have seen a transaction, nobody will ask for that one any more, and others may take its place.
type walk struct {
	at   []int32 // when it comes to a transaction
	last []int32 // when it comes to the last that has seen a transaction, or is it
	now  int32
}

// startWalk finds the lifetimes. The walk takes the components of what happened before what in their order; the members of
// one have seen each other.
func (r *run) startWalk(components [][]int32) {
	r.at, r.last = make([]int32, len(r.nodes)), make([]int32, len(r.nodes))
	at := int32(len(r.nodes))
	for i := len(components) - 1; i >= 0; i-- {
		members := components[i]
		last := at - 1
		for j := len(members) - 1; j >= 0; j-- {
			at--
			r.at[members[j]] = at
			last = max(last, r.last[members[j]])
		}
		for _, t := range members {
			r.last[t] = last
			for _, b := range r.before.of(t) {
				r.last[b] = max(r.last[b], last)
			}
		}
	}
}

// gone reports whether the walk has passed all that see n.
func (r *run) gone(n int32) bool { return r.last[n] < r.now }
