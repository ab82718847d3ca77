package txn

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// MaxKnownIDs bounds the operation ids remembered from the log. 48 bytes each; when full, the
// oldest are forgotten and looked up in the log again when asked for.
const MaxKnownIDs = 1 << 18

// MaxDeniedIDs bounds the ids of which it was answered that they were not applied. They are kept
// until the node restarts, since a first try on its way could still arrive; when the table is full,
// no further such answer is given (ErrOverloaded).
const MaxDeniedIDs = 1 << 16

// opTable answers what became of an operation id. The log is the memory; the table is a window of
// it that opens with the first retry, so that operations pay nothing until somebody asks.
// It is not safe for concurrent use.
type opTable struct {
	underWay map[kv.OpID]*commit
	known    map[kv.OpID]clock.Timestamp
	order    []knownID // of known, by timestamp
	denied   map[kv.OpID]struct{}
	open     bool            // whether commits are noted in known
	from     clock.Timestamp // every id of a group above it is in known, once open
}

type knownID struct {
	id   kv.OpID
	time clock.Timestamp
}

func newOpTable() *opTable {
	return &opTable{
		underWay: map[kv.OpID]*commit{},
		known:    map[kv.OpID]clock.Timestamp{},
		denied:   map[kv.OpID]struct{}{},
		from:     clock.MaxTimestamp,
	}
}

// note remembers a committed id, if the window is open.
func (t *opTable) note(id kv.OpID, time clock.Timestamp) {
	if !t.open {
		return
	}
	t.known[id] = time
	t.order = append(t.order, knownID{id, time})
	for len(t.order) > MaxKnownIDs {
		t.forgetOldest()
	}
}

func (t *opTable) forgetOldest() {
	old := t.order[0]
	t.order = t.order[1:]
	t.from = max(t.from, old.time)
	if t.known[old.id] == old.time {
		delete(t.known, old.id)
	}
}

// covers reports whether an id of any group above since would be in the table.
func (t *opTable) covers(since clock.Timestamp) bool { return t.open && t.from <= since }

// fill adds what a look through the log above since found, oldest first. The caller opened the
// window before it looked, so that what was committed meanwhile is noted already.
func (t *opTable) fill(found []knownID, since clock.Timestamp) {
	if t.covers(since) {
		return
	}
	if room := MaxKnownIDs - len(t.order); len(found) > room {
		since = found[len(found)-room-1].time
		found = found[len(found)-room:]
	}
	merged := make([]knownID, 0, len(found)+len(t.order))
	for _, k := range found {
		if _, have := t.known[k.id]; !have {
			t.known[k.id] = k.time
			merged = append(merged, k)
		}
	}
	t.order = append(merged, t.order...)
	t.from = min(t.from, since)
}

// deny makes sure that an id is never applied by this process.
func (t *opTable) deny(id kv.OpID) error {
	if len(t.denied) >= MaxDeniedIDs {
		return kv.Errorf(kv.KindOverloaded, "too many operations were answered \"not applied\" since this node started (%d); "+
			"this one's outcome can be asked after a restart of the node", MaxDeniedIDs)
	}
	t.denied[id] = struct{}{}
	return nil
}
