package client

import (
	"context"
	"errors"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// A write's life, by what its tries came to:
//
//	first try -- answered ----------------------------------> done
//	    |  \---- refused, nothing written -> first try elsewhere, same id
//	    |
//	    \------- outcome unknown ---> retries at the same lane, with what it told before the first try
//	                                    |-- answered, or decided --> done
//	                                    \-- out of tries or time --> outcome unknown, with the id
//
// A write at level strong is looked for by its id wherever it comes: it is sent to any lane again, under the
// same id and with what was known of region 0 before its first try (certified).
//
// A commit of an interactive transaction can't be sent again, since the transaction is gone with
// its node: the lane is asked for the outcome instead.

// sent is a write that may have reached a lane.
type sent struct {
	lane  clock.Lane
	at    time.Time       // of the first try
	after clock.Timestamp // that the lane told before it (kv.Attempt.After); 0: unknown
}

func (s sent) retry(id OpID) kv.Attempt {
	return kv.Attempt{ID: id, Retry: true, Age: age(s.at), Lane: s.lane, After: s.after}
}

// age is the larger of what two clocks say: one of them stands still while the machine sleeps, and the
// other may be set back.
func age(at time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// write runs a one-shot transaction that writes.
func (r *router) write(ctx context.Context, req kv.Request) (resp kv.Response, err error) {
	attempt := &req.Options.Attempt
	if attempt.ID.IsZero() {
		attempt.ID = r.newID()
	}
	s := sent{attempt.Lane, time.Now().Add(-attempt.Age), attempt.After}
	if attempt.Retry {
		return r.writeAgain(ctx, req, s, nil)
	}
	err = r.each(ctx, &req.Options, func(t *turn) error {
		if req.Options.Level == LevelStrong {
			resp, s, err = r.firstStrong(t, req)
		} else {
			resp, s, err = r.firstTry(ctx, t, req)
		}
		return err
	})
	if err != nil && kv.OutcomeOf(err) == kv.OutcomeUnknown {
		return r.writeAgain(ctx, req, s, err)
	}
	return resp, err
}

// firstTry sends a first try, which names the process that it is for. If that process is found to
// have ended it wrote nothing, so the one in its place gets a first try of its own.
func (r *router) firstTry(ctx context.Context, t *turn, req kv.Request) (kv.Response, sent, error) {
	e := t.e
	id, err := e.identify(t.ctx)
	if err != nil {
		return kv.Response{}, sent{}, err
	}
	for n := 1; ; n++ {
		s := id.now()
		req.Options.Attempt.Incarnation = id.incarnation
		resp, err := e.svc.Do(t.unsent(ctx), req)
		if err == nil {
			e.learn(&resp.Receipt)
			return resp, s, nil
		}
		next, restarted := r.restarted(t.ctx, e, id, err)
		if !restarted || n >= r.policy.tries {
			return resp, s, err
		}
		id = next
	}
}

// firstStrong sends the first try of a write at level strong. It waits no longer than for a node that is
// there, since the retries may go elsewhere.
func (r *router) firstStrong(t *turn, req kv.Request) (kv.Response, sent, error) {
	for n := 1; ; n++ {
		id, err := t.e.identify(t.ctx)
		if err != nil {
			return kv.Response{}, sent{}, err
		}
		s := r.certifiedNow()
		req.Options.Attempt.Incarnation, req.Options.Attempt.After = id.incarnation, s.after
		resp, err := t.e.svc.Do(t.ctx, req)
		switch {
		case err == nil:
			t.e.learn(&resp.Receipt)
			return resp, s, nil
		case n < r.policy.tries && r.overtaken(t, s, err):
			continue
		case kv.OutcomeOf(err) == kv.OutcomeUnknown:
			r.blame(t.e, err)
		}
		if _, restarted := r.restarted(t.ctx, t.e, id, err); !restarted || n >= r.policy.tries {
			return resp, s, err
		}
	}
}

// overtaken reports whether a first try was refused since so much has been decided since this client heard
// of it last that the certifier could not tell the try from a late one. It is the only one so far and was
// answered, so after a newer reading it may be made once more.
func (r *router) overtaken(t *turn, s sent, err error) bool {
	if kv.KindOf(err) != kv.KindTooOld || !answered(err) {
		return false
	}
	t.e.forget()
	if _, failed := t.e.identify(t.ctx); failed != nil {
		return false
	}
	return r.certifiedNow().after > s.after
}

// certifiedNow is what tries at level strong name whose first one is sent after it.
func (r *router) certifiedNow() sent {
	return sent{at: time.Now(), after: clock.Timestamp(r.certified.Load())}
}

// strong reports whether the write is looked for in all regions, and not in one lane.
func (s sent) strong() bool { return s.lane.Region == 0 }

// silent reports whether a try at level strong ended since its node fell silent: another one may answer.
func (s sent) silent(ctx context.Context, err error) bool {
	return s.strong() && ctx.Err() == nil && kv.KindOf(err) == kv.KindDeadline
}

// once runs what can't move: at level strong no longer than its node shows that it is there, since what
// became of it can be asked for elsewhere.
func (r *router) once(ctx context.Context, e *endpoint, s sent, o *kv.Options, try func(ctx context.Context) error) error {
	if !s.strong() {
		return try(ctx)
	}
	return r.turn(ctx, e, &failures{}, false).run(r, o, func(t *turn) error { return try(t.ctx) })
}

// restarted asks the endpoint who serves now, after a refusal that a restart explains.
func (r *router) restarted(ctx context.Context, e *endpoint, before identity, err error) (identity, bool) {
	if kv.OutcomeOf(err) != kv.NotApplied || !answered(err) || kv.KindOf(err) != kv.KindUnavailable {
		return before, false
	}
	e.forget()
	now, err := e.identify(ctx)
	return now, err == nil && now.incarnation != before.incarnation
}

// answered reports whether err came from the node, and not from the way to it.
func answered(err error) bool {
	e, ok := err.(*kv.Error) //nolint:errorlint // remote returns them bare; a cause is the transport's
	return ok && e.Err == nil
}

// writeAgain sends retries to the lane of the first try until it learns what became of the write.
func (r *router) writeAgain(ctx context.Context, req kv.Request, s sent, first error) (resp kv.Response, err error) {
	id := req.Options.Attempt.ID
	err = r.insist(ctx, s, id, first, func(e *endpoint) error {
		req.Options.Attempt, req.Options.Wait = s.retry(id), 0
		return r.once(ctx, e, s, &req.Options, func(ctx context.Context) error {
			if resp, err = e.svc.Do(ctx, req); err == nil {
				e.learn(&resp.Receipt)
			}
			return err
		})
	})
	return resp, err
}

// insist runs try at the endpoints of one lane until the outcome is certain. first is the error of
// the try before, if there was one.
func (r *router) insist(ctx context.Context, s sent, id OpID, first error, try func(e *endpoint) error) error {
	r.identifyAll(ctx, s.lane)
	err := first
	for n := 1; n <= r.policy.tries; n++ {
		if err != nil && (ctx.Err() != nil || r.policy.pause(ctx, n, retryAfter(err)) != nil) {
			break
		}
		e := r.at(s.lane, n)
		if e == nil {
			if err == nil {
				err = kv.Errorf(kv.KindUnavailable, "none of the addresses is known to serve lane %s", s.lane)
			}
			break
		}
		err = try(e)
		if err == nil || decided(err) {
			r.unknown.remove(id)
			return err
		}
		if !elsewhere(err) && !s.silent(ctx, err) {
			break
		}
		if s.strong() {
			r.blame(e, err)
		}
	}
	r.unknown.add(id, s)
	return unknown(ctx, err, id, first == nil)
}

// at picks the endpoint of the nth retry: those of the lane take turns; at level strong all that are up.
func (r *router) at(l clock.Lane, n int) *endpoint {
	var of []*endpoint
	for _, e := range r.endpoints {
		if e.serves(l) || l.Region == 0 && r.up(e) {
			of = append(of, e)
		}
	}
	if len(of) == 0 && l.Region == 0 {
		of = r.endpoints
	}
	if len(of) == 0 {
		return nil
	}
	return of[(n-1)%len(of)]
}

// decided reports whether the error of a retry says what became of the operation, and not only of
// this try: it was applied, or the node came as far as running it and found a condition broken.
func decided(err error) bool {
	switch kv.OutcomeOf(err) {
	case kv.Applied:
		return true
	case kv.NotApplied:
		switch kv.KindOf(err) {
		case kv.KindAborted, kv.KindBound, kv.KindNoRights:
			return true
		}
	}
	return false
}

// unknown is the error of a write after whose tries nobody knows what became of it, or of asking for
// that in vain.
func unknown(ctx context.Context, err error, id OpID, asked bool) error {
	why := err.Error()
	var e *kv.Error
	if errors.As(err, &e) {
		why = e.Message // without the outcome, which the new error states
	}
	text := "%s; ask with Outcome what became of operation %s"
	if asked {
		text = "%s; what became of operation %s is still not known"
	}
	out := kv.Errorf(kv.KindOf(err), text, why, id)
	out.Outcome, out.ID, out.Err, out.Token = kv.OutcomeUnknown, id, err, kv.TokenOf(err)
	switch {
	case ctx.Err() != nil:
		out.Kind, out.Err = kv.KindDeadline, ctx.Err()
	case out.Kind == 0:
		out.Kind = kv.KindUnavailable
	}
	return out
}

// Commit commits an interactive transaction.
func (r *router) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	t, err := r.txn(id)
	if err != nil {
		return kv.Receipt{}, err
	}
	if o.Attempt.ID.IsZero() {
		o.Attempt.ID = r.newID()
	}
	if !o.Attempt.Retry {
		o.Attempt.Incarnation = t.receipt.Incarnation
	}
	s := r.sent(ctx, &t)
	if s.strong() {
		o.Attempt.After = s.after
	}
	var receipt kv.Receipt
	err = r.once(ctx, t.e, s, &kv.Options{}, func(ctx context.Context) error {
		receipt, err = t.e.svc.Commit(ctx, t.id, o)
		return err
	})
	switch {
	case err == nil:
		r.ended(id)
		return receipt, nil
	case kv.OutcomeOf(err) == kv.OutcomeUnknown:
		r.ended(id)
		r.blame(t.e, err)
		return r.askCommit(ctx, t, o.Attempt.ID, s, err)
	}
	return kv.Receipt{}, r.lost(id, t, err)
}

// sent is what retries of the commit name. What the beginning told is as old as the transaction.
func (r *router) sent(ctx context.Context, t *openTxn) sent {
	if t.receipt.Level == LevelStrong {
		return r.certifiedNow()
	}
	told := t.receipt.Reading()
	if age(t.begun) >= maxReadingAge {
		// If the node does not answer, the commit finds out; what is known is right, and only further back.
		bound := probeTimeout
		if left, bounded := timeLeft(ctx); bounded {
			bound = min(bound, left/2)
		}
		ctx, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		if id, err := t.e.identify(ctx); err == nil && id.incarnation == t.receipt.Incarnation {
			most, _ := id.read.get()
			told = max(told, most)
		}
	}
	return sent{t.receipt.Lane, time.Now(), told}
}

// askCommit finds out what became of a commit whose answer got lost.
func (r *router) askCommit(ctx context.Context, t openTxn, id OpID, s sent, first error) (kv.Receipt, error) {
	answer, err := r.ask(ctx, id, s, first)
	if err != nil {
		return kv.Receipt{}, err
	}
	if answer.Outcome == kv.NotApplied {
		lost := kv.Errorf(kv.KindUnavailable, "the commit was lost on its way and will not happen: %w", first)
		lost.ID = id // which can't be used again
		return kv.Receipt{}, lost
	}
	receipt := t.receipt
	receipt.Commit = answer.Commit
	receipt.Token, err = receipt.Token.Join(answer.Token)
	return receipt, err
}

// ask asks a lane what became of an operation until it says.
func (r *router) ask(ctx context.Context, id OpID, s sent, first error) (answer kv.OutcomeAnswer, err error) {
	err = r.insist(ctx, s, id, first, func(e *endpoint) error {
		return r.once(ctx, e, s, &kv.Options{}, func(ctx context.Context) error {
			answer, err = e.svc.Outcome(ctx, kv.OutcomeRequest{Attempt: s.retry(id)})
			return err
		})
	})
	return answer, err
}

// Outcome asks what became of an operation that this client sent, or of which the caller names the
// lane and the reading or age.
func (r *router) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	a := req.Attempt
	s, known := r.unknown.find(a.ID)
	if a.Lane != (clock.Lane{}) || a.After != 0 { // without a lane it is of level strong
		s, known = sent{a.Lane, time.Now().Add(-a.Age), a.After}, true
	}
	if !known {
		return kv.OutcomeAnswer{}, kv.Errorf(kv.KindInvalid,
			"operation %s is none whose outcome this client could not tell: if its call succeeded it was applied; if it was another "+
				"client's, or is long ago, name its lane and what that told before the first try (WithAttempt)", a.ID)
	}
	return r.ask(ctx, a.ID, s, nil)
}

// identifyAll finds an endpoint of the lane if none is known yet. Those that don't answer are none.
func (r *router) identifyAll(ctx context.Context, l clock.Lane) {
	for n := 0; n < len(r.endpoints) && r.at(l, 1) == nil; n++ {
		_, _ = r.endpoints[n].identify(ctx)
	}
}
