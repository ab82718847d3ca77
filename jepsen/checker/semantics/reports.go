package semantics

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// checkReports judges stamps, snapshots and tokens (invariants 1 to 6).
func (r *run) checkReports() {
	for o := range r.lanes {
		r.checkLane(&r.lanes[o])
	}
	for i := range r.h.Txns {
		t := &r.h.Txns[i]
		if t.Outcome != history.OK || r.txns[i].snap == nil {
			continue
		}
		r.counts["snapshots"]++
		r.checkToken(i)
		r.checkClosed(i)
		r.checkFuture(i)
	}
	r.checkSessions()
}

// checkLane makes sure that stamps of a region follow real time.
func (r *run) checkLane(l *lane) {
	for _, c := range l.commits {
		first := l.started[l.upTo(c.time)-1]
		if r.h.Txns[c.who].End >= r.h.Txns[first].Start {
			continue
		}
		name, how := "stamp order", "is stamped below"
		if r.txns[first].time == c.time {
			name, how = "duplicate stamp", "has the same stamp as"
		}
		r.tell(name, fmt.Sprintf("%s: it was committed at %s and answered at %d; %s began only after that, at %d, and yet %s it, at %s",
			r.describe(c.who), r.stamp(c.who), r.h.Txns[c.who].End, r.describe(first), r.h.Txns[first].Start, how, r.stamp(first)),
			first, c.who)
		return // all that follow it would say the same
	}
}

// checkToken makes sure that a transaction's snapshot, stamp and tokens are in order among themselves.
func (r *run) checkToken(i int) {
	t, s := &r.h.Txns[i], r.txns[i].snap
	before, after := r.vector(t.TokenBefore), r.vector(t.TokenAfter)
	if before != nil && t.Level != eventual {
		r.counts["tokens"]++
		if o, who := r.lacks(s, before); o >= 0 {
			r.tell("token not honoured", fmt.Sprintf("%s: it was given a token with %s at %d, and read at a snapshot with %d there%s",
				r.describe(i), r.region(o), before[o], s[o], r.naming(who)), i)
		}
	}
	if t.Commit != nil {
		for o, at := range s {
			if at >= t.Commit.Time {
				r.tell("stamp below snapshot", fmt.Sprintf("%s: it is stamped %s, though its own snapshot has %s at %d already",
					r.describe(i), r.stamp(i), r.region(o), at), i)
				break
			}
		}
	}
	if after == nil {
		return
	}
	if o, who := r.lacks(after, s); o >= 0 {
		r.tell("incomplete token", fmt.Sprintf("%s: it read at a snapshot with %s at %d, and its answer's token has %d there%s",
			r.describe(i), r.region(o), s[o], after[o], r.naming(who)), i)
	}
	if o, who := r.lacks(after, before); o >= 0 {
		r.tell("incomplete token", fmt.Sprintf("%s: it was given a token with %s at %d, and its answer's token has %d there%s",
			r.describe(i), r.region(o), before[o], after[o], r.naming(who)), i)
	}
	if x := &r.txns[i]; t.Commit != nil && after[x.origin] < x.time {
		r.tell("incomplete token", fmt.Sprintf("%s: it is stamped %s, and its answer's token has %d there: it does not include the write itself",
			r.describe(i), r.stamp(i), after[x.origin]), i)
	}
}

// lacks says in which entry v does not include w, -1: in none, and which commit it lacks, -1: a clock
// reading only. After faults an entry may stand at what a crash took back, and be set back to what
// shows the same; then only entries that lack a certain commit count.
func (r *run) lacks(v, w vec) (origin, who int) {
	for o := range w {
		if v[o] >= w[o] {
			continue
		}
		l := &r.lanes[o]
		if n := l.upTo(w[o]); n > l.upTo(v[o]) {
			return o, l.commits[n-1].who
		}
		if !r.faulty {
			return o, -1
		}
	}
	return -1, -1
}

// checkClosed makes sure that a snapshot includes what each transaction in it depends on.
func (r *run) checkClosed(i int) {
	s := r.txns[i].snap
	for o, at := range s {
		n := r.lanes[o].upTo(at)
		if n == 0 || s.includes(r.lanes[o].deps[n-1]) {
			continue
		}
		for _, c := range r.lanes[o].commits[:n] {
			d := r.txns[c.who].snap
			if d == nil {
				continue
			}
			if len(r.found) >= explained { // who lacks whom takes a search
				r.tell("fractured snapshot", "the snapshot of "+r.describe(i)+" lacks what transactions in it depend on", i)
				return
			}
			if q, who := r.lacks(s, r.lowered(d)); q >= 0 {
				r.tell("fractured snapshot", fmt.Sprintf("the snapshot of %s includes %s, stamped %s, but not %s, stamped %s, which that one's snapshot includes",
					r.describe(i), r.describe(c.who), r.stamp(c.who), r.describe(who), r.stamp(who)), i, c.who, who)
				return
			}
		}
	}
}

// checkFuture makes sure that a snapshot includes nothing that was begun after its transaction ended.
func (r *run) checkFuture(i int) {
	t := &r.h.Txns[i]
	for o, at := range r.txns[i].snap {
		n := r.lanes[o].upTo(at)
		if n == 0 {
			continue
		}
		if w := r.lanes[o].started[n-1]; r.h.Txns[w].Start > t.End {
			r.tell("snapshot from the future", fmt.Sprintf("%s: it ended at %d, and its snapshot, with %s at %d, includes %s, stamped %s, which began at %d",
				r.describe(i), t.End, r.region(o), at, r.describe(w), r.stamp(w), r.h.Txns[w].Start), i, w)
			return
		}
	}
}

// checkSessions makes sure that what a session saw or wrote stays in its snapshots, and that its
// stamps ascend.
func (r *run) checkSessions() {
	order := make([]int, 0, len(r.txns))
	for i := range r.h.Txns {
		if t := &r.h.Txns[i]; t.Session != 0 && t.Outcome == history.OK && r.txns[i].snap != nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &r.h.Txns[a], &r.h.Txns[b]
		return cmp.Or(cmp.Compare(x.Session, y.Session), cmp.Compare(x.Start, y.Start))
	})
	waited := -1 // the last that waited for its token
	for k := 1; k < len(order); k++ {
		a, b := order[k-1], order[k]
		if r.h.Txns[a].Level != eventual {
			waited = a
		}
		if r.h.Txns[a].Session != r.h.Txns[b].Session {
			waited = -1
			continue
		}
		r.checkStep(a, b)
		if waited >= 0 && waited != a {
			r.checkStep(waited, b)
		}
	}
}

// checkStep compares a session's transaction with one before it: the last one and, as that may have been
// at level eventual and so have seen less, the last one of another level.
func (r *run) checkStep(a, b int) {
	x, y := &r.txns[a], &r.txns[b]
	if r.h.Txns[b].Level == eventual {
		return
	}
	r.counts["session steps"]++
	if o, who := r.lacks(y.snap, x.snap); o >= 0 {
		r.tell("stale snapshot", fmt.Sprintf("session %d had seen %s at %d in %s, and then read at %d there in %s%s", r.h.Txns[a].Session,
			r.region(o), x.snap[o], r.describe(a), y.snap[o], r.describe(b), r.naming(who)), b, a)
		return
	}
	if x.certain && y.snap[x.origin] < x.time {
		r.tell("stale snapshot", fmt.Sprintf("session %d wrote in %s, stamped %s, and then read at a snapshot without that, with %d, in %s",
			r.h.Txns[a].Session, r.describe(a), r.stamp(a), y.snap[x.origin], r.describe(b)), b, a)
		return
	}
	if x.certain && y.certain && y.time <= x.time {
		r.tell("stamp order", fmt.Sprintf("session %d wrote in %s, stamped %s, and then in %s, stamped %s: later writes of a session have later stamps",
			r.h.Txns[a].Session, r.describe(a), r.stamp(a), r.describe(b), r.stamp(b)), b, a)
	}
}

func (r *run) region(o int) string {
	switch {
	case o == history.StrongOrder:
		return "strong"
	case o <= len(r.h.Header.Regions):
		return r.h.Header.Regions[o-1]
	}
	return fmt.Sprintf("region %d", o)
}

func (r *run) stamp(i int) string {
	return fmt.Sprintf("(%s, %d)", r.region(r.txns[i].origin), r.txns[i].time)
}

// naming tells which commit is lacking.
func (r *run) naming(who int) string {
	if who < 0 {
		return ""
	}
	return ": without " + r.describe(who) + ", stamped " + r.stamp(who)
}
