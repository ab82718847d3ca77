package crdt

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// entry is an item in memory.
type entry struct {
	dot      clock.Dot // zero: forgotten
	snapshot []byte    // encoded; nil: no override, or a spent one
	op       []byte
	settled  bool // its dot may be forgotten
}

// Rewrite appends to dst a shorter list of items that reads the same as items at every snapshot that
// includes the horizon, now and after anything that may still arrive. kept counts the new items;
// when there are none, the leaf's key can be deleted.
//
// Every snapshot that is open or will be opened must include the horizon, and every effect that is
// not below the horizon, arrived or not, must have seen all of settled.
func Rewrite(leaf kv.Type, dst, items []byte, horizon, settled clock.Vector) (out []byte, kept int, err error) {
	r, err := rulesOf(leaf)
	if err != nil {
		return nil, 0, err
	}
	covered, err := coverAt(nil, r, items, horizon)
	if err != nil {
		return nil, 0, err
	}
	all := sorted(items)
	settled, err = lowered(settled, all, horizon)
	if err != nil {
		return nil, 0, err
	}
	below, above := spend(r, all, covered, horizon)
	for i := range below {
		below[i].settled = below[i].dot.IsZero() || settled.Sees(below[i].dot)
	}
	below = r.settle(below)
	for _, e := range below {
		dst = appendEntry(dst, e.dot, e.snapshot, e.op)
	}
	for _, e := range above {
		dst = appendEntry(dst, e.dot, e.snapshot, e.op)
	}
	return dst, len(below) + len(above), nil
}

// spend applies the overrides at or below the horizon to what they cover. Of these overrides an
// assign, or a flag-dw's mark, stays as a value with its dot; it has lost its snapshot, because it
// must not cover what gets forgotten beside it. What is above the horizon stays as it is.
func spend(r *leafRules, all []entry, covered cover, horizon clock.Vector) (below, above []entry) {
	below = make([]entry, 0, len(all))
	for _, e := range all {
		switch {
		case covered.covers(e.dot):
		case !visible(horizon, e.dot):
			above = append(above, e)
		case r.class(e.op) != vanish:
			e.snapshot = nil
			below = append(below, e)
		}
	}
	return below, above
}

// lowered takes settled down to what every override above the horizon has seen. Where the caller
// keeps its side of the contract that changes nothing. It costs little, and what it prevents could
// not be repaired: an override that covers something forgotten without having seen it.
func lowered(settled clock.Vector, all []entry, horizon clock.Vector) (clock.Vector, error) {
	for _, e := range all {
		if e.snapshot == nil || visible(horizon, e.dot) {
			continue
		}
		snapshot, rest, err := clock.DecodeVector(e.snapshot, e.dot.Time)
		if err != nil || len(rest) != 0 {
			return nil, errItems()
		}
		settled = settled.Meet(snapshot)
	}
	return settled, nil
}

// sorted decodes items that were checked before, in the order of dots, each dot once. Forgotten
// items come first, and all of them: they are different ones.
func sorted(items []byte) []entry {
	n, _ := CountItems(items)
	out := make([]entry, 0, n)
	for cur := (cursor{src: items}); cur.next(); {
		out = append(out, entry{dot: cur.dot, snapshot: cur.snapshot, op: cur.op})
	}
	return slices.CompactFunc(inOrder(out), func(a, b entry) bool { return a.dot == b.dot && !a.dot.IsZero() })
}

// inOrder sorts entries by their dots. Most come in order already.
func inOrder(entries []entry) []entry {
	byDot := func(a, b entry) int { return a.dot.Compare(b.dot) }
	if !slices.IsSortedFunc(entries, byDot) {
		slices.SortStableFunc(entries, byDot)
	}
	return entries
}
