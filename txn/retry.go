package txn

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

const (
	// retrySlack is added to the age that a client states, for clocks that were set meanwhile.
	retrySlack = 10 * time.Second
	// MaxRetryAge is the oldest first try that a retry may refer to.
	MaxRetryAge = 24 * time.Hour
	// logChunk is how many bytes of the log one step of a look-up reads.
	logChunk = 1 << 20
)

// admit lets a commit with an operation id in, at most once (invariant 5). It returns the try that
// came first when there is one under way, or the answer when it is known; both nil: it is queued.
func (c *Committer) admit(ctx context.Context, w *commit) (first *commit, known *result) {
	if w.attempt.Retry {
		if err := c.lookUp(ctx, w.attempt); err != nil {
			return nil, &result{err: err}
		}
	} else if err := c.rightIncarnation(w.attempt); err != nil {
		return nil, &result{err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What is under way may be in the log, and so be known, before it is on disk.
	if first := c.ids.underWay[w.attempt.ID]; first != nil {
		return first, nil
	}
	if err := c.stillWriting(w.attempt); err != nil {
		return nil, &result{err: err}
	}
	if res := c.knownLocked(w.attempt.ID); res != nil {
		return nil, res
	}
	if err := c.enqueueLocked(w); err != nil {
		return nil, &result{err: c.denyRetryLocked(w.attempt, err)}
	}
	c.ids.underWay[w.attempt.ID] = w
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
	return err
}

// denyRetryLocked makes sure that a retry which is told "not applied" stays so: a late copy of the
// first try may still arrive.
func (c *Committer) denyRetryLocked(a kv.Attempt, err error) error {
	if !a.Retry || kv.OutcomeOf(err) != kv.NotApplied {
		return err
	}
	if full := c.ids.deny(a.ID); full != nil {
		return unknown(a, kv.KindOf(err), "operation %s: %w", a.ID, err)
	}
	return err
}

// rightIncarnation refuses a first try that was meant for a process that is gone: it may be a late
// copy of one that this lane's log already holds.
func (c *Committer) rightIncarnation(a kv.Attempt) error {
	if a.Incarnation == c.incarnation {
		return nil
	}
	return kv.Errorf(kv.KindUnavailable, "operation %s is for incarnation %d of this node, which is now %d; "+
		"send it again as a retry, or with a new id", a.ID, a.Incarnation, c.incarnation)
}

// knownLocked is what is known of an id, or nil.
func (c *Committer) knownLocked(id kv.OpID) *result {
	if _, denied := c.ids.denied[id]; denied {
		err := kv.Errorf(kv.KindAborted, "operation %s was answered \"not applied\" before; use a new id", id)
		return &result{err: err}
	}
	if t, ok := c.ids.known[id]; ok {
		stamp := clock.Stamp{Region: c.lane.Region, Time: t}
		return &result{stamp: stamp, snapshot: clock.VectorOf(clock.Entry(stamp))}
	}
	return nil
}

// lookUp makes sure that the table of ids reaches back to before an operation's first try.
func (c *Committer) lookUp(ctx context.Context, a kv.Attempt) error {
	if a.Lane != c.lane {
		return unknown(a, kv.KindTooOld, "operation %s was first tried in lane %s: only that region can tell its outcome", a.ID, a.Lane)
	}
	if a.Age < 0 || a.Age > MaxRetryAge {
		return unknown(a, kv.KindTooOld, "operation %s was first tried %s ago: outcomes are kept for %s at most", a.ID, a.Age, MaxRetryAge)
	}
	since := c.before(a.Age)
	c.mu.Lock()
	have := c.ids.covers(since)
	c.ids.open = true
	c.mu.Unlock()
	if have {
		return nil
	}
	seen, err := c.idsSince(ctx, since, a.ID)
	if err != nil {
		return unknown(a, kv.KindTooOld, "operation %s: the log could not be searched back to its first try: %w", a.ID, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids.fill(seen.ids, seen.since)
	if _, noted := c.ids.known[a.ID]; seen.sought != 0 && !noted {
		c.ids.note(a.ID, seen.sought)
	}
	return nil
}

// before is at or below every timestamp that this lane has issued since a duration ago, also when
// the wall clock was set meanwhile: within this process the monotonic clock tells, and what the
// process before it issued is counted back from its last record.
func (c *Committer) before(age time.Duration) clock.Timestamp {
	up := c.mono() - c.started.mono
	back := -(age + retrySlack)
	least := min(c.wall(), c.started.wall.Add(up)).Add(back)
	if age > up {
		least = min(least, c.started.last.Wall().Add(up+back))
	}
	return clock.At(least)
}

// seenIDs is what one look through the log found.
type seenIDs struct {
	ids    []knownID       // oldest first
	since  clock.Timestamp // ids holds every one above it
	sought clock.Timestamp // of the group with the id that was looked for; 0: it is not in the log
}

// idsSince reads the operation ids of this lane's groups above since. It keeps the newest
// MaxKnownIDs or more, and says of one id whether it was there at all.
func (c *Committer) idsSince(ctx context.Context, since clock.Timestamp, id kv.OpID) (seenIDs, error) {
	s := seenIDs{since: since}
	// What is not on disk yet is under way, or is noted once it is: the window is open.
	end := c.exposure.Exposed().At(c.lane.Region)
	for at := since; ; {
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
		chunk, err := c.store.Log(c.lane, at, logChunk)
		if err != nil || len(chunk) == 0 {
			return s, err
		}
		for _, raw := range chunk {
			rec, err := kv.DecodeRecord(raw)
			if err != nil {
				return s, err
			}
			if at = rec.Time; at > end {
				return s, nil
			}
			s.add(rec, id)
		}
	}
}

func (s *seenIDs) add(rec *kv.Record, sought kv.OpID) {
	for i := range rec.Txns {
		id := rec.Txns[i].ID
		if id.IsZero() {
			continue
		}
		if id == sought {
			s.sought = rec.Time
		}
		s.ids = append(s.ids, knownID{id, rec.Time})
	}
	if len(s.ids) > 2*MaxKnownIDs {
		half := len(s.ids) / 2
		s.since = s.ids[half-1].time
		s.ids = append(s.ids[:0], s.ids[half:]...)
	}
}

// outcome says what became of an operation, and makes sure that a "no" stays one.
func (c *Committer) outcome(ctx context.Context, a kv.Attempt) (kv.OutcomeAnswer, error) {
	a.Retry = true // it speaks of an earlier try
	if err := c.lookUp(ctx, a); err != nil {
		return kv.OutcomeAnswer{}, err
	}
	c.mu.Lock()
	first := c.ids.underWay[a.ID]
	var res *result
	err := c.stillWriting(a)
	if err == nil && first == nil {
		if res = c.knownLocked(a.ID); res == nil {
			err = c.ids.deny(a.ID)
		}
	}
	c.mu.Unlock()
	if err != nil {
		return kv.OutcomeAnswer{}, err
	}
	if first != nil {
		r := first.await(ctx)
		res = &r
	}
	if res == nil || res.err != nil {
		return notApplied(res)
	}
	return kv.OutcomeAnswer{Outcome: kv.Applied, Commit: res.stamp}, nil
}

// notApplied is the answer for an operation that is not in the log, or the error that leaves it open.
func notApplied(res *result) (kv.OutcomeAnswer, error) {
	if res != nil && kv.OutcomeOf(res.err) != kv.NotApplied {
		return kv.OutcomeAnswer{}, res.err
	}
	return kv.OutcomeAnswer{Outcome: kv.NotApplied}, nil
}
