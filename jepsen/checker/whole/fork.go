package whole

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// widest and widestAllowed are how many once-written things of one transaction's reads are compared
// in pairs: where a level forbids forks, and where they are only counted, which is worth less time.
const (
	widest        = 64
	widestAllowed = 16
)

// LongFork looks for two readers who saw two writes in opposite orders. forbidden names the levels
// that forbid it; at all others forks are counted and allowed. See the package's documentation.
func LongFork(forbidden ...string) checker.Checker { return longFork{forbidden} }

type longFork struct{ forbidden []string }

func (longFork) Name() string { return "long-fork" }

func (longFork) Proves() string {
	return "No two readers at a level that forbids it saw two such writes in opposite orders. It looks at things written once and never " +
		"removed; at causal level forks are allowed, and only counted."
}

func (c longFork) Check(h *history.History, o checker.Options) checker.Result {
	x := newIndex(h)
	f := &forks{
		x: x, r: newReport(h, "readers of several", "long forks", "readers too wide"), forbidden: c.forbidden,
		ids: map[*item]int{}, seen: map[order]*history.Txn{}, strict: map[order]*history.Txn{},
	}
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Outcome == history.OK {
			f.reader(t)
		}
	}
	return f.r.result(c.Name(), o)
}

// forks is one check for long forks.
type forks struct {
	x         *index
	r         *report
	forbidden []string
	ids       map[*item]int
	seen      map[order]*history.Txn // the first who saw one write but not the other
	strict    map[order]*history.Txn // the same, where level of reader and writers forbid it
}

// order says that a transaction saw the write of has but not that of lacks.
type order struct{ has, lacks int }

// sight is whether a reader saw a thing that was written once.
type sight struct {
	item   *item
	at     *place
	writer *history.Txn
	there  bool
}

// reader compares what a transaction saw with what all before it saw.
func (f *forks) reader(t *history.Txn) {
	var has, lacks []sight
	for j, p := range f.x.at[t.ID-1] {
		for _, s := range f.sights(&t.Ops[j], p) {
			switch {
			case s.writer == t:
			case s.there:
				has = append(has, s)
			default:
				lacks = append(lacks, s)
			}
		}
	}
	switch n := len(has) + len(lacks); {
	case n < 2:
		return
	case n > widestAllowed && (n > widest || !f.forbids(t)):
		f.r.counts["readers too wide"]++
		if f.forbids(t) {
			f.r.unjudged("%s read more than %d things that were written once", tn(t), widest)
		}
		return
	}
	f.r.counts["readers of several"]++
	for _, a := range has {
		for _, b := range lacks {
			f.pair(t, a, b)
		}
	}
}

// sights are the once-written things that an operation tells of.
func (f *forks) sights(o *history.Op, p *place) []sight {
	if o.Writes() || p.reset() {
		return nil
	}
	switch {
	case isCounter(p.leaf) && len(p.adds) == 1 && p.adds[0].n != 0:
		return []sight{{p.item(""), p, p.adds[0].txn, o.Got.Int != 0}}
	case isRegister(p.leaf) && p.assigns.only != nil:
		return []sight{{p.written(), p, p.assigns.only, len(texts(p.leaf, o.Got)) > 0}}
	case isFlag(p.leaf):
		return once(p, p.items[""], o.Got.Flag)
	case isSet(p.leaf) && o.Do == history.Contains:
		return once(p, p.items[o.Element], o.Got.Flag)
	case isSet(p.leaf) && len(p.order) <= widest:
		have := texts(p.leaf, o.Got)
		var out []sight
		for _, i := range p.order {
			out = append(out, once(p, i, in(have, i.text))...)
		}
		return out
	}
	return nil
}

// written is a value that somebody wrote, of a place that has one.
func (p *place) written() *item {
	return p.order[slices.IndexFunc(p.order, func(i *item) bool { return i.writers.n > 0 })]
}

// once is a sight of an item if one transaction wrote it and none took it back.
func once(p *place, i *item, there bool) []sight {
	if i == nil || i.writers.only == nil || i.removes.n > 0 {
		return nil
	}
	return []sight{{i, p, i.writers.only, there}}
}

// pair notes that t saw a but not b, and looks for somebody who saw b but not a.
func (f *forks) pair(t *history.Txn, a, b sight) {
	if a.writer == b.writer {
		return // a half transaction, if anything
	}
	this := order{f.id(a.item), f.id(b.item)}
	other := order{this.lacks, this.has}
	if f.seen[this] == nil {
		f.seen[this] = t
		if f.seen[other] != nil {
			f.r.counts["long forks"]++
		}
	}
	if f.strict[this] != nil || !f.forbids(t) || !f.forbids(a.writer) { // b's writer is looked at where b is seen
		return
	}
	f.strict[this] = t
	if before := f.strict[other]; before != nil {
		f.r.anomaly("long fork", fmt.Sprintf("%s saw %s but not %s; %s saw the second but not the first: no one order of the two writes explains both",
			tn(t), told(a), told(b), tn(before)), a.writer, b.writer, before, t)
	}
}

func told(s sight) string {
	if isCounter(s.at.leaf) {
		return fmt.Sprintf("what %s added to %s", tn(s.writer), s.at.name)
	}
	return fmt.Sprintf("%s of %s", wrote(s.at, s.item), tn(s.writer))
}

func (f *forks) forbids(t *history.Txn) bool { return slices.Contains(f.forbidden, t.Level) }

func (f *forks) id(i *item) int {
	n, met := f.ids[i]
	if !met {
		n = len(f.ids)
		f.ids[i] = n
	}
	return n
}
