package whole

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// LostWrites checks that what was acknowledged is there in the end. See the package's documentation.
//
// excused names the faults after which acknowledged writes may be gone.
func LostWrites(excused checker.Losses) checker.Checker { return lostWrites{excused} }

type lostWrites struct{ excused checker.Losses }

func (lostWrites) Name() string { return "lost-writes" }

func (lostWrites) Proves() string {
	return "The final reads of every region hold every acknowledged write that nothing removed or overwrote, and nothing that " +
		"nobody wrote. It excuses whatever some order of the transactions could explain, so it does not prove that values are right."
}

func (c lostWrites) Check(h *history.History, o checker.Options) checker.Result {
	x := newIndex(h)
	l := &losses{
		x: x, finals: newFinals(x), lost: c.excused.In(h), counters: map[*place]*bounds{}, told: map[any]bool{},
		r: newReport(h, "final reads", "acknowledged writes", "acknowledged writes that may be lost", "places"),
	}
	l.countWrites()
	l.over = overwritten(x, l.required)
	l.finals.each(l.look)
	l.r.counts["final reads"] = l.finals.count
	l.r.counts["places"] = len(x.places)
	l.coverage()
	return l.r.result(c.Name(), o)
}

// losses is one check for lost writes.
type losses struct {
	x        *index
	finals   *finals
	r        *report
	lost     checker.Lost // what faults excuse
	over     map[*item]overwrite
	counters map[*place]*bounds
	told     map[any]bool // places and items of which an anomaly was told: the first final read that shows it is enough
}

// required reports whether what t wrote must be there in the end unless something took it away: it
// was acknowledged before the final reads began, and no fault excuses its loss.
func (l *losses) required(t *history.Txn) bool {
	if t.Outcome != history.OK || l.finals.any && t.End >= l.finals.since {
		return false
	}
	return !l.lost.Excuses(t)
}

func (l *losses) countWrites() {
	for i := range l.x.h.Txns {
		t := &l.x.h.Txns[i]
		switch {
		case !t.Writes() || t.Outcome != history.OK:
		case l.required(t):
			l.r.counts["acknowledged writes"]++
		default:
			l.r.counts["acknowledged writes that may be lost"]++
		}
	}
}

// coverage finds what nobody looked at in the end.
func (l *losses) coverage() {
	var unread []*place
	for _, p := range l.x.places {
		if l.holdsRequired(p) && l.finals.unread(p) > 0 {
			unread = append(unread, p)
		}
	}
	if len(unread) > 0 {
		l.r.unjudged("%d places with acknowledged writes were not read in the end in every region, %s among them", len(unread), unread[0].name)
	}
}

func (l *losses) holdsRequired(p *place) bool {
	if slices.ContainsFunc(p.adds, func(a add) bool { return l.required(a.txn) }) {
		return true
	}
	return slices.ContainsFunc(p.order, func(i *item) bool {
		return slices.ContainsFunc(i.marks, l.required) || slices.ContainsFunc(i.unmarks, l.required)
	})
}

// look judges one final read.
func (l *losses) look(k look) {
	switch leaf := k.at.leaf; {
	case isCounter(leaf):
		l.counter(k)
	case isRegister(leaf):
		l.register(k, texts(leaf, k.got))
	case isFlag(leaf):
		l.presence(k, k.at.item(""), k.got.Flag)
	case k.item != nil:
		l.presence(k, k.item, k.got.Flag)
	case isSet(leaf):
		l.set(k, texts(leaf, k.got))
	}
}

// set judges each element that was there or should have been.
func (l *losses) set(k look, have []string) {
	for _, e := range have {
		l.presence(k, k.at.item(e), true)
	}
	for _, i := range k.at.order {
		if !in(have, i.text) {
			l.presence(k, i, false)
		}
	}
}

// presence judges whether an element is rightly there, or a flag rightly on.
func (l *losses) presence(k look, i *item, there bool) {
	if there {
		l.thing(k, i)
		return
	}
	for _, w := range i.marks {
		if !l.required(w) || k.at.maySeeReset(w) {
			continue
		}
		if removeWins(k.at.leaf) && !i.removes.allBefore(w) || i.removes.mayCover(w) {
			continue
		}
		l.tell(i, k, finding{"lost write", fmt.Sprintf("%s acknowledged %s, which nothing took back", tn(w), wrote(k.at, i)), "has it not", []*history.Txn{w}})
		return
	}
}

// finding is an anomaly: its name, what should be so, what the final read shows instead, and who
// beside it shows that.
type finding struct {
	name, right, wrong string
	txns               []*history.Txn
}

// tell notes what a final read shows of a place or item, once.
func (l *losses) tell(of any, k look, f finding) {
	if l.told[of] {
		return
	}
	l.told[of] = true
	text := fmt.Sprintf("%s; but the final read %s in %s %s", f.right, tn(k.txn), k.txn.Region, f.wrong)
	l.r.anomaly(f.name, text, append(f.txns, k.txn)...)
}

// thing judges something that is there: somebody must have written it, and nobody who saw all who
// wrote it have taken it away.
func (l *losses) thing(k look, i *item) {
	if i.writers.n == 0 {
		l.nothing(k, i)
		return
	}
	for _, d := range i.unmarks {
		if !l.required(d) {
			continue
		}
		wins := i.writers.allBefore(d)
		if removeWins(k.at.leaf) {
			wins = !i.writers.mayCover(d) && !k.at.reset()
		}
		if wins {
			l.tell(i, k, finding{"lost removal", fmt.Sprintf("%s acknowledged that %s was taken back, and nobody who wrote it can have undone that", tn(d), wrote(k.at, i)), "has it", []*history.Txn{d}})
			return
		}
	}
}

// nothing tells of a value that nobody wrote, or only a transaction that failed.
func (l *losses) nothing(k look, i *item) {
	if i.failed != nil {
		l.tell(i, k, finding{"aborted write", fmt.Sprintf("%s failed, so %s was not written", tn(i.failed), wrote(k.at, i)), "has it", []*history.Txn{i.failed}})
		return
	}
	l.tell(i, k, finding{"value out of nothing", "nobody wrote " + wrote(k.at, i), "has it", nil})
}

// wrote names an item within its place.
func wrote(p *place, i *item) string {
	switch {
	case isFlag(p.leaf):
		return p.name + " = true"
	case isSet(p.leaf):
		return fmt.Sprintf("%q in %s", i.text, p.name)
	}
	return fmt.Sprintf("%s = %q", p.name, i.text)
}
