package causal

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// node is a transaction in the graph.
type node struct {
	in       bool // it has committed, as far as anybody can tell
	eventual bool // its reads follow from nothing, and nothing follows from them
	session  int32
	place    int32  // in its session
	reads    []read // of others' writes, one a register, by register; nil if eventual
	writes   []int32
}

// read is a transaction's first read of a register that it has not written before.
type read struct {
	register int32
	from     int32 // transaction, or initial
	op       int32 // of the reader
}

// commit says which transactions have committed: those of outcome ok, and those of unknown outcome
// that one of them has read from.
func (r *run) commit() {
	r.nodes = make([]node, len(r.h.Txns))
	var todo []int32
	for i := range r.h.Txns {
		t := &r.h.Txns[i]
		r.nodes[i].eventual = t.Level == "eventual"
		if t.Outcome == history.OK {
			r.nodes[i].in = true
			todo = append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = r.commitSources(n, todo[:len(todo)-1])
	}
	for i := range r.h.Txns {
		r.countOutcome(&r.h.Txns[i], &r.nodes[i])
	}
}

func (r *run) commitSources(n int32, todo []int32) []int32 {
	for at := r.first[n]; at < r.first[n+1]; at++ {
		if reg := r.register[at]; reg < 0 || r.out[reg] || r.source[at] < 0 {
			continue
		}
		from := r.origins[r.source[at]].node
		if !r.nodes[from].in && r.h.Txns[from].Outcome == history.Unknown {
			r.nodes[from].in = true
			todo = append(todo, from)
		}
	}
	return todo
}

func (r *run) countOutcome(t *history.Txn, n *node) {
	switch {
	case t.Outcome == history.Fail:
		r.counts[countFailed]++
		return
	case t.Outcome == history.OK:
		r.counts[countCommitted]++
	case n.in:
		r.counts[countSeen]++
	default:
		r.counts[countUnseen]++
	}
	if n.eventual {
		r.counts[countEventual]++
	}
}

// judge looks at each committed transaction by itself, and keeps what the others need to know of it.
func (r *run) judge() {
	own := map[int32]int32{}   // register to the last operation that wrote it
	first := map[int32]int32{} // register to the first operation that read it
	for i := range r.nodes {
		if !r.nodes[i].in {
			continue
		}
		clear(own)
		clear(first)
		for at := r.first[i]; at < r.first[i+1]; at++ {
			if reg := r.register[at]; reg >= 0 && !r.out[reg] {
				r.judgeOp(int32(i), at-r.first[i], own, first)
			}
		}
		r.keepWrites(int32(i), own)
	}
}

func (r *run) judgeOp(n, op int32, own, first map[int32]int32) {
	at := r.first[n] + op
	reg, src := r.register[at], r.source[at]
	if r.h.Txns[n].Ops[op].Writes() {
		own[reg] = op
		r.counts[countWrites]++
		return
	}
	if src == unread {
		return
	}
	r.counts[countReads]++
	if w, ok := own[reg]; ok {
		r.judgeOwn(n, op, w)
		return
	}
	if f, ok := first[reg]; ok && !r.nodes[n].eventual {
		if src != r.source[r.first[n]+f] {
			r.report(NonRepeatableRead, n, n, func() string {
				return fmt.Sprintf("T%d read %s twice, first %s and then %s, and had not written it in between",
					n+1, r.name(reg), r.value(n, f), r.value(n, op))
			})
		}
		return
	}
	first[reg] = op
	if r.judgeSource(n, op) && !r.nodes[n].eventual {
		r.keepRead(n, op)
	}
}

// judgeOwn: after its own write w a transaction reads that.
func (r *run) judgeOwn(n, op, w int32) {
	if r.source[r.first[n]+op] != r.source[r.first[n]+w] {
		r.report(OwnWriteNotRead, n, n, func() string {
			return fmt.Sprintf("T%d wrote %s = %s and then read %s there",
				n+1, r.name(r.register[r.first[n]+op]), r.value(n, w), r.value(n, op))
		})
	}
}

// judgeSource reports whether what a read saw is a value that a committed transaction left behind.
func (r *run) judgeSource(n, op int32) bool {
	at := r.first[n] + op
	what := func() string {
		return fmt.Sprintf("T%d read %s = %s", n+1, r.name(r.register[at]), r.value(n, op))
	}
	switch r.source[at] {
	case initial:
		return true
	case nobody:
		r.report(ThinAirRead, n, n, func() string { return what() + ", which nobody ever wrote" })
		return false
	}
	o := r.origins[r.source[at]]
	reader, writer := &r.h.Txns[n], &r.h.Txns[o.node]
	switch {
	case o.node == n:
		r.report(FutureRead, n, n, func() string { return what() + " before it wrote that itself" })
	case writer.Outcome == history.Fail:
		r.report(DirtyRead, n, o.node, func() string {
			return fmt.Sprintf("%s, which only T%d wrote, and T%d failed", what(), o.node+1, o.node+1)
		})
	case reader.Ended() && reader.End < writer.Start:
		r.report(FutureRead, n, o.node, func() string {
			return fmt.Sprintf("%s and ended at %d; T%d, the only one that wrote this value, began at %d",
				what(), reader.End, o.node+1, writer.Start)
		})
	case !o.final:
		r.report(IntermediateRead, n, o.node, func() string {
			return fmt.Sprintf("%s, which T%d wrote and replaced before it committed", what(), o.node+1)
		})
	default:
		return true
	}
	return false
}

// report tells an anomaly of one read, if there is room.
func (r *run) report(name string, n, other int32, text func() string) {
	if r.room(name) {
		r.tell(name, text(), []int32{n, other})
	}
}

func (r *run) keepRead(n, op int32) {
	at := r.first[n] + op
	from := int32(initial)
	if r.source[at] >= 0 {
		from = r.origins[r.source[at]].node
		r.counts[CountPlaced]++
	} else {
		r.counts[countInitial]++
	}
	r.nodes[n].reads = append(r.nodes[n].reads, read{r.register[at], from, op})
}

func (r *run) keepWrites(n int32, own map[int32]int32) {
	v := &r.nodes[n]
	slices.SortFunc(v.reads, func(a, b read) int { return cmp.Compare(a.register, b.register) })
	if len(own) == 0 {
		return
	}
	v.writes = make([]int32, 0, len(own))
	for reg, op := range own {
		v.writes = append(v.writes, reg)
		if r.h.Txns[n].Ops[op].Expect != nil {
			r.counts[countConditions]++
		}
	}
	slices.Sort(v.writes)
}

// wrote reports whether a transaction's writes hold a register.
func (v *node) wrote(reg int32) bool {
	_, ok := slices.BinarySearch(v.writes, reg)
	return ok
}

// readOf returns where the read of a register stands.
func (v *node) readOf(reg int32) (int, bool) {
	return slices.BinarySearchFunc(v.reads, reg, func(a read, reg int32) int { return cmp.Compare(a.register, reg) })
}
