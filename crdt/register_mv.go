package crdt

import (
	"bytes"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// RegisterMV holds all values that were assigned concurrently and not yet assigned over.
//
// Operations: assign any bytes, reset.
//
// Concurrency: all uncovered assigns count. Equal values count once, so that the value says what
// was assigned and not how often.
//
// Encoding of operations:
//
//	1 | value     assign
//
// Below settled an assign's dot is forgotten, and one of two equal values.
//
// Source: DeCandia et al., Dynamo (SOSP 2007), for the idea; Baquero et al., arXiv 1710.04469,
// section 4, for the form.
const RegisterMV kv.Type = 3

func init() {
	register(RegisterMV, definition{name: "register-mv", rules: &leafRules{
		encode:   encodeAssign,
		classify: classifyAssign,
		fold:     foldRegisterMV,
		settle:   settleRegisterMV,
	}})
}

func foldRegisterMV(items []byte, at clock.Vector) (kv.Value, error) {
	var space [coverRegions]clock.Entry
	c, err := coverAt(space[:0], definitions[RegisterMV].rules, items, at)
	if err != nil {
		return kv.Value{}, err
	}
	var values [][]byte
	for cur := (cursor{src: items}); cur.next(); {
		if cur.op[0] == opAssign && visible(at, cur.dot) && !c.covers(cur.dot) {
			values = append(values, cur.op[1:])
		}
	}
	slices.SortFunc(values, bytes.Compare)
	values = slices.CompactFunc(values, bytes.Equal)
	return kv.Value{Type: RegisterMV, Present: len(values) > 0, List: values}, nil
}

// settleRegisterMV forgets the dots of settled assigns. Of these, an equal value is one too many
// beside any other entry: every later override covers all that is settled.
func settleRegisterMV(below []entry) []entry {
	have := make(map[string]bool, len(below))
	for _, e := range below {
		if !e.settled {
			have[string(e.op)] = true
		}
	}
	forgotten := make([]entry, 0, len(below))
	for _, e := range below {
		if e.settled && !have[string(e.op)] {
			have[string(e.op)] = true
			e.dot = clock.Dot{}
			forgotten = append(forgotten, e)
		}
	}
	return append(forgotten, unsettled(below)...)
}
