package whole

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/history"
)

// overwrite is a write that certainly came after another of the same register.
type overwrite struct {
	by  *history.Txn
	how string // how it is known to be later
}

// overwritten finds register values that a required write certainly replaced: its transaction, or one
// before it in its session, read or wrote them. Only values with one writer are judged: of two equal
// ones nobody can tell which was read. Each value is replaced once in what a session knows, so the
// cost is linear.
func overwritten(x *index, required func(*history.Txn) bool) map[*item]overwrite {
	w := overwrites{x, required, map[*item]overwrite{}}
	for _, s := range sessions(x.h) {
		known := map[*place][]sighting{}
		for _, t := range s {
			if keepsSession(t) {
				w.take(t, known)
			} else {
				w.take(t, map[*place][]sighting{})
			}
		}
	}
	for i := range x.h.Txns {
		if t := &x.h.Txns[i]; t.Session == 0 && t.Writes() {
			w.take(t, map[*place][]sighting{})
		}
	}
	return w.out
}

// overwrites looks for them.
type overwrites struct {
	x        *index
	required func(*history.Txn) bool
	out      map[*item]overwrite
}

// sighting is a value that a transaction saw, or wrote.
type sighting struct {
	item *item
	by   *history.Txn
	verb string
}

// take goes through one transaction. known is what its session knows of each place.
func (w overwrites) take(t *history.Txn, known map[*place][]sighting) {
	if t.Outcome != history.OK {
		return
	}
	for j, p := range w.x.at[t.ID-1] {
		o := &t.Ops[j]
		switch {
		case o.Do == history.Assign:
			known[p] = w.assign(t, known[p], p.item(o.Arg.Text))
		case isRegister(p.leaf):
			for _, text := range texts(p.leaf, o.Got) {
				if i := p.item(text); !newest(known[p], i) {
					known[p] = append(known[p], sighting{i, t, "read"})
				}
			}
		}
	}
}

// assign replaces what is known of a place, and returns what is known then.
func (w overwrites) assign(t *history.Txn, known []sighting, i *item) []sighting {
	if w.required(t) {
		for _, s := range known {
			if s.item.writers.only != nil && w.out[s.item].by == nil {
				w.out[s.item] = overwrite{t, fmt.Sprintf("%s had %s", tn(s.by), s.verb)}
			}
		}
		known = known[:0]
	}
	if w.out[i].by == t { // it wrote it, something else, and it again
		delete(w.out, i)
	}
	return append(known, sighting{i, t, "written"})
}

// newest reports whether the last thing that is known is this item: most reads find what the one
// before found, and should not make what is known longer.
func newest(known []sighting, i *item) bool { return len(known) > 0 && known[len(known)-1].item == i }

// register judges the values that a register has in the end.
func (l *losses) register(k look, have []string) {
	for _, text := range have {
		i := k.at.item(text)
		if i.writers.n == 0 {
			l.nothing(k, i)
		} else if o, known := l.over[i]; known {
			l.tell(i, k, finding{"lost write", fmt.Sprintf("%s overwrote %s, which %s", tn(o.by), wrote(k.at, i), o.how), "still has it", []*history.Txn{o.by, i.writers.only}})
		}
	}
	switch {
	case k.at.leaf == "register-mv":
		l.values(k, have)
	case len(have) == 0:
		l.emptied(k)
	}
}

// values judges what a multi-value register lacks: only a later assignment that may have seen a
// value, or a reset, takes it away.
func (l *losses) values(k look, have []string) {
	for _, i := range k.at.order {
		if in(have, i.text) {
			continue
		}
		for _, w := range i.marks {
			if l.required(w) && !k.at.assigns.mayCover(w) && !k.at.maySeeReset(w) {
				l.tell(i, k, finding{"lost write", fmt.Sprintf("%s acknowledged %s, which nothing that could have seen it overwrote", tn(w), wrote(k.at, i)), "has it not", []*history.Txn{w}})
				break
			}
		}
	}
}

// emptied judges a last-writer-wins register without value: only a reset explains it.
func (l *losses) emptied(k look) {
	for _, i := range k.at.order {
		for _, w := range i.marks {
			if l.required(w) && !k.at.maySeeReset(w) {
				l.tell(k.at, k, finding{"lost write", fmt.Sprintf("%s acknowledged %s, and nothing reset it", tn(w), wrote(k.at, i)), "finds nothing", []*history.Txn{w}})
				return
			}
		}
	}
}

// bounds are what a counter may hold in the end.
type bounds struct {
	low, high   wide
	sure, maybe int // how many transactions certainly count, and how many perhaps
}

// counter judges a counter against the sum of all that certainly counts, with or without each that
// perhaps does.
func (l *losses) counter(k look) {
	b := l.boundsOf(k.at)
	name := "lost write"
	switch {
	case b.low.compare(k.got.Int) > 0:
	case b.high.compare(k.got.Int) < 0:
		name = "value out of nothing"
	default:
		return
	}
	right := fmt.Sprintf("with %d acknowledged transactions that nothing reset, and %d that perhaps count, %s is from %s to %s", b.sure, b.maybe, k.at.name, b.low, b.high)
	l.tell(k.at, k, finding{name, right, fmt.Sprintf("finds %d", k.got.Int), nil})
}

func (l *losses) boundsOf(p *place) *bounds {
	if b := l.counters[p]; b != nil {
		return b
	}
	b := new(bounds)
	for _, a := range p.adds {
		if l.required(a.txn) && !a.reset && !p.maySeeReset(a.txn) {
			b.sure++
			b.low, b.high = b.low.plus(a.n), b.high.plus(a.n)
			continue
		}
		b.maybe++
		b.low, b.high = b.low.plus(min(a.n, 0)), b.high.plus(max(a.n, 0))
	}
	l.counters[p] = b
	return b
}
