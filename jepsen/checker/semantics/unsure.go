package semantics

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// rounds bounds how often what one read shows of a pending transaction is carried to the others.
const rounds = 4

// solve judges the reads that transactions of unknown outcome may explain. What a read proves of one,
// that it is visible or that it is not, holds for all reads of all leaves; so it goes round until
// nothing more follows.
func (r *run) solve() {
	for _, l := range r.leaves {
		slices.SortStableFunc(l.reads, func(a, b read) int { return slices.Compare(a.snap, b.snap) })
	}
	for changed, n := true, 0; changed && n < rounds; n++ {
		changed = false
		for _, l := range r.leaves {
			if len(l.reads) > 0 {
				changed = r.solveLeaf(l) || changed
			}
		}
	}
	for _, l := range r.leaves {
		if len(l.reads) > 0 && l.kind == "counter" {
			r.solvePairs(l)
		}
	}
}

// solveLeaf looks at each read of a leaf once, with snapshots in an order that extends that of their
// inclusion. It reports whether a threshold moved.
func (r *run) solveLeaf(l *leaf) (changed bool) {
	s := newSolver(r, l)
	for i := range l.reads {
		if d := &l.reads[i]; !r.told[d.spot] {
			changed = s.judge(d) || changed
		}
	}
	return changed
}

// solver judges reads of one leaf beside pending transactions.
type solver struct {
	*run
	l         *leaf
	effects   []*effect // of pending transactions on the leaf; increments by size, the largest first
	overrides []*effect // those that override, resets of what the leaf is in among them
	byText    map[string][]*effect
	free      []*effect // room for addends
	sizes     []int64   // room for reachable
	steps     int
	gone      bool // the budget is used up
}

func newSolver(r *run, l *leaf) *solver {
	s := &solver{run: r, l: l, effects: slices.Clone(l.unsure), byText: map[string][]*effect{}}
	slices.SortStableFunc(s.effects, func(a, b *effect) int { return cmp.Compare(max(b.n, -b.n), max(a.n, -a.n)) })
	for _, e := range l.unsure {
		if e.covers[positive] || e.covers[disables] {
			s.overrides = append(s.overrides, e)
		}
		if e.live && e.class == positive {
			s.byText[e.text] = append(s.byText[e.text], e)
		}
	}
	for n := l.on; n != nil; n = n.parent {
		s.overrides = append(s.overrides, n.unsure...)
	}
	return s
}

// spend counts steps against the budget, and notes once that it is used up.
func (s *solver) spend(n int) bool {
	s.steps += n
	if s.steps <= s.budget {
		return true
	}
	if !s.gone {
		s.gone = true
		if p := s.l.place(); !slices.Contains(s.gaveUp, p) {
			s.gaveUp = append(s.gaveUp, p)
		}
	}
	return false
}

func (s *solver) judge(d *read) (changed bool) {
	if !s.spend(len(s.effects) + len(s.overrides)) {
		return false
	}
	c := s.cutOf(d)
	switch s.l.kind {
	case "counter":
		return s.judgeCounter(d, c)
	case "register-lww":
		return s.judgeLast(d, c)
	case "register-mv":
		return s.judgeValues(d, c)
	}
	return s.judgeFlag(d, c)
}

// mayCover reports whether a pending override that the read may see can cover an effect with a stamp of
// at least time. Of one whose snapshot is not known that is all that was begun before it took effect.
func (s *solver) mayCover(d *read, class, origin int, time uint64, who int, among []*effect) bool {
	for _, e := range among {
		p := e.pending
		if !e.covers[class] || p.who == who || !s.may(p, d) {
			continue
		}
		if p.exact && p.least[origin] >= time {
			return true
		}
		if !p.exact && p.hi > time && s.effectEnd(p.who) >= s.h.Txns[who].Start {
			return true
		}
	}
	return false
}

// open reports whether a pending effect may be there for a read, and whether it surely is, as far as
// certain overrides go.
func (s *solver) open(e *effect, d *read, c cut) (surely, perhaps bool) {
	p := e.pending
	surely, _ = p.seenBy(d.snap)
	low := c[e.class][p.origin]
	return surely && p.lo >= low && p.who != d.txn, s.may(p, d) && p.hi > low
}

// surely reports whether something of a class is there whatever pending transactions did.
func (s *solver) surely(d *read, c cut, class int) bool {
	list := &s.l.items[class]
	for o := range list.of {
		if i, j := list.between(o, c[class][o], d.snap[o]); i < j {
			if x := list.of[o][j-1]; !s.mayCover(d, class, o, x.time, x.who, s.overrides) {
				return true
			}
		}
	}
	for _, e := range s.effects {
		if surely, _ := s.open(e, d, c); surely && e.live && e.class == class &&
			!s.mayCover(d, class, e.pending.origin, e.pending.lo+1, e.pending.who, s.overrides) {
			return true
		}
	}
	return false
}

// candidates are the pending effects that may be there for a read.
func (s *solver) candidates(d *read, c cut, list []*effect, class int) (out []*effect) {
	for _, e := range list {
		if _, perhaps := s.open(e, d, c); perhaps && e.live && e.class == class {
			out = append(out, e)
		}
	}
	return out
}

// only narrows a pending transaction's threshold, if nothing else explains a read.
func only(list []*effect, d *read) bool {
	return len(list) == 1 && list[0].pending.visible(d)
}

func (s *solver) judgeFlag(d *read, c cut) (changed bool) {
	enables, certain := s.candidates(d, c, s.effects, positive), s.any(d, c, positive)
	if d.want.flag {
		switch {
		case !certain && len(enables) == 0, s.l.kind == "flag-dw" && s.surely(d, c, disables):
			s.wrongFlag(d, c)
			return false
		case !certain:
			return only(enables, d)
		}
		return false
	}
	disabled := s.l.kind == "flag-dw" && (s.any(d, c, disables) || len(s.candidates(d, c, s.effects, disables)) > 0)
	if disabled {
		return false
	}
	if s.surely(d, c, positive) {
		s.wrongFlag(d, c)
		return false
	}
	for _, e := range enables {
		if e.pending.lo >= c[positive][e.pending.origin] &&
			!s.mayCover(d, positive, e.pending.origin, e.pending.lo+1, e.pending.who, s.overrides) {
			changed = e.pending.invisible(d.snap) || changed
		}
	}
	return changed
}

// judgeLast: the value is that of the last certain write, or of a pending one that may be later.
func (s *solver) judgeLast(d *read, c cut) (changed bool) {
	o, group := s.top(d, c)
	fixed := len(group) > 0 && !s.mayCover(d, positive, o, group[0].time, group[0].who, s.overrides)
	var least uint64
	var allowed []string
	for _, x := range group {
		allowed = append(allowed, x.text)
	}
	if fixed {
		least = group[0].time
	}
	least = max(least, s.newest(d, c))
	pending := s.later(d, c, least)
	top := len(group) > 0 && group[0].time >= least && slices.Contains(allowed, d.want.text)
	switch {
	case d.want.absent && least > 0:
		s.wrongLast(d, c, allowed)
	case d.want.absent, top:
	case !fixed && s.among(d, c, d.want.text, least):
	case len(pending) == 0:
		s.wrongLast(d, c, allowed)
	default:
		return only(pending, d)
	}
	return false
}

// newest is the stamp below which no write can be the last: a pending one that is surely there is above it.
func (s *solver) newest(d *read, c cut) (least uint64) {
	for _, e := range s.effects {
		p := e.pending
		if p.hi == never || p.lo < least {
			continue
		}
		if surely, _ := s.open(e, d, c); surely && e.live && !s.mayCover(d, positive, p.origin, p.lo+1, p.who, s.overrides) {
			least = p.lo + 1
		}
	}
	return least
}

// later are the pending writes of the value that was read that may be the last.
func (s *solver) later(d *read, c cut, least uint64) (out []*effect) {
	for _, e := range s.candidates(d, c, s.byText[d.want.text], positive) {
		if min(e.pending.hi, d.snap[e.pending.origin]) >= least {
			out = append(out, e)
		}
	}
	return out
}

// among reports whether a certain write of a value is there, at or above a stamp.
func (s *solver) among(d *read, c cut, text string, least uint64) bool {
	list := &s.l.items[positive]
	for o := range list.of {
		i, j := list.between(o, c[positive][o], d.snap[o])
		for _, x := range list.of[o][i:j] {
			if x.text == text && x.time >= least {
				return true
			}
		}
	}
	return false
}

// judgeValues: every value found must be there certainly or perhaps; and what is there certainly and was
// not found must be covered by a pending write whose value was found, or by a reset. (What covers it may
// itself be covered; but coverage is transitive, snapshots being closed, and ends at a value that is there.)
func (s *solver) judgeValues(d *read, c cut) (changed bool) {
	var found []*effect
	for _, v := range d.want.list {
		pending := s.candidates(d, c, s.byText[v], positive)
		found = append(found, pending...)
		if s.among(d, c, v, 0) {
			continue
		}
		if len(pending) == 0 {
			s.wrongValues(d, c, s.values(d, c))
			return false
		}
		changed = only(pending, d) || changed
	}
	for n := s.l.on; n != nil; n = n.parent {
		found = append(found, n.unsure...)
	}
	list := &s.l.items[positive]
	for o := range list.of {
		i, j := list.between(o, c[positive][o], d.snap[o])
		for _, x := range list.of[o][i:j] {
			if !slices.Contains(d.want.list, x.text) && !s.mayCover(d, positive, o, x.time, x.who, found) {
				s.wrongValues(d, c, s.values(d, c))
				return false
			}
		}
	}
	return changed
}

// addends are the pending increments that a read may count, with what it must have of them.
type addends struct {
	free        []*effect
	rest        int64 // what they have to come to
	plus, minus int64 // what they come to at most, and at least
	loose       bool  // a pending reset may have taken away anything
}

func (s *solver) addends(d *read, c cut) (a addends) {
	for _, e := range s.overrides {
		a.loose = a.loose || s.may(e.pending, d)
	}
	sum, _ := s.counter(d, c)
	a.rest, a.free = d.want.n-sum, s.free[:0]
	for _, e := range s.effects {
		switch surely, perhaps := s.open(e, d, c); {
		case surely && e.live:
			a.rest -= e.n
		case perhaps && e.live:
			a.free = append(a.free, e)
			if e.n > 0 {
				a.plus += e.n
			} else {
				a.minus += e.n
			}
		}
	}
	s.free = a.free
	return a
}

func (s *solver) judgeCounter(d *read, c cut) (changed bool) {
	a := s.addends(d, c)
	switch {
	case a.loose:
		s.onlyBounds(d)
		return false
	case a.rest < a.minus || a.rest > a.plus || !s.reachable(d, &a):
		s.wrongSum(d, c, &a)
		return false
	}
	reset := !allZero(c[positive])
	for _, e := range a.free {
		switch {
		case e.n > 0 && a.rest-e.n < a.minus, e.n < 0 && a.rest-e.n > a.plus:
			// With it the others can't make up for the rest. (Beside a reset it may be visible and covered.)
			changed = !reset && e.pending.invisible(d.snap) || changed
		case e.n > 0 && a.rest > a.plus-e.n, e.n < 0 && a.rest < a.minus-e.n:
			changed = e.pending.visible(d) || changed
		}
	}
	return changed
}

func allZero(v vec) bool { return !slices.ContainsFunc(v, func(t uint64) bool { return t != 0 }) }

// reachable reports whether some of the free increments come to the rest: subset sum, by taking the
// largest that fit first, else by all sums within the bounds.
func (s *solver) reachable(d *read, a *addends) bool {
	if a.rest == 0 {
		return true
	}
	rest := a.rest - a.minus // leaving out a negative one is like choosing a positive one
	sizes := s.sizes[:0]
	for _, e := range a.free {
		if e.n != 0 {
			sizes = append(sizes, max(e.n, -e.n))
		}
	}
	s.sizes = sizes
	left := rest
	for _, n := range sizes {
		if n <= left {
			left -= n
		}
	}
	return left == 0 || s.reachableSum(d, sizes, rest)
}

// mostSums is how many different sums one search may hold, mostSearched how many all of a check may visit.
// Beyond them a counter is judged by what its pending increments come to at most and at least: of so many
// sums nearly every one in between can be reached, so that looking on would find next to nothing.
const (
	mostSums     = 1 << 14
	mostSearched = 1 << 24
)

// reachableSum is the exhaustive half. When it gives up it says that the sum can be reached.
func (s *solver) reachableSum(d *read, sizes []int64, rest int64) bool {
	sums := map[int64]bool{0: true}
	for _, n := range sizes {
		if !s.spend(len(sums)) {
			return true
		}
		if s.searched += len(sums); len(sums) > mostSums || s.searched > mostSearched {
			s.onlyBounds(d)
			return true
		}
		next := make([]int64, 0, len(sums))
		for have := range sums {
			if have <= rest-n {
				next = append(next, have+n)
			}
		}
		for _, have := range next {
			sums[have] = true
		}
		if sums[rest] {
			return true
		}
	}
	return false
}

// onlyBounds counts a read of which no more is judged than its bounds.
func (s *solver) onlyBounds(d *read) {
	if !d.bounded {
		d.bounded = true
		s.counts[CountBounds]++
	}
}

// wrongSum names a sum that no choice of pending increments explains.
func (s *solver) wrongSum(d *read, c cut, a *addends) {
	sum, _ := s.counter(d, c)
	text := fmt.Sprintf("%s and what that certainly includes comes to %d; the %d increments of unknown outcome that it may include (%+d to %+d together) do not make up for the rest",
		s.readText(d), d.want.n-a.rest, len(a.free), a.minus, a.plus)
	name := s.l.nameOf(max(a.rest-a.plus, 0) + min(a.rest-a.minus, 0))
	if x, ok := s.find(d, c, positive, present, func(x item) bool { return sum-d.want.n == x.n }); ok {
		s.tellRead(d.spot, name, fmt.Sprintf("%s: as if %+d of %s were not counted", text, x.n, s.describe(x.who)), x.who)
		return
	}
	shown, others := s.shown(d)
	s.tellRead(d.spot, name, text+shown, others...)
}

// solvePairs compares reads of a counter, each with the last one of each region that its snapshot
// includes: what is between them must be explained too.
func (r *run) solvePairs(l *leaf) {
	s := newSolver(r, l)
	if len(s.overrides) > 0 || r.fickle || l.overridable() {
		return
	}
	type seen struct {
		d    *read
		rest int64
	}
	last := map[string]seen{}
	for i := range l.reads {
		d := &l.reads[i]
		if r.told[d.spot] {
			continue
		}
		sum, _ := r.counter(d, r.cutOf(d))
		now := seen{d, d.want.n - sum}
		for _, region := range r.h.Header.Regions {
			b, ok := last[region]
			if !ok || now.rest == b.rest || b.d.txn == d.txn || !d.snap.includes(b.d.snap) {
				continue // no difference needs no explanation
			}
			if s.spend(len(s.effects)) {
				s.judgePair(b.d, d, now.rest-b.rest)
			}
		}
		last[r.h.Txns[d.txn].Region] = now
	}
}

// judgePair: between two reads, of which the second's snapshot includes the first's, the pending
// increments that can have become visible must be able to make the difference.
func (s *solver) judgePair(a, b *read, diff int64) {
	var plus, minus int64
	for _, e := range s.effects {
		p := e.pending
		if p.who == a.txn || p.who == b.txn {
			plus, minus = plus+max(e.n, -e.n), minus-max(e.n, -e.n)
			continue
		}
		if e.live && s.may(p, b) && max(p.lo, a.snap[p.origin]) < min(p.hi, b.snap[p.origin]) {
			plus, minus = plus+max(e.n, 0), minus+min(e.n, 0)
		}
	}
	if diff >= minus && diff <= plus && plus < math.MaxInt64/2 {
		return
	}
	s.tellRead(b.spot, s.l.nameOf(diff), fmt.Sprintf("%s %s had found %d at the snapshot %s; beside what was certainly committed in between that is a change by %+d, "+
		"and what of unknown outcome can have become visible in between comes to %+d to %+d: what was seen once stays",
		s.readText(b), s.describe(a.txn), a.want.n, s.vecText(a.snap), diff, minus, plus), a.txn)
}
