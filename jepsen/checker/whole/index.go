package whole

import (
	"math"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// placeKey tells places apart.
type placeKey struct{ bucket, key, kind, path string }

// place is what operations are on: an object, or a field at a path within a map.
type place struct {
	name  string // for people
	leaf  string // its type
	path  string // within the object; empty for the object itself
	above []*place
	below []*place // of a map: all places within it, at any depth

	adds    []add            // of a counter, in the order of transactions
	items   map[string]*item // values of a register, elements of a set; a flag has the one item ""
	order   []*item          // in the order in which they were first met
	assigns latest           // of a register
	resets  latest           // of the place itself
}

// add is what one transaction adds to a counter in all, or in all before it resets the counter.
type add struct {
	txn   *history.Txn
	n     int64
	reset bool // the transaction itself went on to reset the counter
}

// item is a value of a register, an element of a set, or a flag.
type item struct {
	text    string
	writers latest       // who assigned, inserted or enabled it, and may have been applied
	removes latest       // who removed or disabled it, and may have been applied
	failed  *history.Txn // one that wrote it and was certainly not applied
	marks   []*history.Txn
	unmarks []*history.Txn // whose last word on it was to remove or disable it
}

// latest sums up transactions, so that "is there one other than t that may have happened after t
// began" takes one step however many there are. Equal times leave open what came first, so they are
// taken to be either way.
type latest struct {
	n             int
	first         *history.Txn // the one that may have taken effect last
	firstEnd, end int64        // its end, and the latest end of any other
	session       int          // of all of them; 0: of none; mixed: of several
	only          *history.Txn // the one transaction, if there is one; nil if there are several
}

const mixed = -1

// take adds a transaction. Those of one transaction count once.
func (l *latest) take(t *history.Txn) {
	end := effectEnd(t)
	switch {
	case l.n == 0:
		*l = latest{n: 1, first: t, firstEnd: end, end: math.MinInt64, session: t.Session, only: t}
		return
	case l.first == t:
		return
	case end > l.firstEnd:
		l.first, l.firstEnd, l.end = t, end, l.firstEnd
	default:
		l.end = max(l.end, end)
	}
	l.n++
	l.only = nil
	if l.session != t.Session {
		l.session = mixed
	}
}

// endOfOthers is the latest moment at which one of them other than t may have taken effect.
func (l *latest) endOfOthers(t *history.Txn) int64 {
	switch {
	case l.n == 0:
		return math.MinInt64
	case l.first == t:
		return l.end
	}
	return l.firstEnd
}

// mayCover reports whether one of them, other than t, may have had t's effects in its snapshot.
func (l *latest) mayCover(t *history.Txn) bool { return l.endOfOthers(t) >= t.Start }

// allBefore reports whether t's snapshot certainly includes each of them but t itself: they are
// earlier transactions of its session, and it was given the session's token.
func (l *latest) allBefore(t *history.Txn) bool {
	if l.n == 0 || l.only == t {
		return true
	}
	return l.session == t.Session && t.Session != 0 && keepsSession(t) && l.endOfOthers(t) < t.Start
}

// effectEnd is the moment by which a transaction has taken effect if it ever does.
func effectEnd(t *history.Txn) int64 {
	if t.Outcome == history.OK {
		return t.End
	}
	return math.MaxInt64
}

// possible reports whether a transaction may have been applied.
func possible(t *history.Txn) bool { return t.Outcome != history.Fail }

// keepsSession reports whether a transaction saw all that its session had seen and written.
func keepsSession(t *history.Txn) bool { return t.Level != "eventual" }

// before reports whether a's effects and reads are certainly in b's snapshot, by their session alone.
func before(a, b *history.Txn) bool {
	return a.Session != 0 && a.Session == b.Session && a.Outcome == history.OK && a.End < b.Start && keepsSession(b)
}

// mark is the last word of a transaction on an item.
type mark struct {
	at   *place
	item *item
}

// index is a history arranged by what its transactions wrote.
type index struct {
	h      *history.History
	keys   map[placeKey]*place
	places []*place   // in the order in which they were first met
	at     [][]*place // of each operation of each transaction
	marks  [][]mark   // of each transaction: what it leaves written, in program order
}

// newIndex reads the history once.
func newIndex(h *history.History) *index {
	x := &index{h: h, keys: map[placeKey]*place{}, at: make([][]*place, len(h.Txns)), marks: make([][]mark, len(h.Txns))}
	for i := range h.Txns {
		t := &h.Txns[i]
		at := make([]*place, len(t.Ops))
		for j := range t.Ops {
			at[j] = x.place(&t.Ops[j], len(t.Ops[j].Path))
		}
		x.at[i] = at
		x.takeWrites(t, at)
	}
	return x
}

// place finds or makes the place at the first steps of an operation's path.
func (x *index) place(o *history.Op, steps int) *place {
	k := placeKey{o.Bucket, o.Key, o.Type, pathOf(o.Path[:steps])}
	p := x.keys[k]
	if p != nil {
		return p
	}
	part := history.Op{Bucket: o.Bucket, Key: o.Key, Type: o.Type, Path: o.Path[:steps]}
	p = &place{name: checker.Place(&part), leaf: part.Leaf(), path: k.path, items: map[string]*item{}}
	for n := range steps {
		above := x.place(o, n)
		above.below = append(above.below, p)
		p.above = append(p.above, above)
	}
	x.keys[k] = p
	x.places = append(x.places, p)
	return p
}

// pathOf writes a path so that different ones differ.
func pathOf(path []history.Step) string {
	var b strings.Builder
	for _, s := range path {
		step(&b, s.Name, s.Type)
	}
	return b.String()
}

// step appends a field. Zero bytes in names are doubled, so that none can be taken for an end.
func step(b *strings.Builder, name, kind string) {
	b.WriteString(strings.ReplaceAll(name, "\x00", "\x00\x00"))
	b.WriteString("\x00\x01")
	b.WriteString(kind)
	b.WriteString("\x00\x02")
}

// item finds or makes an item of a place.
func (p *place) item(text string) *item {
	i := p.items[text]
	if i == nil {
		i = &item{text: text}
		p.items[text] = i
		p.order = append(p.order, i)
	}
	return i
}

// maySeeReset reports whether a reset of the place, or of a map that it is in, may have covered what t wrote.
func (p *place) maySeeReset(t *history.Txn) bool {
	return p.resets.mayCover(t) || slices.ContainsFunc(p.above, func(a *place) bool { return a.resets.mayCover(t) })
}

// reset reports whether the place, or a map that it is in, was perhaps ever reset.
func (p *place) reset() bool {
	return p.resets.n > 0 || slices.ContainsFunc(p.above, func(a *place) bool { return a.resets.n > 0 })
}

// isSet and the like sort types by how they are judged.
func isSet(leaf string) bool      { return strings.HasPrefix(leaf, "set-") }
func isFlag(leaf string) bool     { return strings.HasPrefix(leaf, "flag-") }
func isMap(leaf string) bool      { return leaf == "map" || leaf == "map-go" }
func isRegister(leaf string) bool { return strings.HasPrefix(leaf, "register-") }
func isCounter(leaf string) bool  { return leaf == "counter" }

// removeWins reports whether a removal beats what was concurrent with it.
func removeWins(leaf string) bool { return leaf == "set-rw" || leaf == "flag-dw" }

// takeWrites notes what a transaction writes.
func (x *index) takeWrites(t *history.Txn, at []*place) {
	if !t.Writes() {
		return
	}
	for j := range t.Ops {
		if t.Ops[j].Writes() {
			at[j].take(t, &t.Ops[j])
		}
	}
	if possible(t) {
		x.takeMarks(t, at)
	}
}

// take notes one write.
func (p *place) take(t *history.Txn, o *history.Op) {
	switch {
	case !possible(t):
		if o.Do == history.Assign || o.Do == history.Insert || o.Do == history.Enable {
			p.item(itemText(o)).failed = t
		}
	case o.Do == history.Reset:
		p.resets.take(t)
		p.resetOwnAdd(t)
	case o.Do == history.Add:
		p.takeAdd(t, o.Arg.Int)
	case o.Do == history.Remove || o.Do == history.Disable:
		p.item(itemText(o)).removes.take(t)
	default:
		p.item(itemText(o)).writers.take(t)
		if o.Do == history.Assign {
			p.assigns.take(t)
		}
	}
}

func (p *place) takeAdd(t *history.Txn, n int64) {
	if l := len(p.adds); l > 0 && p.adds[l-1].txn == t && !p.adds[l-1].reset {
		p.adds[l-1].n += n
		return
	}
	p.adds = append(p.adds, add{txn: t, n: n})
}

// resetOwnAdd notes that what t has added so far to the place, or below it, does not last.
func (p *place) resetOwnAdd(t *history.Txn) {
	for _, q := range append([]*place{p}, p.below...) {
		if l := len(q.adds); l > 0 && q.adds[l-1].txn == t {
			q.adds[l-1].reset = true
		}
	}
}

// itemText names the item that a write is on.
func itemText(o *history.Op) string {
	switch o.Do {
	case history.Assign:
		return o.Arg.Text
	case history.Insert, history.Remove:
		return o.Element
	}
	return ""
}

// takeMarks finds the transaction's last word on each item: it goes backwards, and what a later
// operation overrode counts no more.
func (x *index) takeMarks(t *history.Txn, at []*place) {
	type word struct {
		at      *place
		element string // of a set
	}
	later := make(map[word]bool, len(at))
	reset := map[*place]bool{}
	for j := len(at) - 1; j >= 0; j-- {
		o, p := &t.Ops[j], at[j]
		if o.Do == history.Reset {
			reset[p] = true
		}
		if !o.Writes() || o.Do == history.Add || reset[p] ||
			slices.ContainsFunc(p.above, func(a *place) bool { return reset[a] }) {
			continue
		}
		w := word{p, o.Element}
		if !later[w] {
			later[w] = true
			x.takeMark(t, p, o)
		}
	}
	slices.Reverse(x.marks[t.ID-1])
}

func (x *index) takeMark(t *history.Txn, p *place, o *history.Op) {
	i := p.item(itemText(o))
	if o.Do == history.Remove || o.Do == history.Disable {
		i.unmarks = append(i.unmarks, t)
		return
	}
	i.marks = append(i.marks, t)
	x.marks[t.ID-1] = append(x.marks[t.ID-1], mark{p, i})
}
