package semantics

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/theriac-db/theriac/jepsen/history"
)

// checkReads judges every answer, in the order in which the transactions began: so that what a session
// was acknowledged is known before what it read then.
func (r *run) checkReads() {
	order := make([]int, len(r.txns))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.h.Txns[a].Start, r.h.Txns[b].Start) })
	for _, i := range order {
		r.checkTxn(i)
	}
}

// checkTxn judges a transaction's answers, each with what it had written before.
func (r *run) checkTxn(i int) {
	t := &r.h.Txns[i]
	r.mark++
	w := &overlay{mark: r.mark, run: r}
	for k := range t.Ops {
		o := &t.Ops[k]
		if o.Expect != nil && t.Outcome == history.OK {
			r.counts["comparisons"]++
			r.visit(w, r.node(o), spot{txn: i, op: k}, o.Expect)
		}
		switch {
		case o.Writes():
			w.apply(o)
		case o.Got == nil:
		case o.Do == history.Contains:
			r.counts["reads"]++
			r.visitLeaf(w, r.member(r.node(o), o.Element), spot{txn: i, op: k}, want{flag: o.Got.Flag})
		default:
			r.counts["reads"]++
			r.visit(w, r.node(o), spot{txn: i, op: k}, o.Got)
		}
	}
	r.settle(i, w)
}

// visit takes an answer apart into what it says of each leaf.
func (r *run) visit(w *overlay, n *node, at spot, v *history.Value) {
	switch {
	case isMap(n.kind):
		r.checkFields(n, at, v.Fields)
		r.visitMap(w, n, at, v.Fields)
	case isSet(n.kind):
		r.visitSet(w, n, at, v.List)
	default:
		if v != nil && n.kind == "register-mv" {
			r.checkTwice(n, at, sortedStrings(v.List))
		}
		r.visitLeaf(w, n.leaf, at, wantOf(n.kind, v))
	}
}

// checkTwice looks for what an answer lists twice, in a sorted list.
func (r *run) checkTwice(n *node, at spot, list []string) {
	for i := 1; i < len(list); i++ {
		if list[i] == list[i-1] {
			r.tell("wrong value", fmt.Sprintf("%s: it listed %q twice in %s", r.describe(at.txn), list[i], place(n)), at.txn)
			return
		}
	}
}

// checkFields does so for the fields of a map.
func (r *run) checkFields(n *node, at spot, fields []history.Field) {
	met := make(map[history.Step]bool, len(fields))
	for i := range fields {
		s := history.Step{Name: fields[i].Name, Type: fields[i].Type}
		if met[s] {
			r.tell("wrong value", fmt.Sprintf("%s: it listed the field %s twice in %s", r.describe(at.txn), fields[i].Name+":"+s.Type, place(n)), at.txn)
			return
		}
		met[s] = true
	}
}

func wantOf(kind string, v *history.Value) want {
	if v == nil {
		return want{absent: true}
	}
	x := want{absent: v.Absent, n: v.Int, text: v.Text, flag: v.Flag && !v.Absent}
	if kind == "register-mv" {
		x.list = slices.Compact(sortedStrings(v.List))
	}
	return x
}

func sortedStrings(list []string) []string {
	if sort.StringsAreSorted(list) {
		return list
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// visitSet judges each element that was ever named: those listed are in, all others are not.
func (r *run) visitSet(w *overlay, n *node, at spot, list []string) {
	list = sortedStrings(list)
	r.checkTwice(n, at, list)
	for _, l := range n.members {
		for len(list) > 1 && list[0] < l.element {
			list = list[1:]
		}
		r.visitLeaf(w, l, at, want{flag: len(list) > 0 && list[0] == l.element})
	}
}

// visitMap judges each field that was ever named: those not listed must be absent.
func (r *run) visitMap(w *overlay, n *node, at spot, fields []history.Field) {
	values := make(map[history.Step]*history.Value, len(fields))
	for i := range fields {
		values[history.Step{Name: fields[i].Name, Type: fields[i].Type}] = &fields[i].Value
	}
	for _, c := range n.fields {
		v := values[c.at.Path[len(c.at.Path)-1]]
		if v != nil && empty(c.kind, v) {
			r.tell("wrong value", r.describe(at.txn)+": it listed "+place(c)+" with nothing in it: a field without anything below is absent", at.txn)
		}
		switch {
		case c.leaf != nil:
			x := wantOf(c.kind, v)
			x.listed = v != nil && !v.Absent
			r.visitLeaf(w, c.leaf, at, x)
		case v == nil:
			r.visit(w, c, at, &history.Value{})
		default:
			r.visit(w, c, at, v)
		}
	}
}

// empty reports whether a listed field's value says that nothing is there.
func empty(kind string, v *history.Value) bool {
	switch kind {
	case "counter", "register-lww":
		return v.Absent
	case "flag-ew", "flag-dw":
		return !v.Flag
	}
	return len(v.Fields) == 0 && len(v.List) == 0
}

// visitLeaf judges what a read said of one leaf.
func (r *run) visitLeaf(w *overlay, l *leaf, at spot, x want) {
	r.counts[CountValues]++
	at.at = l
	d := &read{spot: at, want: x, snap: r.txns[at.txn].snap}
	own, all := w.on(l)
	d.all = all
	if own != nil {
		d.own, d.mine = *own, true
	}
	r.checkBounds(d)
	switch {
	case d.snap == nil:
		r.counts[CountUnseen]++
	case !d.settled() && r.unsureFor(d):
		r.counts[CountBeside]++
		l.reads = append(l.reads, *d)
	default:
		r.judge(d)
		if d.touched() {
			r.counts[CountInFull]++
		}
	}
}

// touched reports whether anything was ever written to the leaf, as far as the read's snapshot or its own transaction
// shows: that nothing is where nobody wrote says little.
func (d *read) touched() bool {
	for class := range d.at.items {
		for o, list := range d.at.items[class].of {
			if len(list) > 0 && list[0].time <= d.snap[o] {
				return true
			}
		}
	}
	return d.mine
}

// unsureFor reports whether a transaction of unknown outcome may matter to a read.
func (r *run) unsureFor(d *read) bool {
	for _, e := range d.at.unsure {
		if r.may(e.pending, d) {
			return true
		}
	}
	for n := d.at.on; n != nil; n = n.parent {
		for _, e := range n.unsure {
			if r.may(e.pending, d) {
				return true
			}
		}
	}
	return false
}

// may reports whether what is pending can be visible to a read. (What began after the read ended can't:
// boundPending has raised its threshold above the read's snapshot.)
func (r *run) may(p *pending, d *read) bool {
	_, perhaps := p.seenBy(d.snap)
	return perhaps && p.who != d.txn
}
