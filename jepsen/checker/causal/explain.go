package causal

import (
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
)

// maxExplained reads that can't be are explained; the others are counted.
const maxExplained = 200

// countUnexplained counts reads that can't be and of which nothing more is said.
const countUnexplained = "anomalies not explained"

// explainRead tells that t had seen w's write and yet read one that comes before it.
func (r *run) explainRead(t int32, rd read, w int32) {
	if r.impossible++; r.impossible > maxExplained {
		r.counts[countUnexplained]++
		return
	}
	saw := r.path(w, t, within{})
	reg := r.name(rd.register)
	var text string
	nodes := append(ends(saw), t, w)
	order := r.steps(saw)
	if rd.from == initial {
		text = fmt.Sprintf("T%d read nothing in %s, though it had seen T%d, which wrote %s there (%s)",
			t+1, reg, w+1, r.written(w, rd.register), r.tellHops(saw))
		order = append(order, step(t, w, fmt.Sprintf("T%d read nothing in %s, where T%d wrote", t+1, reg, w+1)))
	} else {
		later := r.path(rd.from, w, within{})
		text = fmt.Sprintf("T%d read T%d's %s = %s, though it had seen T%d (%s), which wrote %s there after T%d (%s)",
			t+1, rd.from+1, reg, r.value(t, rd.op), w+1, r.tellHops(saw), r.written(w, rd.register), rd.from+1, r.tellHops(later))
		nodes = append(append(nodes, ends(later)...), rd.from)
		order = append(append(order, r.steps(later)...), step(t, w,
			fmt.Sprintf("T%d read %s = %s, which T%d replaced", t+1, reg, r.value(t, rd.op), w+1)))
	}
	if name := nameOf(saw); r.room(name) {
		r.tell(name, text, nodes, order...)
	}
}

func step(from, to int32, why string) checker.Step {
	return checker.Step{From: int(from) + 1, To: int(to) + 1, Why: why}
}

// steps are the hops of a path.
func (r *run) steps(path []hop) []checker.Step {
	var steps []checker.Step
	for _, h := range path {
		steps = append(steps, step(h.from, h.to, r.tellHop(h)))
	}
	return steps
}

// explainCycle tells why the transactions of a cycle can't be put into an order.
func (r *run) explainCycle(cycle []hop) {
	var steps []string
	var order []checker.Step
	nodes := ends(cycle)
	for _, h := range cycle {
		text, more := r.tellStep(h)
		order = append(order, step(h.from, h.to, text))
		steps = append(steps, fmt.Sprintf("T%d before T%d, because %s", h.from+1, h.to+1, text))
		nodes = append(nodes, more...)
	}
	if name := r.nameCycle(cycle); r.room(name) {
		r.tell(name, "No order of the transactions explains what was read: "+strings.Join(steps, "; "), nodes, order...)
	}
}

// tellStep tells why a hop is one, and which other transactions show it.
func (r *run) tellStep(h hop) (string, []int32) {
	if h.kind != mustOrder {
		return r.tellHop(h), nil
	}
	o := r.inferred[h.order]
	saw := r.path(o.earlier, o.reader, within{})
	i, _ := r.nodes[o.reader].readOf(o.register)
	return fmt.Sprintf("T%d, which had seen T%d's %s = %s (%s), read T%d's %s there instead",
		o.reader+1, o.earlier+1, r.name(o.register), r.written(o.earlier, o.register), r.tellHops(saw),
		o.later+1, r.value(o.reader, r.nodes[o.reader].reads[i].op)), append(ends(saw), o.reader)
}

func (r *run) tellHops(path []hop) string {
	parts := make([]string, len(path))
	for i, h := range path {
		parts[i] = r.tellHop(h)
	}
	return strings.Join(parts, "; ")
}

func (r *run) tellHop(h hop) string {
	if h.kind == inSession {
		return fmt.Sprintf("T%d came after T%d in session %d", h.to+1, h.from+1, r.h.Txns[h.to].Session)
	}
	for _, rd := range r.nodes[h.to].reads {
		if rd.from == h.from {
			return fmt.Sprintf("T%d read T%d's %s = %s", h.to+1, h.from+1, r.name(rd.register), r.value(h.to, rd.op))
		}
	}
	panic("causal: a hop between transactions that have nothing to do with each other")
}

// written tells what a transaction left in a register.
func (r *run) written(n, reg int32) string {
	text := ""
	r.eachWrite(int(n), func(op, of int32) {
		if of == reg {
			text = r.value(n, op)
		}
	})
	return text
}

// ends returns the transactions of a path.
func ends(path []hop) []int32 {
	var nodes []int32
	for _, h := range path {
		nodes = append(nodes, h.from, h.to)
	}
	return nodes
}

// nameOf names the guarantee that a reader misses who had seen a write along a path and read an older one.
func nameOf(saw []hop) string {
	kinds := ""
	for _, h := range saw {
		kinds += map[kind]string{inSession: "s", readFrom: "r"}[h.kind]
	}
	switch kinds {
	case "r":
		return FracturedRead
	case "s":
		return ReadYourWrites
	case "rs":
		return MonotonicReads
	case "sr":
		return MonotonicWrites
	case "rsr":
		return WritesFollowReads
	}
	return CausalityViolated
}

// nameCycle names a cycle after one guarantee if a single reader, or a single session, shows it.
func (r *run) nameCycle(cycle []hop) string {
	name, reader := "", int32(initial)
	for _, h := range cycle {
		if h.kind != mustOrder {
			continue
		}
		o := r.inferred[h.order]
		this := nameOf(r.path(o.earlier, o.reader, within{}))
		switch {
		case name == "":
			name, reader = this, o.reader
		case this == FracturedRead && name == this && o.reader == reader:
		case ofReads(this) && ofReads(name) && r.sameSession(o.reader, reader):
			name = MonotonicReads
		default:
			return CausalityViolated
		}
	}
	if name == "" {
		return CausalityViolated
	}
	return name
}

// ofReads: what a session had seen by its own writes and reads only.
func ofReads(name string) bool { return name == MonotonicReads || name == ReadYourWrites }

func (r *run) sameSession(a, b int32) bool {
	return r.nodes[a].session >= 0 && r.nodes[a].session == r.nodes[b].session
}
