package semantics

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// explained is of how many anomalies the cause is looked for; of the others only that they are there
// is told. In a history that is wrong everywhere looking would be quadratic.
const explained = 200

// maxShown ids are told of those that an earlier read showed.
const maxShown = 6

// readText begins the text of a wrong read.
func (r *run) readText(d *read) string {
	l := d.at
	var said string
	switch {
	case l.kind == "counter":
		said = fmt.Sprint(d.want.n)
	case l.kind == "register-lww" && !d.want.absent:
		said = fmt.Sprintf("%q", d.want.text)
	case l.kind == "register-mv":
		said = quoted(d.want.list)
	case l.kind == "register-lww":
		said = "nothing"
	default:
		said = fmt.Sprint(d.want.flag)
	}
	return fmt.Sprintf("%s: it found %s = %s at the snapshot %s,", r.describe(d.txn), l.place(), said, r.vecText(d.snap))
}

func (r *run) vecText(v vec) string {
	var parts []string
	for o, t := range v {
		if o != history.StrongOrder || t > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", r.region(o), t))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// state of an effect for a read.
type state int

const (
	outside state = iota // the snapshot does not include it
	covered              // it does, and an override that it includes too
	present
)

// placed is an effect on the leaf with what the read should make of it.
type placed struct {
	item
	origin int
	state  state
}

// find looks for the last effect of a class that fits, in a state.
func (r *run) find(d *read, c cut, class int, s state, fits func(item) bool) (placed, bool) {
	if len(r.found) >= explained {
		return placed{}, false
	}
	all := &d.at.items[class]
	for o := range all.of {
		for _, x := range slices.Backward(all.of[o]) {
			at := present
			switch {
			case x.time > d.snap[o]:
				at = outside
			case x.time <= c[class][o]:
				at = covered
			}
			if at == s && x.who != d.txn && fits(x) {
				return placed{x, o, at}, true
			}
		}
	}
	return placed{}, false
}

// wrongCounter names what a sum lacks or has too much of.
func (r *run) wrongCounter(d *read, c cut, sum int64, some bool) {
	text := fmt.Sprintf("%s and what that includes comes to %d", r.readText(d), sum)
	if d.want.n == sum {
		if some {
			r.tellRead(d.spot, "wrong value", text+" and is there")
		} else {
			r.tellRead(d.spot, "wrong value", text+": nothing is there, though it is listed")
		}
		return
	}
	diff := d.want.n - sum
	of := func(n int64) func(item) bool { return func(x item) bool { return x.n == n } }
	tries := []struct {
		state     state
		n         int64
		name, how string
	}{
		{covered, diff, "resurrected increment", "is counted though a reset that the snapshot includes covers it"},
		{outside, diff, "read outside the snapshot", "is counted though the snapshot does not include it"},
		{present, -diff, "lost increment", "is not counted though the snapshot includes it"},
		{present, diff, "doubled increment", "is counted twice"},
	}
	for _, try := range tries {
		if x, ok := r.find(d, c, positive, try.state, of(try.n)); ok && r.fits(d, x) {
			name := try.name
			if x.n < 0 {
				name = strings.Replace(name, "increment", "decrement", 1)
			}
			r.tellRead(d.spot, name, fmt.Sprintf("%s: as if %+d of %s, stamped %s, %s", text, x.n, r.describe(x.who), r.stamp(x.who), try.how), x.who)
			return
		}
	}
	name := d.at.nameOf(diff)
	if d.at.items[positive].some {
		text += fmt.Sprintf(": %+d is not what one write makes up", diff)
	}
	r.tellRead(d.spot, name, text)
}

// fits says whether a write outside the snapshot can be the explanation: it had begun.
func (r *run) fits(d *read, x placed) bool {
	return x.state != outside || r.h.Txns[x.who].Start <= r.end(d.txn)
}

// nameOf names a sum that is off by diff: what went wrong can be told if all that goes to the counter has
// one sign.
func (l *leaf) nameOf(diff int64) string {
	plus, minus := l.signs()
	switch {
	case plus && minus, diff == 0, !plus && !minus:
		return "wrong value"
	case plus && diff > 0:
		return "doubled increment"
	case plus:
		return "lost increment"
	case diff > 0:
		return "lost decrement"
	}
	return "doubled decrement"
}

// signs reports whether increments and whether decrements go to a counter.
func (l *leaf) signs() (plus, minus bool) {
	for _, e := range l.unsure {
		plus, minus = plus || e.n > 0, minus || e.n < 0
	}
	for _, list := range l.items[positive].of {
		for _, x := range list {
			plus, minus = plus || x.n > 0, minus || x.n < 0
		}
	}
	return plus, minus
}

// wrongLast explains a read of a register-lww; allowed is what it might have said.
func (r *run) wrongLast(d *read, c cut, allowed []string) {
	shown, others := r.shown(d)
	text := r.readText(d) + " and by what is certain it is " + quoted(allowed) + shown
	if d.want.absent {
		r.lostWrite(d, c, text, func(item) bool { return true })
		return
	}
	same := func(x item) bool { return x.text == d.want.text }
	if x, ok := r.find(d, c, positive, present, same); ok {
		r.tellRead(d.spot, "stale value", fmt.Sprintf("%s: what it found is of %s, stamped %s, which a later write in the snapshot replaces",
			text, r.describe(x.who), r.stamp(x.who)), append(others, x.who)...)
		return
	}
	r.strayValue(d, c, text, same)
}

// wrongValues explains a read of a register-mv.
func (r *run) wrongValues(d *read, c cut, all []string) {
	text := r.readText(d) + " and by that it is " + quoted(all)
	for _, v := range d.want.list {
		if !slices.Contains(all, v) {
			r.strayValue(d, c, text, func(x item) bool { return x.text == v })
			return
		}
	}
	for _, v := range all {
		if !slices.Contains(d.want.list, v) {
			r.lostWrite(d, c, text, func(x item) bool { return x.text == v })
			return
		}
	}
	r.tellRead(d.spot, "wrong value", text+": each once, in byte order")
}

// strayValue explains a value that should not be there.
func (r *run) strayValue(d *read, c cut, text string, same func(item) bool) {
	if x, ok := r.find(d, c, positive, covered, same); ok {
		name := "resurrected value"
		if isSet(d.at.on.kind) {
			name = "resurrected element"
		}
		r.tellRead(d.spot, name, fmt.Sprintf("%s: %s, stamped %s, is covered by what the snapshot includes", text, r.describe(x.who), r.stamp(x.who)), x.who)
		return
	}
	if x, ok := r.find(d, c, positive, outside, same); ok {
		r.tellRead(d.spot, "read outside the snapshot", fmt.Sprintf("%s: %s is stamped %s, which the snapshot does not include",
			text, r.describe(x.who), r.stamp(x.who)), x.who)
		return
	}
	if x, ok := r.find(d, c, disables, present, func(item) bool { return true }); ok {
		r.tellRead(d.spot, "wrong value", fmt.Sprintf("%s: %s, stamped %s, is in the snapshot and wins", text, r.describe(x.who), r.stamp(x.who)), x.who)
		return
	}
	r.tellRead(d.spot, "phantom value", text+": nothing that the snapshot includes put it there")
}

// lostWrite explains a value that should be there.
func (r *run) lostWrite(d *read, c cut, text string, same func(item) bool) {
	name := "lost write"
	if isSet(d.at.on.kind) {
		name = "lost element"
	}
	if x, ok := r.find(d, c, positive, present, same); ok {
		r.tellRead(d.spot, name, fmt.Sprintf("%s: %s, stamped %s, is in the snapshot and nothing in it covers that",
			text, r.describe(x.who), r.stamp(x.who)), x.who)
		return
	}
	shown, others := r.shown(d)
	if d.at.kind == "register-lww" {
		shown = "" // it is in the text already
	}
	r.tellRead(d.spot, name, text+shown, others...)
}

// shown tells of transactions of unknown outcome which an earlier read saw, so that this one has to as well.
func (r *run) shown(d *read) (text string, others []int) {
	for _, e := range d.at.unsure {
		if p := e.pending; p.by >= 0 && p.by != d.txn && p.hi <= d.snap[p.origin] && len(others) < maxShown {
			text += fmt.Sprintf("; %s was seen by %s at the snapshot %s, and what was seen once stays",
				r.describe(p.who), r.describe(p.by), r.vecText(r.txns[p.by].snap))
			others = append(others, p.who, p.by)
		}
	}
	return text, others
}

// wrongFlag explains a flag, or whether an element is in a set.
func (r *run) wrongFlag(d *read, c cut) {
	text := r.readText(d) + fmt.Sprintf(" and by that it is %v", !d.want.flag)
	if d.want.flag {
		r.strayValue(d, c, text, func(item) bool { return true })
		return
	}
	r.lostWrite(d, c, text, func(item) bool { return true })
}

// effectEnd is the moment by which a transaction has taken effect if it ever does: a call of unknown outcome
// may be held up on its way for any time after its client has given up.
func (r *run) effectEnd(i int) int64 {
	if t := &r.h.Txns[i]; t.Outcome == history.OK {
		return t.End
	}
	return 1<<63 - 1
}

// end is when a transaction ended; of one that did not, never.
func (r *run) end(i int) int64 {
	if t := &r.h.Txns[i]; t.Ended() {
		return t.End
	}
	return 1<<63 - 1
}
