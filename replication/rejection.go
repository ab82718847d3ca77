package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
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
	// offered is how often the store had no room for it.
	offered int
	told    faults
}

// overloadedTold is how often the store has no room for a record before that is told: about ten seconds.
const overloadedTold = 100

// mustRest tells how long nothing of a lane is handed to the store; 0: it may be. While batches that
// follow a refused one are under way they are refused too, and nothing is taken from the queue.
func (l *inLane) mustRest(now time.Duration) time.Duration {
	switch {
	case l.asked > 0:
		return SilenceAfter // goOn wakes
	case l.rejection == nil:
		return 0
	case len(l.flying) > 0:
		return SilenceAfter // its answer wakes
	}
	return max(0, l.rejection.again-now)
}

// landed notes that the store has answered a batch: on disk, or refused. Without any left the lane goes
// on from what the store has applied. The caller holds Replicator.mu.
func (l *inLane) landed(batch []Incoming) {
	l.flying = slices.DeleteFunc(l.flying, func(b []Incoming) bool { return &b[0] == &batch[0] })
	if len(l.flying) > 0 {
		return
	}
	if l.dropped {
		l.restart()
	}
	if l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// rest lets go of what waits of the lane of a peer that recovers, with the same store or another, waits
// until the store has answered all that it was given, and keeps more from it until goOn is called. The
// peer waits for what it is told that this node holds, so it must not be told of what the store then
// refuses; nor may anything be applied behind its back: what it has lost and nobody tells it of it writes
// over.
func (r *Replicator) rest(peer *peerv1.Hello) (goOn func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.in[clock.Lane{Region: clock.Region(peer.GetRegion())}]
	if l == nil || !peer.GetRecovering() {
		return func() {}, nil
	}
	l.restart()
	l.asked++
	goOn = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		l.asked--
		poke(r.applyWake)
	}
	if len(l.flying) == 0 {
		return goOn, nil
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	idle := l.idle
	r.mu.Unlock()
	err = r.within(idle)
	if err != nil {
		goOn()
	}
	r.mu.Lock()
	return goOn, err
}

// within waits until done is closed, as long as a handshake may take.
func (r *Replicator) within(done <-chan struct{}) error {
	timer, stop := r.c.Time.NewTimer(HandshakeTimeout)
	defer stop()
	select {
	case <-done:
		return nil
	case <-timer:
		return kv.Errorf(kv.KindUnavailable, "the store has not answered within %v what it was given of the peer's lane", HandshakeTimeout)
	case <-r.context().Done():
		return context.Cause(r.context())
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
	l.landed(records)
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
	now := r.c.Time.Monotonic()
	if errors.Is(err, kv.ErrOverloaded) { // it passes by itself
		f.again = now + OverloadedPause
		if f.offered++; f.offered < overloadedTold {
			return
		}
		err = fmt.Errorf("record %s of lane %s waits: %w", last, l.lane, err)
	} else {
		f.again = now + f.wait.next()
		err = fmt.Errorf("the store refuses record %s of lane %s: %w; what depends on it waits, and it is offered again: if a newer version wrote it, update this node", last, l.lane, err)
	}
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
