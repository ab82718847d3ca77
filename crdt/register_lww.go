package crdt

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// RegisterLWW holds one value; the last writer wins.
//
// Operations: assign any bytes, reset.
//
// Concurrency: of the uncovered assigns the one with the highest dot (timestamp, region, index)
// wins. Timestamps respect causality, so a later assign always beats one that it has seen. A reset
// takes back the assigns that it has seen, winner or not: a concurrent assign that had lost to one
// of them comes back.
//
// Encoding of operations:
//
//	1 | value     assign
//
// The winner's dot is never forgotten: whoever compares it with what arrives must know its place in
// the order, also beside effects below the horizon that are not settled.
//
// Source: Johnson, Thomas: The Maintenance of Duplicate Databases (RFC 677, 1975), for the rule;
// Baquero et al., arXiv 1710.04469, for the form. We differ in the order: hybrid logical clocks.
const RegisterLWW kv.Type = 2

func init() {
	register(RegisterLWW, definition{name: "register-lww", rules: &leafRules{
		encode:   encodeAssign,
		classify: classifyAssign,
		fold:     foldRegisterLWW,
		settle:   settleRegisterLWW,
	}})
}

const opAssign = 1

func encodeAssign(op *kv.Op) ([]byte, error) {
	if op.Verb != kv.VerbAssign {
		return nil, unknownVerb(op, "assign and reset")
	}
	return append([]byte{opAssign}, op.Data...), nil
}

func classifyAssign(op []byte) class {
	if op[0] != opAssign {
		return malformed
	}
	return keep
}

func foldRegisterLWW(items []byte, at clock.Vector) (kv.Value, error) {
	var space [coverRegions]clock.Entry
	c, err := coverAt(space[:0], definitions[RegisterLWW].rules, items, at)
	if err != nil {
		return kv.Value{}, err
	}
	v, winner := kv.Value{Type: RegisterLWW}, clock.Dot{}
	for cur := (cursor{src: items}); cur.next(); {
		if cur.op[0] != opAssign || !visible(at, cur.dot) || c.covers(cur.dot) {
			continue
		}
		if !v.Present || later(cur.dot, winner) {
			v.Present, v.Bytes, winner = true, cur.op[1:], cur.dot
		}
	}
	return v, nil
}

// later reports whether an assign wins over another one.
func later(dot, than clock.Dot) bool {
	if dot.Time.Wall() == than.Time.Wall() && mutant.On(mutant.LastWriterByWall) {
		return false
	}
	return dot.Compare(than) > 0
}

// settleRegisterLWW drops losers that are settled: whatever covers the winner later has seen them
// too. A loser that is not settled may win again, by a reset that has seen the winner only; of one
// region's losers only the latest can.
func settleRegisterLWW(below []entry) []entry {
	kept := make([]entry, 0, len(below))
	for i, e := range below {
		if i == len(below)-1 || !e.settled { // in the order of dots: the last is the winner
			kept = append(kept, e)
		}
	}
	return latest(kept)
}
