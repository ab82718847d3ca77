package crdt

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Operation codes of both flags.
const (
	opEnable  = 1
	opDisable = 2
)

func encodeFlag(op *kv.Op) ([]byte, error) {
	if len(op.Data) != 0 {
		return nil, kv.Errorf(kv.KindInvalid, "%s of %s carries %d bytes of data: it takes none", op.Verb, describe(op), len(op.Data))
	}
	switch op.Verb {
	case kv.VerbEnable:
		return []byte{opEnable}, nil
	case kv.VerbDisable:
		return []byte{opDisable}, nil
	}
	return nil, unknownVerb(op, "enable, disable and reset")
}

// marks says which marks of a flag are uncovered at a snapshot.
func marks(t kv.Type, items []byte, at clock.Vector) (enabled, disabled bool, err error) {
	var space [coverRegions]clock.Entry
	c, err := coverAt(space[:0], definitions[t].rules, items, at)
	if err != nil {
		return false, false, err
	}
	for cur := (cursor{src: items}); cur.next(); {
		if !visible(at, cur.dot) || c.covers(cur.dot) {
			continue
		}
		enabled = enabled || cur.op[0] == opEnable
		disabled = disabled || cur.op[0] == opDisable
	}
	return enabled, disabled, nil
}

// split separates entries by their operation code, in order.
func split(entries []entry) (enables, disables []entry) {
	for _, e := range entries {
		if e.op[0] == opEnable {
			enables = append(enables, e)
		} else {
			disables = append(disables, e)
		}
	}
	return enables, disables
}

// settleEnables keeps what says that a flag is enabled while nothing says that it is not. An
// enable that is settled is one too many beside any other, since every later override covers it; a
// last one stays, forgotten.
func settleEnables(enables []entry) []entry {
	if open := latest(unsettled(enables)); len(open) > 0 || len(enables) == 0 {
		return open
	}
	return []entry{{op: enables[0].op, settled: true}}
}

// unsettled gives the entries whose dots must be kept, in order.
func unsettled(entries []entry) []entry {
	var out []entry
	for _, e := range entries {
		if !e.settled {
			out = append(out, e)
		}
	}
	return out
}

// latest keeps the last entry of each region, in order; entries come in the order of dots. It is for
// entries at or below the horizon of which one is enough: an override that covers a region's later
// effect covers its earlier ones too, so an earlier one never stands alone.
func latest(entries []entry) []entry {
	var out []entry
	for i, e := range entries {
		if !regionIn(entries[i+1:], e.dot.Region) {
			out = append(out, e)
		}
	}
	return out
}

func regionIn(entries []entry, r clock.Region) bool {
	for i := range entries {
		if entries[i].dot.Region == r {
			return true
		}
	}
	return false
}
