package replication

import (
	"errors"
	"fmt"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// rejection is what is known of records that the store has refused: of a type that a newer version
// wrote, perhaps. The lane goes on one record at a time up to the one that is refused, and that one
// is offered again, less and less often, since only another version or another store would take it.
// Other lanes go on, but for what depends on it.
type rejection struct {
	upTo  clock.Timestamp // once this one is applied it is over
	again time.Duration   // monotonic; nothing is handed over before
	wait  backoff
	told  faults
}

// mustRest tells how long nothing of a lane is handed to the store; 0: it may be. While batches that
// follow a refused one are under way they are refused too, and nothing is taken from the queue.
func (l *inLane) mustRest(now time.Duration) time.Duration {
	switch {
	case l.rejection == nil:
		return 0
	case l.flying > 0:
		return SilenceAfter // its answer wakes
	}
	return max(0, l.rejection.again-now)
}

// landed notes that the store has answered a batch: on disk, or refused. Without any left the lane goes
// on from what the store has applied. The caller holds Replicator.mu.
func (l *inLane) landed() {
	if l.flying--; l.flying == 0 && l.dropped {
		l.restart()
	}
}

// refused takes a lane back to what the store has applied: it did not take a batch.
func (r *Replicator) refused(l *inLane, records []Incoming, err error) {
	last := records[len(records)-1].Record.Time
	r.mu.Lock()
	defer r.mu.Unlock()
	defer poke(r.applyWake)
	r.c.Exposure.Dropped(l.lane)
	l.taken, l.takenSum = l.applied, l.appliedSum
	l.reset()
	l.dropped = true
	l.landed()
	if l.rejection == nil {
		l.rejection = &rejection{upTo: last, wait: backoff{random: r.c.Random, limit: RefusedMax}, told: faults{time: r.c.Time}}
	}
	f := l.rejection
	if errors.Is(err, kv.ErrUnavailable) {
		return // what it follows or depends on was refused
	}
	f.upTo = last
	if len(records) > 1 {
		return // the next attempt finds out which
	}
	f.again = r.c.Time.Monotonic() + f.wait.next()
	err = fmt.Errorf("the store refuses record %s of lane %s: %w; what depends on it waits, and it is offered again: if a newer version wrote it, update this node", last, l.lane, err)
	if f.told.news(err) {
		r.c.Hooks.stuck(l.lane.Region, err)
	}
}

// accepted ends a refusal once what was refused is here. The caller holds mu.
func (r *Replicator) accepted(l *inLane) {
	f := l.rejection
	if f == nil || l.applied < f.upTo {
		return
	}
	l.rejection = nil
	if f.told.last != "" {
		r.c.Hooks.stuck(l.lane.Region, nil)
	}
}
