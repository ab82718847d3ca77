package causal

import (
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// What is counted.
const (
	countTxns       = "transactions"
	countCommitted  = "transactions committed"
	countSeen       = "unknown outcomes that were seen"
	countUnseen     = "unknown outcomes that nobody saw"
	countFailed     = "transactions failed"
	countEventual   = "eventual transactions"
	countSessions   = "sessions"
	countRegisters  = "registers"
	countRepeated   = "registers with repeated values"
	countReset      = "registers reset"
	countReads      = "reads"
	countInitial    = "reads of nothing"
	countWrites     = "writes"
	countIgnored    = "operations ignored"
	countConditions = "conditions ignored"
)

// Counts that say how much a verdict stands on.
const (
	// CountPlaced is that of reads of what another transaction wrote: each puts that one before the reader.
	CountPlaced = "reads placed"
	// CountInferred is that of orders of two writes of a register that follow from what was read.
	CountInferred = "orders inferred"
)

// object is what a reset takes away.
type object struct{ bucket, key, kind string }

// place is a register: an object of its own, or a field in one.
type place struct {
	object
	path string
}

// version is a value of a register.
type version struct {
	register int32
	text     string
}

// origin is the write that made a version.
type origin struct {
	node  int32 // transaction
	op    int32 // the last of its operations that writes it
	final bool  // nothing that the transaction writes later replaces it
}

// What stands in registers.source for a read that has no origin.
const (
	initial = -1 // nothing was read: what was there before all writes
	nobody  = -2 // a value that nobody wrote
	unread  = -3 // no answer
)

// registers holds the operations on registers, with names and values turned into numbers.
type registers struct {
	first    []int32 // first[i] is where the operations of transaction i begin in the two below
	register []int32 // of each operation; -1: it is none on a register
	source   []int32 // of each operation, an index of origins, or one of the constants above
	sample   []*history.Op
	out      []bool // registers that were left out
	origins  []origin
}

// intern numbers registers and values, and says of each read whose write it saw.
func (r *run) intern() {
	r.first = make([]int32, len(r.h.Txns)+1)
	for i := range r.h.Txns {
		r.first[i+1] = r.first[i] + int32(len(r.h.Txns[i].Ops))
	}
	r.register = make([]int32, r.first[len(r.h.Txns)])
	r.source = make([]int32, len(r.register))
	r.counts[countTxns] = len(r.h.Txns)
	r.number()
	versions := r.writes()
	r.reads(versions)
	for _, left := range r.out {
		if !left {
			r.counts[countRegisters]++
		}
	}
}

// number gives each register a number, and leaves out those that a reset may have touched: a reset takes
// away only what its transaction has seen, so that a register may show an older write after it.
func (r *run) number() {
	reset := map[object]bool{}
	places := map[place]int32{}
	for i := range r.h.Txns {
		t := &r.h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			if o.Do == history.Reset && t.Outcome != history.Fail {
				reset[object{o.Bucket, o.Key, o.Type}] = true
			}
			r.register[int(r.first[i])+j] = r.numberOf(o, places)
		}
	}
	for p, n := range places {
		if reset[p.object] {
			r.out[n] = true
			r.counts[countReset]++
		}
	}
}

func (r *run) numberOf(o *history.Op, places map[place]int32) int32 {
	if o.Do != history.Get && o.Do != history.Assign || o.Leaf() != "register-lww" {
		r.counts[countIgnored]++
		return -1
	}
	p := place{object: object{o.Bucket, o.Key, o.Type}}
	if len(o.Path) > 0 {
		p.path = checker.Place(o)
	}
	n, ok := places[p]
	if !ok {
		n = int32(len(places))
		places[p] = n
		r.sample = append(r.sample, o)
		r.out = append(r.out, false)
	}
	return n
}

// writes finds the origin of each value. A failed write counts only where no other one wrote the value,
// so that a caller may try again with it.
func (r *run) writes() map[version]int32 {
	versions := map[version]int32{}
	last := map[int32]int32{} // register to the last of a transaction's operations that assigns to it
	for pass, failed := range []bool{false, true} {
		for i := range r.h.Txns {
			t := &r.h.Txns[i]
			if failed != (t.Outcome == history.Fail) {
				continue
			}
			clear(last)
			r.eachWrite(i, func(op, reg int32) { last[reg] = op })
			r.eachWrite(i, func(op, reg int32) {
				r.write(versions, version{reg, t.Ops[op].Arg.Text}, origin{int32(i), op, last[reg] == op}, pass == 0)
			})
		}
	}
	return versions
}

// eachWrite calls f with each operation of transaction i that assigns to a register.
func (r *run) eachWrite(i int, f func(op, reg int32)) {
	for j := range r.h.Txns[i].Ops {
		if reg := r.register[int(r.first[i])+j]; reg >= 0 && r.h.Txns[i].Ops[j].Writes() {
			f(int32(j), reg)
		}
	}
}

func (r *run) write(versions map[version]int32, v version, o origin, counts bool) {
	n, ok := versions[v]
	switch {
	case !ok:
		n = int32(len(r.origins))
		versions[v] = n
		r.origins = append(r.origins, o)
	case r.origins[n].node == o.node:
		r.origins[n] = o
	case counts && !r.out[v.register]:
		r.out[v.register] = true
		r.counts[countRepeated]++
	}
	r.source[r.first[o.node]+o.op] = n
}

// reads finds for each read whose write it saw.
func (r *run) reads(versions map[version]int32) {
	for i := range r.h.Txns {
		for j := range r.h.Txns[i].Ops {
			at, o := int(r.first[i])+j, &r.h.Txns[i].Ops[j]
			if r.register[at] < 0 || o.Writes() {
				continue
			}
			r.source[at] = unread
			if o.Got == nil {
				continue
			}
			if o.Got.Absent {
				r.source[at] = initial
			} else if n, ok := versions[version{r.register[at], o.Got.Text}]; ok {
				r.source[at] = n
			} else {
				r.source[at] = nobody
			}
		}
	}
}

// name tells a register.
func (r *run) name(reg int32) string { return checker.Place(r.sample[reg]) }

// value tells what an operation read or wrote, without the register.
func (r *run) value(n, op int32) string {
	o := &r.h.Txns[n].Ops[op]
	v := o.Got
	if o.Writes() {
		v = o.Arg
	}
	return checker.DescribeValue(o.Leaf(), v)
}
