package txn

import (
	"context"
	"errors"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

const (
	// retrySlack is added to the age that a client states which knows no reading (kv.Attempt.After), for
	// the way to the node: the Go client ends a connection that acknowledges nothing for 3 seconds, and
	// with it what is on its way.
	retrySlack = 10 * time.Second
	// driftShare of the age is added too: so much two monotonic clocks may differ in speed, each of which
	// may be slewed by 500 parts in a million.
	driftShare = 1000
	// stallKept is how long after a stall of the process what arrives may have waited for its end.
	stallKept = time.Minute
	// MaxRetryAge is the oldest first try that a retry may refer to.
	MaxRetryAge = 24 * time.Hour
)

// admit lets a commit with an operation id in, at most once (invariant 5). It returns the try that
// came first when there is one under way, or the answer when it is known; both nil: it is queued.
func (c *Committer) admit(ctx context.Context, w *commit) (first *commit, known *result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.attempt.Retry {
		if err := c.rightIncarnation(w.attempt); err != nil {
			return nil, &result{err: err}
		}
		return c.admitLocked(w)
	}
	c.ids.asked = true
	id := w.attempt.ID
	since, err := c.since(w.attempt)
	if err != nil {
		return nil, &result{err: err}
	}
	if mutant.On(mutant.RetryWrittenAgain) {
		return c.queueLocked(w)
	}
	if first, known := c.seenLocked(w.attempt); first != nil || known != nil {
		return first, known
	}
	if !c.ids.covers(since) {
		c.ids.pin(id)
		defer c.ids.unpin(id)
		if err := c.searchLocked(ctx, id, since); err != nil {
			return nil, &result{err: unknown(w.attempt, kv.KindOf(err), "operation %s: the log could not be searched back to its first try: %w", id, err)}
		}
	}
	return c.admitLocked(w)
}

// admitLocked queues a commit whose id nobody has seen.
func (c *Committer) admitLocked(w *commit) (first *commit, known *result) {
	if first, known := c.seenLocked(w.attempt); first != nil || known != nil {
		return first, known
	}
	return c.queueLocked(w)
}

func (c *Committer) queueLocked(w *commit) (first *commit, known *result) {
	if err := c.enqueueLocked(w); err != nil {
		return nil, &result{err: undecided(w.attempt, err)}
	}
	c.ids.underWay[w.attempt.ID] = w
	return nil, nil
}

// seenLocked is the try of an operation that is under way, or what is known of the operation. What
// is under way may be in the log before it is on disk, so that comes first.
func (c *Committer) seenLocked(a kv.Attempt) (first *commit, known *result) {
	if first := c.ids.underWay[a.ID]; first != nil {
		return first, nil
	}
	if err := c.stillWriting(a); err != nil {
		return nil, &result{err: err}
	}
	f, found := c.ids.lookup(a.ID)
	switch {
	case found && !f.denied:
		stamp := clock.Stamp{Region: c.lane.Region, Time: f.time}
		return nil, &result{stamp: stamp, snapshot: clock.VectorOf(clock.Entry(stamp))}
	case found:
		return nil, &result{denied: true,
			err: kv.Errorf(kv.KindAborted, "operation %s was answered \"not applied\" before; use a new id", a.ID)}
	}
	return nil, nil
}

// stillWriting refuses to say anything of an earlier try once the store has failed: what its log
// shows may never have reached the disk.
func (c *Committer) stillWriting(a kv.Attempt) error {
	failed := c.store.Failed()
	if failed == nil || !a.Retry {
		return nil
	}
	return unknown(a, kv.KindReadOnly, "operation %s: what became of its first try is known after a restart of this node: %w", a.ID, failed)
}

// unknown is an error that leaves open what became of an operation.
func unknown(a kv.Attempt, k kv.Kind, format string, args ...any) *kv.Error {
	err := kv.Errorf(k, format, args...).WithOutcome(kv.OutcomeUnknown)
	err.ID = a.ID
	var cause *kv.Error
	if errors.As(err.Err, &cause) {
		err.RetryAfter = cause.RetryAfter
	}
	return err
}

// undecided is the error of a try that was not written. It decides the operation if that is its only
// try; of a retry others may be on their way, and only the log can rule them out (invariant 6).
func undecided(a kv.Attempt, err error) error {
	if !a.Retry || kv.OutcomeOf(err) != kv.NotApplied {
		return err
	}
	return unknown(a, kv.KindOf(err), "operation %s: %w", a.ID, err)
}

// Incarnation is what first tries name, so that this process takes them. It changes with every turn.
func (c *Committer) Incarnation() uint64 { return c.named.Load() }

// uptime is how long ago this committer started.
func (c *Committer) uptime() time.Duration { return c.mono() - c.started }

// turnIfDue ends an incarnation's turn when it is time, and notes that the process runs.
func (c *Committer) turnIfDue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids.turnIfDue(c.uptime())
	c.beats.beat(c.uptime())
	c.nameLocked()
	c.markLocked()
}

// nameLocked tells first tries what to name. An odd number, so is every one that it goes on to.
func (c *Committer) nameLocked() { c.named.Store(c.incarnation + 2*c.ids.turn) }

// rightIncarnation refuses a first try that was meant for a process that is gone, since it may be a
// late copy of one that this lane's log already holds, and one that is so late that what its retry
// came to may be forgotten (invariant 7).
func (c *Committer) rightIncarnation(a kv.Attempt) error {
	now := c.Incarnation()
	if a.Incarnation == now || now != c.incarnation && a.Incarnation == now-2 {
		return nil
	}
	return kv.Errorf(kv.KindUnavailable, "operation %s is for incarnation %d of this node, which is now %d; "+
		"send it again as a retry, or with a new id", a.ID, a.Incarnation, now)
}

// since is how far back in the log an operation's first try may lie. Timestamps that a process told are
// on disk as reserved before, so every one that it or a later process gives is above them, also
// to retries.
func (c *Committer) since(a kv.Attempt) (clock.Timestamp, error) {
	if a.Lane != c.lane {
		return 0, unknown(a, kv.KindTooOld, "operation %s was first tried in lane %s: only that region can tell its outcome", a.ID, a.Lane)
	}
	if a.After != 0 { // the process that the first try was for had told of it: it gave that a later one
		return a.After, nil
	}
	if a.Age < 0 || a.Age > MaxRetryAge {
		return 0, unknown(a, kv.KindTooOld, "operation %s was first tried %s ago: outcomes are kept for %s at most", a.ID, a.Age, MaxRetryAge)
	}
	return c.before(a.Age), nil
}

// before is below every timestamp that this lane has issued since a duration ago, however the wall
// clock was set meanwhile, in this process or in one before it. c.mu is held.
func (c *Committer) before(age time.Duration) clock.Timestamp {
	return c.trail.above(c.ran() - age - age/driftShare - retrySlack - c.beats.late(c.uptime()))
}

// outcome says what became of an operation, and makes sure that a "no" stays one: it is a retry that
// finds its condition broken.
func (c *Committer) outcome(ctx context.Context, a kv.Attempt) (kv.OutcomeAnswer, error) {
	a.Retry = true // it speaks of an earlier try
	w := newCommit(a, kv.DurabilityLocal)
	w.refusal = kv.Errorf(kv.KindAborted, "operation %s: its outcome was asked before it came", a.ID)
	switch res := c.commit(ctx, w); {
	case res.denied:
		return kv.OutcomeAnswer{Outcome: kv.NotApplied}, nil
	case res.err != nil:
		return kv.OutcomeAnswer{}, res.err
	default:
		return kv.OutcomeAnswer{Outcome: kv.Applied, Commit: res.stamp}, nil
	}
}

// heartbeat tells how long a retry may have waited unread because the process stood still: stopped by a
// signal, starved, or with its machine. All are readings of the uptime.
type heartbeat struct {
	last    time.Duration // beat
	stall   time.Duration // the longest pause between two beats of late
	stalled time.Duration // when it ended
}

func (h *heartbeat) beat(now time.Duration) {
	if pause := now - h.last; pause >= h.stall || now-h.stalled > stallKept {
		h.stall, h.stalled = pause, now
	}
	h.last = now
}

// late is how much later than it was sent a retry may be read now.
func (h *heartbeat) late(now time.Duration) time.Duration {
	if now-h.stalled > stallKept {
		return now - h.last
	}
	return max(h.stall, now-h.last)
}
