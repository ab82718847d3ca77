package whole

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// HalfTransactions checks that nobody sees a part of a transaction. See the package's documentation.
func HalfTransactions() checker.Checker { return halfTransactions{} }

type halfTransactions struct{}

func (halfTransactions) Name() string { return "half-transactions" }

func (halfTransactions) Proves() string {
	return "Whoever saw one write of a transaction saw, in the same transaction, each of its other writes of a register or set that it read, " +
		"or something that may have replaced it. Writes that are not unique, and counters and flags, are not judged."
}

func (c halfTransactions) Check(h *history.History, o checker.Options) checker.Result {
	x := newIndex(h)
	v := &halves{x: x, r: newReport(h, "transactions that write several marks", "transactions that read several marks", "marks compared")}
	for i := range x.marks {
		if len(x.marks[i]) > 1 {
			v.r.counts["transactions that write several marks"]++
		}
	}
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Outcome == history.OK {
			v.reader(t)
		}
	}
	return v.r.result(c.Name(), o)
}

// halves is one check for half transactions.
type halves struct {
	x *index
	r *report
}

// view is what one transaction saw of a place before it wrote there itself.
type view struct {
	at    *place
	whole bool            // all of it was read
	have  []string        // then this is all that was there
	asked map[string]bool // else the answers about single elements
	order []string        // what was found, or asked for
}

// take adds what a read returned.
func (v *view) take(o *history.Op) {
	if o.Do == history.Get {
		v.whole, v.have = true, texts(v.at.leaf, o.Got)
		v.order = v.have
		return
	}
	if v.asked == nil {
		v.asked = map[string]bool{}
	}
	if _, again := v.asked[o.Element]; !again && !v.whole {
		v.order = append(v.order, o.Element)
	}
	v.asked[o.Element] = o.Got.Flag
}

// says tells whether an element or value was there, if the view knows.
func (v *view) says(text string) (there, known bool) {
	if v.whole {
		return in(v.have, text), true
	}
	there, known = v.asked[text]
	return there, known
}

// reader judges all that one transaction saw, up to the first anomaly: what else it shows is the
// same mix from another side.
func (v *halves) reader(t *history.Txn) {
	views, order := v.views(t)
	if len(order) == 0 || len(order) == 1 && !isSet(order[0].at.leaf) {
		return // a register alone has one mark of each writer
	}
	v.r.counts["transactions that read several marks"]++
	for _, w := range order {
		for _, text := range w.order {
			if there, _ := w.says(text); there && v.seen(t, views, w, text) {
				return
			}
		}
	}
}

// views gathers the registers and sets that a transaction read. What it read after it wrote there
// is its own work and left out. What it reads of a map's fields after it reset the map itself is missing
// for that reason, which replaced knows.
func (v *halves) views(t *history.Txn) (map[*place]*view, []*view) {
	views := map[*place]*view{}
	var order []*view
	wrote := map[*place]bool{}
	for j, p := range v.x.at[t.ID-1] {
		o := &t.Ops[j]
		wrote[p] = wrote[p] || o.Writes()
		if wrote[p] || !isRegister(p.leaf) && !isSet(p.leaf) {
			continue
		}
		w := views[p]
		if w == nil {
			w = &view{at: p}
			views[p] = w
			order = append(order, w)
		}
		w.take(o)
	}
	return views, order
}

// seen takes one thing that the reader saw, finds the one transaction that wrote it, and looks for
// the other marks of that transaction in what the reader saw. It reports whether one is missing.
func (v *halves) seen(t *history.Txn, views map[*place]*view, w *view, text string) bool {
	i := w.at.items[text]
	if i == nil || i.writers.only == nil || i.writers.only == t {
		return false
	}
	writer := i.writers.only
	for _, m := range v.x.marks[writer.ID-1] {
		other := views[m.at]
		if other == nil || m.item == i || m.item.writers.only != writer {
			continue
		}
		there, known := other.says(m.item.text)
		if !known {
			continue
		}
		v.r.counts["marks compared"]++
		if !there && !v.replaced(writer, w, i, other, m.item) {
			v.r.anomaly("half transaction", fmt.Sprintf("%s wrote %s and %s in one transaction; %s saw the first but not the second: %s",
				tn(writer), wrote(w.at, i), wrote(m.at, m.item), tn(t), other.instead()), writer, t)
			return true
		}
	}
	return false
}

// instead tells what a view had in the place of something.
func (v *view) instead() string {
	switch {
	case isSet(v.at.leaf):
		return "nothing can have taken only the second away"
	case len(v.have) == 0:
		return "it found nothing there"
	}
	return fmt.Sprintf("it found %q there, which can't have replaced the second alone", v.have)
}

// replaced reports whether something that the reader may have seen explains that writer's mark is
// missing in other, though its mark i is there in w.
func (v *halves) replaced(writer *history.Txn, w *view, i *item, other *view, missing *item) bool {
	if w.at.reset() || other.at.maySeeReset(writer) {
		return true
	}
	if isSet(other.at.leaf) {
		return v.removed(writer, w, i, other.at, missing)
	}
	for _, text := range other.have {
		if v.newer(writer, w, other.at, text) {
			return true
		}
	}
	return false
}

// removed reports whether a transaction may have taken the missing element away and left the mark
// that was seen: one that took both away would have been seen to do so, too.
func (v *halves) removed(writer *history.Txn, w *view, i *item, at *place, missing *item) bool {
	if removeWins(at.leaf) {
		if missing.removes.allBefore(writer) {
			return false
		}
	} else if !missing.removes.mayCover(writer) {
		return false
	}
	d := missing.removes.only
	return d == nil || i.removes.only != d || w.at.leaf != at.leaf
}

// newer reports whether a value that stands where writer's mark should be may have replaced it. It
// can't if its own writer came before, or wrote the other place as well: then it was seen whole
// only if it had replaced the mark there, too.
func (v *halves) newer(writer *history.Txn, w *view, at *place, text string) bool {
	n := at.items[text]
	if n == nil || n.writers.only == nil {
		return true // nobody's, or one of several: other checkers' matter
	}
	by := n.writers.only
	if by == writer || before(by, writer) || v.read(writer, at, text) {
		return false
	}
	if w.at.leaf != at.leaf {
		return true
	}
	for _, m := range v.x.marks[by.ID-1] {
		if m.at == w.at {
			return false
		}
	}
	return true
}

// read reports whether a transaction read a value of a place: what it writes there is newer.
func (v *halves) read(t *history.Txn, at *place, text string) bool {
	for j, p := range v.x.at[t.ID-1] {
		if p == at && in(texts(at.leaf, t.Ops[j].Got), text) {
			return true
		}
	}
	return false
}
