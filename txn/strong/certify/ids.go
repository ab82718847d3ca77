package certify

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// known is what became of an operation id.
type known struct {
	denied bool
	// time is that of the commit. A denial gets one more than the last commit before it: whoever was told a
	// time of region 0 before the denied try was sent was told an earlier one.
	time clock.Timestamp
}

// ids is the bounded memory of operation ids. The oldest are forgotten first, and low rises to their time.
// An unknown id may have been forgotten only if its After, told before its first try, is below low.
type ids struct {
	at    map[kv.OpID]known
	order []noted // from first on: oldest first, so times never fall
	first int
	low   clock.Timestamp
}

// noted is an id with what became of it, once more: to look each up in the table would make a snapshot
// take twice as long.
type noted struct {
	id kv.OpID
	known
}

func newIDs() ids { return ids{at: map[kv.OpID]known{}} }

// forgotten reports whether an unknown id with this After may have been known before.
func (t *ids) forgotten(after clock.Timestamp) bool { return after < t.low }

// hasRoom reports whether one more id can be noted. Forgetting a time above the last commit would
// refuse everybody until there is another commit; only denials without any commit between them have one.
func (t *ids) hasRoom(last clock.Timestamp, limit int) bool {
	return len(t.at) < limit || t.order[t.first].time <= last
}

// note enters an id, and forgets the oldest if there are too many.
func (t *ids) note(id kv.OpID, k known, limit int) {
	t.at[id] = k
	t.order = append(t.order, noted{id, k})
	for len(t.at) > limit {
		oldest := &t.order[t.first]
		t.low = max(t.low, oldest.time) // Refound has raised it above what is known
		delete(t.at, oldest.id)
		t.first++
	}
	if t.first > len(t.order)/2 && t.first > 64 {
		t.order = t.order[:copy(t.order, t.order[t.first:])]
		t.first = 0
	}
}
