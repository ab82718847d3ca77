package workload_test

import (
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// forgetWhatWasAcknowledged has somebody at level strong find nothing in a register to which another one at that level had
// written before, and nobody at another.
func forgetWhatWasAcknowledged(h *history.History) bool {
	written, others := map[string]int64{}, map[string]bool{} // key to the first answer
	for i := range h.Txns {
		t := &h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			others[o.Key] = others[o.Key] || o.Do == history.Assign && t.Level != "strong"
			if o.Do == history.Assign && t.Outcome == history.OK && t.Level == "strong" {
				if at, met := written[o.Key]; !met || t.End < at {
					written[o.Key] = t.End
				}
			}
		}
	}
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Outcome != history.OK || t.Level != "strong" || t.Writes() {
			continue
		}
		for j := range t.Ops {
			o := &t.Ops[j]
			if at, met := written[o.Key]; met && at < t.Start && !others[o.Key] && answered(o, "register-lww") {
				for k := range t.Ops {
					if t.Ops[k].Key == o.Key && t.Ops[k].Type == o.Type {
						nothing(t.Ops[k].Got)
					}
				}
				return true
			}
		}
	}
	return false
}

// reorder has somebody find the last two elements of a list the other way round.
func reorder(h *history.History) bool {
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Outcome != history.OK || t.Writes() || t.Level != "strong" {
			continue
		}
		for j := range t.Ops {
			if o := &t.Ops[j]; answered(o, "register-lww") {
				if list := strings.Fields(o.Got.Text); len(list) > 1 {
					slices.Reverse(list)
					o.Got.Text = strings.Join(list, " ")
					return true
				}
			}
		}
	}
	return false
}

// missAnElement has a read of a level miss an element that it owes to a write.
func missAnElement(level string, owes func(r, w *history.Txn) bool) func(h *history.History) bool {
	return func(h *history.History) bool {
		writers := writersOf(h)
		for i := range h.Txns {
			r := &h.Txns[i]
			if r.Level != level || r.Outcome != history.OK {
				continue
			}
			for j := range r.Ops {
				o := &r.Ops[j]
				if o.Do != history.Get {
					continue
				}
				at := slices.IndexFunc(o.Got.List, func(e string) bool { return writers[e] != nil && owes(r, writers[e]) })
				if at >= 0 {
					o.Got.List = slices.Delete(o.Got.List, at, at+1)
					o.Got.Absent = len(o.Got.List) == 0
					return true
				}
			}
		}
		return false
	}
}

// old: a write was on a disk for longer than a read's bound when that began.
func old(r, w *history.Txn) bool { return w.Durability != "applied" && w.End < r.Start-r.Bound }

// writersOf are the transactions that acknowledged elements.
func writersOf(h *history.History) map[string]*history.Txn {
	out := map[string]*history.Txn{}
	for i := range h.Txns {
		for _, o := range h.Txns[i].Ops {
			if o.Do == history.Insert && h.Txns[i].Outcome == history.OK {
				out[o.Element] = &h.Txns[i]
			}
		}
	}
	return out
}

// loseElements takes what was acknowledged with a durability out of all final reads.
func loseElements(durability string) func(h *history.History) bool {
	return func(h *history.History) (told bool) {
		writers := writersOf(h)
		for i := range h.Txns {
			t := &h.Txns[i]
			for j := range t.Ops {
				o := &t.Ops[j]
				if !t.Final || o.Do != history.Get {
					continue
				}
				before := len(o.Got.List)
				o.Got.List = slices.DeleteFunc(o.Got.List, func(e string) bool { return writers[e] != nil && writers[e].Durability == durability })
				o.Got.Absent = len(o.Got.List) == 0
				told = told || len(o.Got.List) < before
			}
		}
		return told
	}
}

// forkStrongly has two readers who had seen two writes each miss another one of them.
func forkStrongly(h *history.History) bool {
	writers := map[string]int{}
	for i := range h.Txns {
		if o := &h.Txns[i].Ops[0]; o.Do == history.Assign && h.Txns[i].Outcome == history.OK {
			writers[o.Arg.Text] = i
		}
	}
	type both struct{ a, b string }
	seen := map[both]*history.Txn{}
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Final || t.Writes() || t.Outcome != history.OK || len(t.Ops) > 16 {
			continue
		}
		var found []*history.Op
		for j := range t.Ops {
			if o := &t.Ops[j]; answered(o, "register-lww") && writers[o.Got.Text] > 0 {
				found = append(found, o)
			}
		}
		if len(found) < 2 {
			continue
		}
		pair := both{found[0].Key, found[1].Key}
		other := seen[pair]
		if other == nil {
			seen[pair] = t
			continue
		}
		nothing(found[1].Got)
		for j := range other.Ops {
			if other.Ops[j].Key == pair.a {
				nothing(other.Ops[j].Got)
			}
		}
		return true
	}
	return false
}

// missEachOther takes out of what somebody at level strong found in a set what another one had put into it, who had not
// found the first one's either.
func missEachOther(h *history.History) bool {
	first := map[string]*history.Op{} // element to the read before it
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Outcome != history.OK || t.Level != "strong" || !t.Writes() {
			continue
		}
		for _, o := range t.Ops {
			if o.Do == history.Insert {
				first[o.Element] = &t.Ops[0]
			}
		}
	}
	for i := range h.Txns {
		t := &h.Txns[i]
		o := &t.Ops[0]
		if t.Outcome != history.OK || t.Level != "strong" || !t.Writes() || o.Do != history.Get {
			continue
		}
		at := slices.IndexFunc(o.Got.List, func(e string) bool { return first[e] != nil })
		if at >= 0 {
			o.Got.List = slices.Delete(o.Got.List, at, at+1)
			o.Got.Absent = len(o.Got.List) == 0
			return true
		}
	}
	return false
}

// skewTwo has somebody at level strong find what another one had replaced, who had read what the first one replaced.
func skewTwo(h *history.History) bool {
	writer := map[string]*history.Txn{}
	for i := range h.Txns {
		t := &h.Txns[i]
		for _, o := range t.Ops {
			if o.Do == history.Assign && t.Outcome == history.OK && t.Level == "strong" {
				writer[o.Arg.Text] = t
			}
		}
	}
	wrote := func(t *history.Txn) *history.Op {
		return &t.Ops[slices.IndexFunc(t.Ops, func(o history.Op) bool { return o.Do == history.Assign })]
	}
	found := func(t *history.Txn, key string) *history.Value {
		return t.Ops[slices.IndexFunc(t.Ops, func(o history.Op) bool { return o.Key == key && o.Do == history.Get })].Got
	}
	for i := range h.Txns {
		b := &h.Txns[i]
		if b.Outcome != history.OK || b.Level != "strong" || !b.Writes() {
			continue
		}
		for j := range b.Ops {
			o := &b.Ops[j]
			if o.Do != history.Get || o.Key == wrote(b).Key || writer[o.Got.Text] == nil {
				continue
			}
			a := writer[o.Got.Text]
			if mine := wrote(b).Key; same(found(a, mine), found(b, mine)) {
				*o.Got = *found(a, o.Key)
				return true
			}
		}
	}
	return false
}

func same(a, b *history.Value) bool { return a.Absent == b.Absent && a.Text == b.Text }

// weaken has somebody who asked for more be served at level causal.
func weaken(h *history.History) bool {
	at := slices.IndexFunc(h.Txns, func(t history.Txn) bool { return t.Served == "quorum" })
	if at < 0 {
		return false
	}
	h.Txns[at].Served = "causal"
	return true
}
