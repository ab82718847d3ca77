package txn

import (
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Limits of what is remembered of operation ids. docs/reference/limits.md lists them.
const (
	// MaxKnownIDs bounds the operation ids remembered from the log, about 100 bytes each; when full,
	// the oldest are forgotten and looked up in the log again when asked for.
	MaxKnownIDs = 1 << 18
	// MaxSpentIDs bounds the ids that retries have written, or had denied, about 60 bytes each, against
	// first tries that come late. When half of them came within one turn, the turn ends early.
	MaxSpentIDs = 1 << 18
	// IncarnationTurn is after how long a process takes a new incarnation for first tries to name. It
	// goes on taking those that name the one before.
	IncarnationTurn = 30 * time.Minute
)

// fate is what the log says of an operation id.
type fate struct {
	time   clock.Timestamp // of the group that holds it
	denied bool            // it was logged as not applied, for good
}

// loggedID is an operation id as found in a group.
type loggedID struct {
	id kv.OpID
	fate
}

// opTable answers what became of an operation id. The log is the memory; the table is a window of
// it that opens with the first retry, so that operations pay nothing until somebody asks, and closes
// when nobody does for a turn.
// It is not safe for concurrent use.
type opTable struct {
	underWay map[kv.OpID]*commit

	known  map[kv.OpID]fate
	order  []loggedID      // of known, by timestamp
	open   bool            // whether commits are noted in known
	asked  bool            // somebody asked in this turn
	from   clock.Timestamp // every id of a group above it is in known, once open
	forgot clock.Timestamp // the newest group of which an id was dropped from known

	// spent are the ids that retries have written or had denied in this turn and in the one before
	// (invariant 7).
	spent  [2]map[kv.OpID]fate
	turn   uint64
	turned time.Duration // when, in uptime

	pins    map[kv.OpID]*pin // of ids that are being looked up
	next    *search          // that takes up who comes now; nil: nobody has come
	looking bool             // a search runs, and will run next after it
	waiting int              // in searches
}

// pin keeps what is learned of an id while somebody waits to hear of it, however full the table is.
type pin struct {
	holders int
	found   bool
	fate
}

func (p *pin) learn(f fate) { p.found, p.fate = true, f }

func newOpTable() *opTable {
	return &opTable{
		underWay: map[kv.OpID]*commit{},
		known:    map[kv.OpID]fate{},
		spent:    [2]map[kv.OpID]fate{{}, {}},
		pins:     map[kv.OpID]*pin{},
		from:     clock.MaxTimestamp,
	}
}

// note remembers an id that was logged just now, if the window is open.
func (t *opTable) note(id kv.OpID, f fate) {
	if p := t.pins[id]; p != nil {
		p.learn(f)
	}
	if !t.open {
		return
	}
	t.known[id] = f
	t.order = append(t.order, loggedID{id, f})
	for len(t.order) > MaxKnownIDs {
		t.forgetOldest()
	}
}

func (t *opTable) forgetOldest() {
	old := t.order[0]
	t.order = t.order[1:]
	t.forgot = max(t.forgot, old.time)
	t.from = max(t.from, t.forgot)
	if t.known[old.id] == old.fate {
		delete(t.known, old.id)
	}
}

// lookup is what is known of an id's group.
func (t *opTable) lookup(id kv.OpID) (fate, bool) {
	for _, ids := range []map[kv.OpID]fate{t.known, t.spent[0], t.spent[1]} {
		if f, ok := ids[id]; ok {
			return f, true
		}
	}
	if p := t.pins[id]; p != nil && p.found {
		return p.fate, true
	}
	return fate{}, false
}

// covers reports whether an id of any group above since would be in the table.
func (t *opTable) covers(since clock.Timestamp) bool { return t.open && t.from <= since }

// fill adds what a search of the log above since found, oldest first. The window was open before the
// search began, so that what was committed meanwhile is noted already.
func (t *opTable) fill(found []loggedID, since clock.Timestamp) {
	if room := MaxKnownIDs - len(t.order); len(found) > room {
		since = found[len(found)-room-1].time
		found = found[len(found)-room:]
	}
	since = max(since, t.forgot)
	if since >= t.from {
		return
	}
	merged := make([]loggedID, 0, len(found)+len(t.order))
	for _, k := range found {
		if _, have := t.known[k.id]; !have && k.time > since {
			t.known[k.id] = k.fate
			merged = append(merged, k)
		}
	}
	t.order = append(merged, t.order...)
	t.from = since
}

// spend remembers what became of a retry, for first tries that come after it.
func (t *opTable) spend(id kv.OpID, f fate) {
	if len(t.spent[0]) >= MaxSpentIDs/2 {
		t.endTurn()
	}
	t.spent[0][id] = f
}

// turnIfDue ends the turn when it is time, now being the uptime.
func (t *opTable) turnIfDue(now time.Duration) {
	if now-t.turned < IncarnationTurn {
		return
	}
	t.endTurn()
	t.turned = now
	if !t.asked && !t.looking && t.waiting == 0 {
		t.close()
	}
	t.asked = false
}

// close ends the window: operations pay for nothing again until somebody asks. No search may be on its
// way, since what is committed meanwhile would be missing beside what it finds.
func (t *opTable) close() {
	t.known, t.order, t.open = map[kv.OpID]fate{}, nil, false
	t.from, t.forgot = clock.MaxTimestamp, 0
}

// endTurn frees the ids of the turn before this one: no first try that was sent then is taken now.
func (t *opTable) endTurn() {
	t.turn++
	t.spent = [2]map[kv.OpID]fate{{}, t.spent[0]}
}

// pin begins to keep what is learned of an id; every pin is unpinned once.
func (t *opTable) pin(id kv.OpID) {
	if t.pins[id] == nil {
		t.pins[id] = &pin{}
	}
	t.pins[id].holders++
}

func (t *opTable) unpin(id kv.OpID) {
	p := t.pins[id]
	if p.holders--; p.holders == 0 {
		delete(t.pins, id)
	}
}
