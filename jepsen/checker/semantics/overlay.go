package semantics

import "github.com/theriac-db/theriac/jepsen/history"

// overlay is what a transaction has done so far: what its later operations override of its earlier
// ones is settled here, as DESIGN's section 4 has it settled before anything is stored.
type overlay struct {
	run     *run
	mark    int
	effects []effect
	resets  []*node
}

// apply takes in a write.
func (w *overlay) apply(o *history.Op) {
	n := w.run.node(o)
	if o.Do == history.Reset {
		w.reset(n)
		return
	}
	l := n.leaf
	if l == nil {
		l = w.run.member(n, o.Element)
	}
	e := w.of(l)
	switch o.Do {
	case history.Add:
		e.n += o.Arg.Int
		e.live = true
	case history.Assign:
		e.covers[positive] = e.covers[positive] || l.kind == "register-mv"
		e.live, e.text = true, o.Arg.Text
	case history.Insert, history.Enable:
		e.covers[disables] = e.covers[disables] || l.kind == "flag-dw"
		e.live, e.class = true, positive
	case history.Remove, history.Disable:
		e.covers[positive] = true
		e.live, e.class = l.kind == "flag-dw", disables
	}
}

// of is the effect on a leaf, a new one if there is none yet.
func (w *overlay) of(l *leaf) *effect {
	if l.mark != w.mark {
		l.mark, l.slot = w.mark, len(w.effects)
		w.effects = append(w.effects, effect{leaf: l})
	}
	return &w.effects[l.slot]
}

// reset takes away all that was there, the transaction's own included.
func (w *overlay) reset(n *node) {
	w.resets = append(w.resets, n)
	for i := range w.effects {
		if e := &w.effects[i]; e.leaf.within(n) {
			e.live, e.n, e.text, e.class = false, 0, "", positive
		}
	}
}

// on is what the transaction did to a leaf: nil and false if nothing. all tells that it reset it.
func (w *overlay) on(l *leaf) (e *effect, all bool) {
	if l.mark == w.mark {
		e = &w.effects[l.slot]
	}
	for _, n := range w.resets {
		all = all || l.within(n)
	}
	return e, all
}
