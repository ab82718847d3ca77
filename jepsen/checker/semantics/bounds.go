package semantics

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// attempts is what was tried on a leaf or node, by anybody whose transaction did not certainly fail. Nothing
// in it comes from stamps or snapshots.
type attempts struct {
	overridden bool             // a reset was tried, or of a leaf a removal
	first      map[string]first // by value: who tried first to put it there
	acked      *attempt         // of what was put there and answered, what was answered first
	adds       []attempt        // to a counter, by start
	started    []sum            // of adds
	done       []attempt        // acknowledged adds, by end
	ended      []sum            // of done
}

type first struct {
	start int64
	who   int
}

// attempt is one transaction's.
type attempt struct {
	start, end int64
	n          int64
	who        int
}

// sum of increments, by sign, with their number.
type sum struct {
	plus, minus int64
	n           int
}

func (s sum) with(n int64) sum {
	s.n++
	if n > 0 {
		s.plus += n
	} else {
		s.minus += n
	}
	return s
}

// debt is what a session is owed of a leaf.
type debt struct {
	session int
	at      *leaf
}

// attempt notes what a write overrides.
func (r *run) attempt(o *history.Op) {
	switch n := r.node(o); {
	case o.Do == history.Reset:
		n.attempts.overridden = true
	case o.Do == history.Remove:
		r.member(n, o.Element).tries.overridden = true
	case o.Do == history.Disable:
		n.leaf.tries.overridden = true
	}
}

// note notes what a transaction puts into a leaf.
func (a *attempts) note(r *run, i int, e *effect) {
	t := &r.h.Txns[i]
	x := attempt{t.Start, r.end(i), e.n, i}
	if r.txns[i].acked && (a.acked == nil || x.end < a.acked.end) {
		a.acked = &x
	}
	if e.leaf.kind == "counter" {
		a.adds = append(a.adds, x)
		if r.txns[i].acked {
			a.done = append(a.done, x)
		}
		return
	}
	if a.first == nil {
		a.first = map[string]first{}
	}
	if f, known := a.first[e.text]; !known || t.Start < f.start {
		a.first[e.text] = first{t.Start, i}
	}
}

func (a *attempts) sort() {
	slices.SortStableFunc(a.adds, func(x, y attempt) int { return cmp.Compare(x.start, y.start) })
	slices.SortStableFunc(a.done, func(x, y attempt) int { return cmp.Compare(x.end, y.end) })
	a.started, a.ended = sums(a.adds), sums(a.done)
}

func sums(list []attempt) []sum {
	out := make([]sum, 0, len(list))
	var s sum
	for _, x := range list {
		s = s.with(x.n)
		out = append(out, s)
	}
	return out
}

// startedBy is what was tried at or before a time.
func (a *attempts) startedBy(at int64) sum {
	n, _ := slices.BinarySearchFunc(a.adds, at, func(x attempt, at int64) int {
		if x.start <= at {
			return -1
		}
		return 1
	})
	if n == 0 {
		return sum{}
	}
	return a.started[n-1]
}

// endedBy is what was acknowledged before a time.
func (a *attempts) endedBy(at int64) sum {
	n, _ := slices.BinarySearchFunc(a.done, at, func(x attempt, at int64) int {
		if x.end < at {
			return -1
		}
		return 1
	})
	if n == 0 {
		return sum{}
	}
	return a.ended[n-1]
}

// overridable reports whether anybody tried to take away what is in a leaf.
func (l *leaf) overridable() bool {
	if l.tries.overridden {
		return true
	}
	for n := l.on; n != nil; n = n.parent {
		if n.attempts.overridden {
			return true
		}
	}
	return false
}

// settle notes what a session is owed from now on.
func (r *run) settle(i int, w *overlay) {
	t := &r.h.Txns[i]
	if t.Session == 0 || !r.txns[i].acked {
		return
	}
	for k := range w.effects {
		if e := &w.effects[k]; e.live && e.class == positive {
			d := debt{t.Session, e.leaf}
			r.owed[d] = r.owed[d].with(e.n)
		}
	}
}

// must is what a read has to see: its session's acknowledged writes, and of a final read everybody's
// that were acknowledged before it began.
func (r *run) must(d *read) sum {
	t := &r.h.Txns[d.txn]
	if d.at.kind == "counter" && t.Final {
		return d.at.tries.endedBy(t.Start)
	}
	if a := d.at.tries.acked; t.Final && a != nil && a.end < t.Start {
		return sum{n: 1}
	}
	if t.Session != 0 && t.Level != eventual {
		return r.owed[debt{t.Session, d.at}]
	}
	return sum{}
}

// checkBounds judges a value by values and times alone (invariants 8 to 10).
func (r *run) checkBounds(d *read) {
	if d.all {
		return
	}
	r.counts["bounds"]++
	switch d.at.kind {
	case "counter":
		r.boundCounter(d)
	case "register-lww":
		if d.want.absent {
			r.boundMissing(d)
		} else {
			r.boundValue(d, d.want.text)
		}
	case "register-mv":
		for _, v := range d.want.list {
			r.boundValue(d, v)
		}
		if len(d.want.list) == 0 {
			r.boundMissing(d)
		}
	default:
		if d.want.flag {
			r.boundValue(d, "")
		} else {
			r.boundMissing(d)
		}
	}
}

// boundCounter: acknowledged before <= read <= attempted, each by the sign of the increments.
func (r *run) boundCounter(d *read) {
	must, all := r.must(d), d.at.tries.startedBy(r.end(d.txn))
	if own := r.ownNet(d); own > 0 {
		all.plus -= own
	} else {
		all.minus -= own
	}
	var mine int64
	if d.mine {
		mine = d.own.n
	}
	low, high := mine+must.plus+all.minus, mine+must.minus+all.plus
	if d.at.overridable() { // any of them may have been taken away
		must = sum{}
		low, high = min(mine, 0)+all.minus, max(mine, 0)+all.plus
	}
	if d.want.n >= low && d.want.n <= high {
		return
	}
	told := r.describe(d.txn) + fmt.Sprintf(": it found %s = %d", d.at.place(), d.want.n)
	if d.want.n > high {
		name := "doubled increment"
		if all.plus == 0 && must.minus < 0 {
			name = "lost decrement"
		}
		r.tellRead(d.spot, name, fmt.Sprintf("%s, but what it has to see, with all increments that were tried before it ended, comes to %d", told, high))
		return
	}
	name := "lost increment"
	if must.plus == 0 && mine <= 0 {
		name = "doubled decrement"
	}
	own := ""
	if mine != 0 {
		own = fmt.Sprintf(", its own %+d", mine)
	}
	r.tellRead(d.spot, name, fmt.Sprintf("%s, but what it has to see, %d that were %s%s, with all decrements that were tried before it ended, comes to %d",
		told, must.n, r.why(d), own, low))
}

// ownNet is what the read's own transaction adds in all, as startedBy counts it.
func (r *run) ownNet(d *read) int64 {
	list := d.at.tries.adds
	start := r.h.Txns[d.txn].Start
	i, _ := slices.BinarySearchFunc(list, start, func(x attempt, at int64) int { return cmp.Compare(x.start, at) })
	for ; i < len(list) && list[i].start == start; i++ {
		if list[i].who == d.txn {
			return list[i].n
		}
	}
	return 0
}

func (r *run) why(d *read) string {
	if r.h.Txns[d.txn].Final {
		return "acknowledged before this final read began"
	}
	return "acknowledged to its session before"
}

// boundValue: what was read, somebody had tried to write before the read ended.
func (r *run) boundValue(d *read, v string) {
	if d.mine && d.own.live && d.own.text == v {
		return
	}
	f, known := d.at.tries.first[v]
	switch {
	case !known || f.who == d.txn && !r.others(d, v):
		r.tellRead(d.spot, "phantom value", r.foundText(d, v)+", which nobody had tried to put there")
	case f.start > r.end(d.txn):
		r.tellRead(d.spot, "phantom value", r.foundText(d, v)+fmt.Sprintf(" and ended at %d; the first to put that there is %s, which began at %d",
			r.end(d.txn), r.describe(f.who), f.start), f.who)
	}
}

// foundText begins the text of a value that should not have been found.
func (r *run) foundText(d *read, v string) string {
	text := r.describe(d.txn) + ": it found "
	switch {
	case isSet(d.at.on.kind):
		return text + fmt.Sprintf("%q in %s", d.at.element, place(d.at.on))
	case d.at.kind == "flag-ew" || d.at.kind == "flag-dw":
		return text + d.at.place() + " enabled"
	}
	return text + fmt.Sprintf("%q in %s", v, d.at.place())
}

// others reports whether anybody else tried to put a value into a leaf.
func (r *run) others(d *read, v string) bool {
	for _, list := range d.at.items[positive].of {
		for _, x := range list {
			if x.who != d.txn && x.text == v {
				return true
			}
		}
	}
	for _, e := range d.at.unsure {
		if e.pending.who != d.txn && e.live && e.class == positive && e.text == v {
			return true
		}
	}
	return false
}

// took reports whether the transaction itself had taken away what was there, and left nothing: it sees that
// also where its commit fails.
func (d *read) took() bool {
	return d.mine && d.own.covers[positive] && !(d.own.live && d.own.class == positive)
}

// boundMissing: what was acknowledged and nobody tried to take away must be there.
func (r *run) boundMissing(d *read) {
	if d.at.overridable() || d.took() || r.must(d).n == 0 {
		return
	}
	name, lost := "lost write", d.at.place()+" without a value"
	if isSet(d.at.on.kind) {
		name, lost = "lost element", fmt.Sprintf("%q not in %s", d.at.element, place(d.at.on))
	}
	by := ""
	var others []int
	if a := d.at.tries.acked; a != nil && a.end < math.MaxInt64 && a.who != d.txn {
		by, others = "; the first to put something there was "+r.describe(a.who), []int{a.who}
	}
	r.tellRead(d.spot, name, r.describe(d.txn)+": it found "+lost+", though a write there was "+r.why(d)+
		", and nobody tried to remove anything there"+by, others...)
}
