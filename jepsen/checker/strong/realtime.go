package strong

import (
	"cmp"
	"math"
	"slices"

	"github.com/theriac-db/theriac/jepsen/history"
)

// span is when something took place.
type span struct{ start, end int64 }

// span of a transaction. One of unknown outcome may take effect at any later time.
func (x *index) span(txn int32) span {
	t := &x.txns[txn]
	if t.Outcome != history.OK {
		return span{t.Start, math.MaxInt64}
	}
	return span{t.Start, t.End}
}

// sweep calls link for the pairs (a, b) where a ended before b began, but those that follow from
// others: a frontier holds what has ended and is not before anything else that has ended. Its size
// is bounded by how much overlaps (as in Elle, Kingsbury and Alvaro 2020).
func sweep(spans []span, link func(a, b int)) {
	type event struct {
		at  int64
		end bool
		who int
	}
	events := make([]event, 0, 2*len(spans))
	for i, s := range spans {
		events = append(events, event{s.start, false, i}, event{s.end, true, i})
	}
	slices.SortFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(number(a.end), number(b.end)), cmp.Compare(a.who, b.who))
	})
	var frontier []int
	began := make([]int, len(spans)) // numbers of events
	ended := make([]int, len(spans))
	for i, e := range events {
		switch {
		case !e.end:
			began[e.who] = i
			for _, a := range frontier {
				link(a, e.who)
			}
		case e.at == math.MaxInt64:
			return
		default:
			ended[e.who] = i
			frontier = slices.DeleteFunc(frontier, func(a int) bool { return ended[a] < began[e.who] })
			frontier = append(frontier, e.who)
		}
	}
}
