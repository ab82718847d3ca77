package sim

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// What must hold at every step. Each check takes what was observed and says what is wrong with it;
// nothing: "".

// risen: a vector never falls (E over a node's run; what is on its disk over all of them).
func risen(before, after clock.Vector) string {
	if after.Includes(before) {
		return ""
	}
	return fmt.Sprintf("fell from %s to %s", before, after)
}

// follows: a record is exposed behind the one before it in its lane, and with all that it depends on.
func follows(h kv.Header, exposed clock.Vector) string {
	if at := exposed.At(h.Lane.Region); at != h.Prev {
		return fmt.Sprintf("record %s follows %s, but was exposed behind %s", h.Stamp(), h.Prev, at)
	}
	for _, e := range h.Deps {
		if e.Region != h.Lane.Region && exposed.At(e.Region) < e.Time {
			return fmt.Sprintf("record %s depends on %s, but was exposed at %s", h.Stamp(), clock.Stamp(e), exposed)
		}
	}
	return ""
}

// shownEarly: what a node shows of its own lane is on its disk.
func shownEarly(own clock.Region, exposed clock.Vector, onDisk clock.Timestamp) string {
	if t := exposed.At(own); t > onDisk {
		return fmt.Sprintf("its own group %s is exposed, but only %s is on its disk", t, onDisk)
	}
	return ""
}

// sentEarly: a record that others are offered has been on its region's disk.
func sentEarly(h kv.Header, onDisk clock.Timestamp) string {
	if h.Time > onDisk {
		return fmt.Sprintf("record %s came while its region's disk had only %s", h.Stamp(), onDisk)
	}
	return ""
}

// answeredEarly: a write that was acknowledged as on disk is there.
func answeredEarly(r kv.Receipt, durability kv.Durability, onDisk clock.Timestamp) string {
	if durability == kv.DurabilityApplied || r.Commit.Time <= onDisk {
		return ""
	}
	return fmt.Sprintf("write %s was acknowledged as %s, but only %s is on disk", r.Commit, durability, onDisk)
}

// newest: a snapshot that is opened is what is exposed, or, if that was asked for, what is applied.
func newest(at, exposed, applied clock.Vector, wantsApplied bool) string {
	if wantsApplied {
		exposed = applied
	}
	if at.Equal(exposed) {
		return ""
	}
	return fmt.Sprintf("a snapshot is opened at %s, while it should be at %s", at, exposed)
}

// cutsHold: settled <= horizon <= exposed, and the horizon is below every open snapshot.
func cutsHold(settled, horizon, exposed clock.Vector, open map[uint64]clock.Vector) string {
	switch {
	case !horizon.Includes(settled):
		return fmt.Sprintf("settled is %s, above the horizon %s", settled, horizon)
	case !exposed.Includes(horizon):
		return fmt.Sprintf("the horizon is %s, above what is exposed, %s", horizon, exposed)
	}
	for _, at := range open {
		if !at.Includes(horizon) {
			return fmt.Sprintf("the horizon is %s, above the snapshot %s, which is open", horizon, at)
		}
	}
	return ""
}

// seenEverywhere: what is settled somewhere is exposed in every region.
func seenEverywhere(settled, exposed clock.Vector) string {
	if exposed.Includes(settled) {
		return ""
	}
	return fmt.Sprintf("%s is settled elsewhere, but only %s is exposed", settled, exposed)
}

// mayEnd is up to where a lane's log may be cut: all regions have had it on a disk, or, where logs are
// limited, most of them have. What a region has told stays true for who has not heard of the loss of its disk.
func mayEnd(had []clock.Timestamp, limited bool) clock.Timestamp {
	had = slices.Sorted(slices.Values(had))
	switch {
	case len(had) == 0:
		return 0
	case limited:
		return had[(len(had)-1)/2]
	}
	return had[0]
}

// kept: a lane's log holds what some region may ask for, all behind needed.
func kept(lane clock.Lane, needed clock.Timestamp, log logReader) string {
	if _, err := log(lane, needed, 1); errors.Is(err, kv.ErrTooOld) {
		return fmt.Sprintf("some region has had lane %s up to %s only: %v", lane, needed, err)
	}
	return ""
}

// untold: the first record behind what a crash left of a lane voids what it took back of it.
func untold(r *kv.Record, lacks kv.Interval) string {
	if r.Kind == kv.RecordVoid && r.Void.From <= lacks.From && r.Void.To >= lacks.To {
		return ""
	}
	return fmt.Sprintf("a crash took back what was shown up to %s, but record %s, behind %s, does not say so", lacks.To, r.Stamp(), lacks.From)
}

// depends: a record depends on all that its transactions have seen of other regions.
func depends(at clock.Stamp, deps clock.Vector, t *history.Txn) string {
	for region, time := range t.Snapshot {
		seen := clock.Stamp{Region: clock.Region(region), Time: clock.Timestamp(time)}
		if seen.Region != at.Region && deps.At(seen.Region) < seen.Time {
			return fmt.Sprintf("record %s depends on %s, but its transaction T%d has seen %s", at, deps, t.ID, seen)
		}
	}
	return ""
}

// registry is what all nodes together have written down: every record once, whoever has it.
type registry struct {
	mu      sync.Mutex
	records map[clock.Stamp]*written
	ids     map[kv.OpID]clock.Stamp
}

// written is a record, with what everything up to it in its lane depends on.
type written struct {
	encoded []byte
	prev    clock.Timestamp
	deps    clock.Vector // its own
	closure clock.Vector // of all up to it, once known
	known   bool         // closure is set
}

func newRegistry() *registry {
	return &registry{records: map[clock.Stamp]*written{}, ids: map[kv.OpID]clock.Stamp{}}
}

// add takes a record from a node's log: dots are unique, all regions have the same bytes under
// them, and an operation id is written once.
func (r *registry) add(encoded []byte) (*kv.Record, string) {
	record, err := kv.DecodeRecord(encoded)
	if err != nil {
		return &kv.Record{}, fmt.Sprintf("a log holds what is no record: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := record.Stamp()
	if w := r.records[at]; w != nil {
		if !bytes.Equal(w.encoded, encoded) {
			return record, fmt.Sprintf("there are two records %s, of %d and %d bytes", at, len(w.encoded), len(encoded))
		}
		return record, ""
	}
	r.records[at] = &written{encoded: bytes.Clone(encoded), prev: record.Prev, deps: record.Deps}
	for i := range record.Txns {
		id := record.Txns[i].ID
		if id.IsZero() {
			continue
		}
		if before, ok := r.ids[id]; ok {
			return record, fmt.Sprintf("operation %s was written twice, by %s and by %s", id, before, at)
		}
		r.ids[id] = at
	}
	return record, ""
}

// forget forgets a lane's records above a time: they are lost.
func (r *registry) forget(lane clock.Lane, after clock.Timestamp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := func(at clock.Stamp) bool { return at.Region == lane.Region && at.Time > after }
	maps.DeleteFunc(r.records, func(at clock.Stamp, _ *written) bool { return lost(at) })
	maps.DeleteFunc(r.ids, func(_ kv.OpID, at clock.Stamp) bool { return lost(at) })
}

// closed: a cut holds what everything in it depends on. It is not known while the registry lacks
// one of the records; unknown is then that.
func (r *registry) closed(v clock.Vector) (wrong string, unknown clock.Stamp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range v {
		w, missing := r.close(clock.Stamp(e))
		if w == nil {
			return "", missing
		}
		for _, d := range w.closure {
			if d.Region != e.Region && v.At(d.Region) < d.Time {
				return fmt.Sprintf("%s is exposed, and something up to it depends on %s, which is not: %s", clock.Stamp(e), clock.Stamp(d), v), clock.Stamp{}
			}
		}
	}
	return "", clock.Stamp{}
}

// close works out what all records of a lane up to one depend on; nil where one is not known.
func (r *registry) close(at clock.Stamp) (w *written, missing clock.Stamp) {
	var path []*written
	closure := clock.Vector(nil)
	for {
		w := r.records[at]
		if w == nil {
			return nil, at
		}
		if w.known {
			closure = w.closure
			break
		}
		path = append(path, w)
		if w.prev == 0 {
			break
		}
		at.Time = w.prev
	}
	for i := len(path) - 1; i >= 0; i-- {
		closure = closure.Join(path[i].deps)
		path[i].closure, path[i].known = closure, true
	}
	if len(path) > 0 {
		return path[0], clock.Stamp{}
	}
	return r.records[at], clock.Stamp{}
}

// depend checks the records of a history's transactions.
func (r *registry) depend(h *history.History) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Commit == nil || t.Outcome != history.OK {
			continue
		}
		at := clock.Stamp{Region: clock.Region(t.Commit.Region), Time: clock.Timestamp(t.Commit.Time)}
		if w := r.records[at]; w != nil {
			if wrong := depends(at, w.deps, t); wrong != "" {
				return wrong
			}
		}
	}
	return ""
}

// size is how many records there are.
func (r *registry) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records)
}
