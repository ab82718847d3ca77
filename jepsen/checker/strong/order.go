package strong

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// order finds out which writes of each register came after which others.
func (x *index) order(l Level) {
	for _, r := range x.registers {
		if r.left != "" {
			continue
		}
		x.orderTraceable(r)
		if l >= Causal {
			x.orderInSessions(r)
		}
		if l == StrictSerializable {
			x.orderInTime(r)
		}
		r.compact()
		x.orderFirst(r)
	}
}

// follow notes that version b came after a. Versions that may never have been, or that others
// replaced in the same transaction, have no place in the order.
func (x *index) follow(r *register, a, b int32, why reason, by int32) {
	if a == b || a <= 0 || !x.there(&r.versions[b]) || r.versions[a].writer == r.versions[b].writer {
		return
	}
	r.versions[a].next = append(r.versions[a].next, follower{b, why, by})
}

// orderTraceable: who reads a value and writes another writes it after that.
func (x *index) orderTraceable(r *register) {
	for _, t := range r.touches {
		if t.read != none && t.write != none {
			x.follow(r, t.read, t.write, traceable, t.txn)
		}
	}
}

// orderInSessions: what a session writes comes after what it has seen.
func (x *index) orderInSessions(r *register) {
	byStart := x.byStart(r, func(t touch) bool { return x.txns[t.txn].Session != 0 })
	last := map[int]touch{}
	for _, t := range byStart {
		s := x.txns[t.txn].Session
		if before, ok := last[s]; ok && t.write != none {
			x.follow(r, before.seen(), t.write, inSession, before.txn)
		}
		if x.txns[t.txn].Outcome == history.OK && t.seen() != none {
			last[s] = t
		}
	}
}

// seen is the version that the register held after the transaction, as far as it knows.
func (t touch) seen() int32 {
	if t.write != none {
		return t.write
	}
	return t.read
}

// byStart returns the touches that are wanted in the order of their transactions' starts.
func (x *index) byStart(r *register, want func(touch) bool) []touch {
	var out []touch
	for _, t := range r.touches {
		if want(t) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b touch) int { return cmp.Compare(x.txns[a.txn].Start, x.txns[b.txn].Start) })
	return out
}

// orderInTime: what somebody had seen before a transaction began comes before what that one wrote. A
// version begins with its writer, and is there once the first transaction that has seen it ends.
func (x *index) orderInTime(r *register) {
	first := make([]int32, len(r.versions)) // transaction that ended first of those that saw it
	for i := range first {
		first[i] = none
	}
	for _, t := range r.touches {
		if v := t.seen(); v > 0 && (first[v] == none || x.span(t.txn).end < x.span(first[v]).end) {
			first[v] = t.txn
		}
	}
	var spans []span
	var versions []int32
	for v, by := range first {
		if w := &r.versions[v]; by != none && x.there(w) {
			start := x.txns[w.writer].Start
			spans = append(spans, span{start, max(start, x.span(by).end)})
			versions = append(versions, int32(v))
		}
	}
	sweep(spans, func(a, b int) { x.follow(r, versions[a], versions[b], inRealTime, first[versions[a]]) })
}

// compact leaves one reason for each follower, the strongest, in a fixed order.
func (r *register) compact() {
	for i := range r.versions {
		next := r.versions[i].next
		slices.SortFunc(next, func(a, b follower) int {
			return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.why, b.why), cmp.Compare(a.by, b.by))
		})
		r.versions[i].next = slices.CompactFunc(next, func(a, b follower) bool { return a.to == b.to })
	}
}

// orderFirst: nothing comes before every write. Those that have another before them follow from it.
func (x *index) orderFirst(r *register) {
	later := make([]bool, len(r.versions))
	for i := range r.versions {
		for _, f := range r.versions[i].next {
			later[f.to] = true
		}
	}
	for v := range r.versions {
		if v > 0 && x.there(&r.versions[v]) && !later[v] {
			r.versions[0].next = append(r.versions[0].next, follower{int32(v), initial, none})
		}
	}
}

// lostUpdates tells values that several transactions read and replaced.
func (x *index) lostUpdates() {
	for _, r := range x.registers {
		if r.left != "" {
			continue
		}
		by := make([][]int32, len(r.versions))
		for _, t := range r.touches {
			if t.read != none && t.write != none {
				by[t.read] = append(by[t.read], t.txn)
			}
		}
		for v, txns := range by {
			if len(txns) > 1 {
				x.tellLost(r, &r.versions[v], txns)
			}
		}
	}
}

func (x *index) tellLost(r *register, v *version, txns []int32) {
	a, b := &x.txns[txns[0]], &x.txns[txns[1]]
	more := ""
	if len(txns) > 2 {
		more = fmt.Sprintf(", and so did %d more", len(txns)-2)
	}
	x.anomalies = append(x.anomalies, checker.Anomaly{Name: lostUpdate, Txns: []int{a.ID, b.ID},
		Text: fmt.Sprintf("%s; %s: both read %s of %s and replaced it, so that one did not see the other's write%s",
			checker.Describe(a), checker.Describe(b), v.text, r.name, more)})
}
