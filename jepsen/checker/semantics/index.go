package semantics

import (
	"cmp"
	"math"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// eventual is the level at which a token is not waited for.
const eventual = "eventual"

// strong is the level whose transactions are committed in an order of their own.
const strong = "strong"

// vec is a vector by region number; first is the order of strong transactions. Nil: not reported.
type vec []uint64

// join makes v the join with w.
func (v vec) join(w vec) {
	for i, t := range w {
		v[i] = max(v[i], t)
	}
}

// includes reports whether w is at or below v.
func (v vec) includes(w vec) bool {
	for i, t := range w {
		if v[i] < t {
			return false
		}
	}
	return true
}

func (r *run) vector(v history.Vector) vec {
	if v == nil {
		return nil
	}
	out := make(vec, r.regions)
	for region, t := range v {
		out[region] = t
	}
	return out
}

// txn is what the checker keeps of a transaction.
type txn struct {
	snap    vec
	origin  int // of its stamp; of an unknown outcome: the region that was asked, or the order of strong transactions
	time    uint64
	acked   bool // its writes are committed for good
	certain bool // and that at the stamp
	pending *pending
}

// commit is a place in a lane.
type commit struct {
	time uint64
	who  int
}

// lane is what is certainly committed in a region, by stamp.
type lane struct {
	commits []commit
	started []int // who of the commits up to here started last
	deps    []vec // join of what the commits up to here depend on
}

// pending is a transaction of which nobody knows whether, or when, it was committed: it is visible to
// whoever's snapshot has in its region a timestamp at or above a threshold in (lo, hi].
type pending struct {
	who    int
	origin int
	lo, hi uint64
	fickle bool // a read may have seen what a crash took back: nothing follows from one read for another
	least  vec  // its snapshot includes at least this
	exact  bool // and no more
	by     int  // whose read showed that it is visible, -1: nobody's
}

// never is the threshold of what nobody sees.
const never = math.MaxUint64

// sees says whether a snapshot surely sees what is pending, and whether it may.
func (p *pending) seenBy(s vec) (surely, perhaps bool) {
	return p.hi <= s[p.origin], p.lo < s[p.origin]
}

// visible narrows the threshold: a read's snapshot sees it. It reports whether that is news.
func (p *pending) visible(d *read) bool {
	if p.fickle || p.hi <= d.snap[p.origin] {
		return false
	}
	p.hi, p.by = d.snap[p.origin], d.txn
	return true
}

// invisible narrows the threshold: a snapshot does not see it.
func (p *pending) invisible(s vec) bool {
	if p.fickle || p.lo >= s[p.origin] {
		return false
	}
	p.lo = s[p.origin]
	return true
}

// take sorts a transaction into certain, pending and neither.
func (r *run) take(i int) {
	t := &r.h.Txns[i]
	x := &r.txns[i]
	x.snap = r.vector(t.Snapshot)
	if x.origin = slices.Index(r.h.Header.Regions, t.Region) + 1; t.Level == strong {
		x.origin = history.StrongOrder
	}
	if t.Commit != nil {
		x.origin, x.time = t.Commit.Region, t.Commit.Time
	}
	x.acked = t.Outcome == history.OK && t.Writes() && !r.lost.Excuses(t)
	switch {
	case t.Outcome == history.Fail || !t.Writes():
		return
	case x.acked && t.Commit != nil:
		r.counts["commits"]++
		x.certain = true
		return
	}
	r.counts["commits that may be or not"]++
	x.pending = r.newPending(i)
	r.unsure = append(r.unsure, x.pending)
}

func (r *run) newPending(i int) *pending {
	t, x := &r.h.Txns[i], &r.txns[i]
	p := &pending{who: i, origin: x.origin, hi: never, by: -1, fickle: r.fickle, least: make(vec, r.regions), exact: x.snap != nil}
	p.least.join(x.snap)
	if !p.exact && t.Level != eventual && !r.faulty { // else it may name what a crash took back
		p.least.join(r.vector(t.TokenBefore))
	}
	for _, at := range p.least {
		p.lo = max(p.lo, at) // a stamp is above its snapshot
	}
	if x.time > 0 {
		p.lo = x.time - 1
		if x.certain {
			p.hi = x.time
		}
	}
	return p
}

func (r *run) sortLanes() {
	r.lanes = make([]lane, r.regions)
	for i := range r.txns {
		if x := &r.txns[i]; x.certain {
			l := &r.lanes[x.origin]
			l.commits = append(l.commits, commit{x.time, i})
		}
	}
	for o := range r.lanes {
		l := &r.lanes[o]
		slices.SortFunc(l.commits, func(a, b commit) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.who, b.who)) })
		last := -1
		for _, c := range l.commits {
			if last < 0 || r.h.Txns[c.who].Start > r.h.Txns[last].Start {
				last = c.who
			}
			l.started = append(l.started, last)
		}
	}
	for o := range r.lanes {
		r.sumDependencies(&r.lanes[o])
	}
}

// sumDependencies joins the snapshots of a lane's commits, each lowered to what is certainly committed:
// a clock reading that one region heard is no dependency.
func (r *run) sumDependencies(l *lane) {
	l.deps = make([]vec, len(l.commits))
	at := make(vec, r.regions)
	for i, c := range l.commits {
		before := at
		if s := r.txns[c.who].snap; s != nil {
			if low := r.lowered(s); !at.includes(low) {
				at = slices.Clone(before)
				at.join(low)
			}
		}
		l.deps[i] = at
	}
}

// upTo is how many commits of a lane have a stamp at or below t.
func (l *lane) upTo(t uint64) int {
	n, _ := slices.BinarySearchFunc(l.commits, t, func(c commit, t uint64) int {
		if c.time <= t {
			return -1
		}
		return 1
	})
	return n
}

// lowered sets each entry to the last certain commit at or below it.
func (r *run) lowered(s vec) vec {
	out := make(vec, len(s))
	for o, t := range s {
		if n := r.lanes[o].upTo(t); n > 0 {
			out[o] = r.lanes[o].commits[n-1].time
		}
	}
	return out
}

// boundPending raises the least threshold of each pending transaction to what its region had been seen
// at before the call began: a region commits nothing at or below what it has been shown at.
func (r *run) boundPending() {
	order := make([]int, 0, len(r.txns))
	for i := range r.txns {
		if t := &r.h.Txns[i]; t.Ended() && r.txns[i].snap != nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.h.Txns[a].End, r.h.Txns[b].End) })
	starts := slices.Clone(r.unsure)
	slices.SortStableFunc(starts, func(a, b *pending) int { return cmp.Compare(r.h.Txns[a.who].Start, r.h.Txns[b.who].Start) })
	shown := make(vec, r.regions)
	next := 0
	for _, p := range starts {
		for ; next < len(order) && r.h.Txns[order[next]].End < r.h.Txns[p.who].Start; next++ {
			shown.join(r.txns[order[next]].snap)
			if x := &r.txns[order[next]]; x.certain {
				shown[x.origin] = max(shown[x.origin], x.time)
			}
		}
		if p.origin == history.StrongOrder || !r.lost.Disk(r.region(p.origin)) { // else it may have forgotten what it had shown
			p.lo = max(p.lo, shown[p.origin])
		}
	}
}
