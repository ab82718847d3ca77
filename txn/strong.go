package txn

import (
	"context"
	"fmt"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/txn/strong/certify"
)

// Strong is what level strong needs of the cluster. Safe for concurrent use.
type Strong interface {
	// OpenStrong waits until a majority of the regions has all of v on its disk, and opens a snapshot for a
	// transaction that may write: a majority has all of it.
	OpenStrong(ctx context.Context, v clock.Vector) (Snapshot, error)
	// Certify hands a proposal over; Proposer, Number and Answered are the certifier's to fill in. An error
	// says that it was not handed over: nothing of it will ever be decided.
	Certify(ctx context.Context, p *certify.Proposal) (Ticket, error)
	// Position returns the entry 0 that includes every strong commit that was acknowledged anywhere before
	// the call. It asks a majority and writes nothing.
	Position(ctx context.Context) (clock.Timestamp, error)
	// Check judges a transaction that only read, at a snapshot with this entry 0, by all strong commits up to
	// the last position that was returned to anybody: Committed, Aborted or TooOld.
	Check(reads []certify.Access, at clock.Timestamp) (certify.Verdict, certify.Conflict)
	// Copies is in how many regions, at least, what is decided now is on disk: a majority of the voters. Regions
	// that serve may have no vote yet.
	Copies() int
	// Deny asks what became of an operation, and makes sure that it never happens if it has not.
	Deny(ctx context.Context, id kv.OpID, after clock.Timestamp) (certify.Decision, error)
}

// Ticket is a proposal on its way.
type Ticket interface {
	// Decided is closed once the proposal is decided, or the node stops.
	Decided() <-chan struct{}
	// Decision is valid once Decided is closed. An error says that the node stopped first: the outcome is
	// unknown.
	Decision() (certify.Decision, error)
}

// strongOp is a strong transaction that writes, from its snapshot to its answer.
type strongOp struct {
	open    Snapshot
	at      clock.Vector
	writes  *writeSet
	reads   *readSet
	options *kv.Options
	meter   *meter
	copies  int // before it was proposed
}

// doStrong runs a one-shot transaction at level strong.
func (c *Coordinator) doStrong(ctx context.Context, req *kv.Request) (resp kv.Response, err error) {
	if err := boundQueries(req.Queries); err != nil {
		return resp, err
	}
	m := c.meter(&req.Options)
	if len(req.Ops) == 0 {
		return c.readStrong(ctx, req, m)
	}
	early, cancel := early(ctx, &req.Options)
	defer cancel()
	s, err := c.openWriting(early, &req.Options, m)
	if err != nil {
		return resp, undecided(req.Options.Attempt, err)
	}
	op := strongOp{open: s, at: nonNil(s.At()), writes: &writeSet{}, reads: &readSet{generations: generations{c.store, nonNil(s.At())}}, options: &req.Options, meter: m}
	v := view{store: c.store, at: op.at, own: c.lane.Region, room: newRoom(), reads: op.reads}
	if resp.Values, err = v.queries(ctx, req.Queries); err == nil {
		err = c.buffer(op.writes, op.at, req.Ops)
	}
	if err != nil {
		s.Close()
		resp.Receipt, err = c.tryFailed(ctx, &op, kv.WithToken(err, c.receipt(&req.Options, op.at).Token))
	} else {
		resp.Receipt, err = c.commitStrong(ctx, early, &op)
	}
	if err != nil {
		return kv.Response{}, err
	}
	return resp, nil
}

// openWriting opens a snapshot for a one-shot transaction that writes, unless nobody may write here now.
func (c *Coordinator) openWriting(ctx context.Context, o *kv.Options, m *meter) (Snapshot, error) {
	if refused := c.Refused(); refused != nil {
		return nil, refused
	}
	if err := c.reachable(o); err != nil {
		return nil, err
	}
	return c.openStrong(ctx, o, m)
}

// early ends when what the call waits for before anything of it is proposed has to be here, so that the caller
// hears that nothing was.
func early(ctx context.Context, o *kv.Options) (context.Context, context.CancelFunc) {
	if o.Wait <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, o.Wait)
}

// readStrong answers queries at a snapshot that includes every strong commit acknowledged before the call.
func (c *Coordinator) readStrong(ctx context.Context, req *kv.Request, m *meter) (resp kv.Response, err error) {
	early, cancel := early(ctx, &req.Options)
	defer cancel()
	s, err := c.openPosition(early, &req.Options, m)
	if err != nil {
		return resp, err
	}
	defer s.Close()
	at := nonNil(s.At())
	v := view{store: c.store, at: at, own: c.lane.Region, room: newRoom()}
	resp.Receipt = c.receipt(&req.Options, at)
	if resp.Values, err = v.queries(ctx, req.Queries); err != nil {
		return kv.Response{}, kv.WithToken(err, resp.Receipt.Token)
	}
	c.complete(m, &resp.Receipt)
	return resp, nil
}

// openPosition opens a snapshot for a read-only strong transaction: what is exposed, once it includes the
// session's token and every strong commit that was acknowledged before the call.
func (c *Coordinator) openPosition(ctx context.Context, o *kv.Options, m *meter) (s Snapshot, err error) {
	if err := c.usable(o); err != nil {
		return nil, err
	}
	began := m.now()
	defer func() {
		m.lap(began, tokenPhase)
		c.stats.served(o.Level, true, err)
		m.holdsStrong(began)
	}()
	position, err := c.strong.Position(ctx)
	if err != nil {
		return nil, err
	}
	seen := o.Token.Seen
	if position > seen.At(0) {
		seen = seen.With(0, position)
	}
	own := seen.At(c.lane.Region) > c.snapshots.Exposed().At(c.lane.Region)
	if err := c.snapshots.Wait(ctx, seen, own); err != nil {
		return nil, err
	}
	if err := c.notVoid(seen); err != nil {
		return nil, err
	}
	c.staleAt(m)
	return c.snapshots.Open(false, own)
}

// openStrong opens a snapshot for a strong transaction that may write: it includes the session's token, and
// a majority of the regions has all of it on its disk.
func (c *Coordinator) openStrong(ctx context.Context, o *kv.Options, m *meter) (Snapshot, error) {
	if err := c.usable(o); err != nil {
		return nil, err
	}
	began := m.now()
	s, err := c.strong.OpenStrong(ctx, o.Token.Seen)
	m.lap(began, tokenPhase)
	c.stats.served(o.Level, true, err)
	if err != nil {
		return nil, err
	}
	if err := c.notVoid(o.Token.Seen); err != nil {
		s.Close()
		return nil, err
	}
	if m != nil && c.regions != nil {
		m.staleness = c.regions.StalenessAt(s.At())
	}
	return s, nil
}

// usable refuses level strong where there is none, tokens of other clusters, and those of what a crash took
// back.
func (c *Coordinator) usable(o *kv.Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	if c.strong == nil {
		return kv.Errorf(kv.KindLevelRefused, "level strong: this node takes no part in the consensus of a cluster")
	}
	t := &o.Token
	if len(t.Seen) == 0 {
		return nil
	}
	if t.Cluster != c.cluster {
		return kv.Errorf(kv.KindInvalid, "session token of cluster %s: this is cluster %s", t.Cluster, c.cluster)
	}
	return c.notVoid(t.Seen)
}

// commitStrong has a transaction certified, and closes its snapshot once it is aborted or exposed here. It fails
// with early's end where the group has taken nothing until then; what it has taken is decided, for which ctx waits.
func (c *Coordinator) commitStrong(ctx, early context.Context, op *strongOp) (kv.Receipt, error) {
	r, err := c.tryStrong(ctx, early, op)
	if err != nil {
		return c.tryFailed(ctx, op, err)
	}
	return r, nil
}

// tryFailed is the answer to a try that was not applied. Of a retry other tries may be applied, or under way: only the
// certifier knows of the one, and rules out the other.
func (c *Coordinator) tryFailed(ctx context.Context, op *strongOp, err error) (kv.Receipt, error) {
	a := op.options.Attempt
	if !a.Retry || kv.OutcomeOf(err) != kv.NotApplied {
		return kv.Receipt{}, err
	}
	d, failed := c.strong.Deny(ctx, a.ID, a.After)
	switch {
	case failed != nil:
		return kv.Receipt{}, unknown(a, kv.KindOf(failed), "operation %s: %w; this try failed: %w", a.ID, failed, err)
	case d.Verdict == certify.Denied:
		return kv.Receipt{}, err
	case d.Verdict != certify.Committed:
		return kv.Receipt{}, c.notCommitted(op, &d)
	}
	return c.committed(op, d.Time), nil
}

// tryStrong is commitStrong for this try alone.
func (c *Coordinator) tryStrong(ctx, early context.Context, op *strongOp) (kv.Receipt, error) {
	p, err := c.proposal(early, op)
	if err != nil {
		op.open.Close()
		return kv.Receipt{}, err
	}
	began := op.meter.now()
	op.copies = c.strong.Copies()
	ticket, err := c.strong.Certify(early, p)
	if err != nil {
		op.open.Close()
		return kv.Receipt{}, err
	}
	select {
	case <-ticket.Decided():
		op.meter.lap(began, certifyPhase)
		r, err := c.decided(ctx, op, ticket)
		if err == nil {
			err = c.spreadStrong(ctx, op, &r)
		}
		if err == nil {
			c.complete(op.meter, &r)
		}
		return r, err
	case <-ctx.Done():
		c.leaving.Go(func() { c.awaitDecision(op.open, ticket) })
		e := gaveUp(ctx, "strong commit: gave up before the transaction was decided; ask for its outcome, or retry with its operation id", kv.OutcomeUnknown)
		e.ID = op.options.Attempt.ID
		return kv.Receipt{}, e
	}
}

// spreadStrong waits for durability beyond what the certifier's log has given, which is a majority, unless
// regions serve that have no vote yet. A majority it is in any case.
func (c *Coordinator) spreadStrong(ctx context.Context, op *strongOp, r *kv.Receipt) error {
	regions := c.serving()
	o := *op.options
	n, err := o.Reach().Copies(regions)
	most := regions/2 + 1
	beyond := err != nil || n > most
	if !beyond {
		o.SetReach(kv.Reach{Durability: kv.DurabilityMajority})
	}
	if !beyond && most <= min(op.copies, c.strong.Copies()) {
		c.stats.reached(o.Durability, false, nil)
		if o.Receipt {
			r.Durability, r.Regions = o.Durability, most
		}
		return nil
	}
	return c.spreadMeasured(ctx, &o, op.meter, r)
}

// proposal judges conditions and bounds, and makes the proposal of a transaction that keeps them. One that is
// broken is told only of what was the newest: the snapshot may be older.
func (c *Coordinator) proposal(ctx context.Context, op *strongOp) (*certify.Proposal, error) {
	broken, err := c.checkStrong(op)
	if err == nil && broken != nil {
		if err = c.newest(ctx, op); err == nil {
			err = kv.WithToken(broken, c.receipt(op.options, op.at).Token)
		}
	}
	if err != nil {
		return nil, err
	}
	t := kv.Txn{ID: op.options.Attempt.ID, Effects: op.writes.effects(nil, c.generationsOf(op))} // its snapshot is the proposal's
	return &certify.Proposal{
		Kind: certify.KindTransaction, ID: op.options.Attempt.ID, After: op.options.Attempt.After, Snapshot: op.at,
		Reads: op.reads.list(), Writes: op.writes.accesses(c.generationsOf(op)), Body: t.AppendAlone(nil),
	}, nil
}

// checkStrong evaluates conditions and bounds at the snapshot. What they depend on counts as read.
func (c *Coordinator) checkStrong(op *strongOp) (broken, err error) {
	for _, p := range op.writes.depends() {
		if err := op.reads.leaf(p); err != nil {
			return nil, err
		}
	}
	for i := range op.writes.conditions {
		cond := &op.writes.conditions[i]
		v, err := c.store.Value(c.generationsOf(op).leaf(cond.place), op.at)
		if err != nil {
			return nil, err
		}
		if broken := meets(cond.expect, cond.place, v); broken != nil {
			return broken, nil
		}
	}
	return c.withinBounds(op.writes, op.at, op.at)
}

// decided turns a decision into an answer. The snapshot stays open until the commit is exposed here.
func (c *Coordinator) decided(ctx context.Context, op *strongOp, ticket Ticket) (kv.Receipt, error) {
	d, err := ticket.Decision()
	if err != nil {
		op.open.Close()
		return kv.Receipt{}, unknown(op.options.Attempt, kv.KindOf(err), "strong commit: %w", err)
	}
	if d.Verdict != certify.Committed {
		op.open.Close()
		return kv.Receipt{}, c.notCommitted(op, &d)
	}
	c.stats.strongCommits.Add(1)
	r := c.committed(op, d.Time)
	c.leave(ctx, op.open, r.Commit)
	return r, nil
}

// committed is the receipt of a transaction with this entry 0.
func (c *Coordinator) committed(op *strongOp, at clock.Timestamp) kv.Receipt {
	r := c.receipt(op.options, op.at)
	r.Commit = clock.Stamp{Time: at}
	r.Token.Seen = r.Token.Seen.Join(clock.VectorOf(clock.Entry(r.Commit)))
	return r
}

// leave closes the snapshot of what has committed, once that is exposed. It waits for it as long as the caller.
func (c *Coordinator) leave(ctx context.Context, s Snapshot, commit clock.Stamp) {
	seen := clock.VectorOf(clock.Entry(commit))
	if c.snapshots.Wait(ctx, seen, false) == nil {
		s.Close()
	} else { // what it depends on is on its way
		c.leaving.Go(func() { c.closeOnceExposed(s, seen) })
	}
}

func (c *Coordinator) generationsOf(op *strongOp) generations { return generations{c.store, op.at} }

// notCommitted says why a transaction was not, and what to do.
func (c *Coordinator) notCommitted(op *strongOp, d *certify.Decision) error {
	id := op.options.Attempt.ID
	switch d.Verdict {
	case certify.Forgotten:
		return unknown(op.options.Attempt, kv.KindTooOld, "operation %s: the certifier does not reach back to its first try, so whether that was applied is unknown", id)
	case certify.Denied:
		return kv.Errorf(kv.KindAborted, "operation %s was answered \"not applied\" before; use a new id", id)
	case certify.Aborted, certify.TooOld, certify.Dropped:
		return c.refusedRead(op, d.Verdict, d.Conflict)
	}
	return kv.Errorf(kv.KindUnavailable, "strong commit: it was not decided (%s): try again", d.Verdict)
}

// refusedRead is the error of a transaction that read, or would replace, what another one has written since its
// snapshot. Its token includes that, so that a retry waits for it.
func (c *Coordinator) refusedRead(op *strongOp, v certify.Verdict, found certify.Conflict) error {
	c.stats.strongAborts.Add(1)
	token := c.receipt(op.options, op.at).Token
	if v == certify.TooOld {
		err := kv.Errorf(kv.KindTooOld, "strong commit: the transaction's snapshot is older than what the certifier remembers; begin it again")
		return kv.WithToken(err, token)
	}
	token.Seen = token.Seen.Join(clock.VectorOf(clock.Entry{Time: found.Time}))
	reads := op.reads.list()
	var what certify.Access
	if found.Access < len(reads) {
		what = reads[found.Access]
	} else {
		what = op.writes.accesses(c.generationsOf(op))[found.Access-len(reads)].Access
	}
	if v == certify.Dropped {
		return kv.Conflict(token, "strong commit: the bucket of %s was dropped after this one's snapshot; begin it again", where(what))
	}
	return kv.Conflict(token, "strong commit: %s was written by a strong transaction after this one's snapshot; begin it again", where(what))
}

// where says what an address of the certifier means.
func where(a certify.Access) string {
	bucket, rest, err := kv.DecodeName([]byte(a.Key))
	if err != nil || len(rest) < generationBytes {
		return "something that it read"
	}
	key, rest, err := kv.DecodeName(rest[generationBytes:])
	if err != nil || len(rest) == 0 {
		return fmt.Sprintf("bucket %q", bucket)
	}
	return place{kv.Object{Bucket: kv.Bucket(bucket), Key: kv.Key(key), Type: kv.Type(rest[0])}, string(rest[1:])}.String()
}

// generationBytes is what a bucket's generation takes in an address.
const generationBytes = 4

// Leave waits for the snapshots that strong transactions have left behind whose callers gave up. Their waits
// must have been ended.
func (c *Coordinator) Leave() { c.leaving.Wait() }

// awaitDecision keeps a snapshot open whose caller has given up, until the transaction is decided.
func (c *Coordinator) awaitDecision(s Snapshot, ticket Ticket) {
	<-ticket.Decided() // at the latest when the node stops
	d, err := ticket.Decision()
	if err != nil || !d.Commits() {
		s.Close()
		return
	}
	c.closeOnceExposed(s, clock.VectorOf(clock.Entry{Time: d.Time}))
}

func (c *Coordinator) closeOnceExposed(s Snapshot, seen clock.Vector) {
	_ = c.snapshots.Wait(context.Background(), seen, false) // it ends when the node stops
	s.Close()
}

// commitRead ends an interactive strong transaction that wrote nothing, or whose writes go: what it read was the
// newest at one moment, or it is aborted. It writes nothing either.
func (c *Coordinator) commitRead(ctx context.Context, t *openTxn, o *kv.Options, m *meter) (kv.Receipt, error) {
	op := strongOp{at: nonNil(t.snapshot.At()), writes: &writeSet{}, reads: t.reads, options: &t.options}
	defer t.endLocked()
	r := c.receipt(&t.options, op.at)
	if t.reads == nil { // read-only from the beginning
		c.complete(m, &r)
		return r, nil
	}
	early, cancel := early(ctx, o)
	defer cancel()
	began := m.now()
	if err := c.newest(early, &op); err != nil {
		return kv.Receipt{}, err
	}
	m.lap(began, certifyPhase)
	c.complete(m, &r)
	return r, nil
}

// newest fails unless what a transaction read was the newest at one moment since this call. It writes nothing.
func (c *Coordinator) newest(ctx context.Context, op *strongOp) error {
	if _, err := c.strong.Position(ctx); err != nil {
		return err
	}
	if v, found := c.strong.Check(op.reads.list(), op.at.At(0)); v != certify.Committed {
		return c.refusedRead(op, v, found)
	}
	return nil
}

// endStrong ends an interactive transaction at level strong.
func (c *Coordinator) endStrong(ctx context.Context, t *openTxn, o *kv.Options, m *meter) (kv.Receipt, error) {
	if m != nil {
		m.staleness = aged(t.staleness, c.mono()-t.began)
	}
	if o.Discard || t.writes.live == 0 && len(t.writes.conditions) == 0 {
		return c.commitRead(ctx, t, o, m)
	}
	if refused := c.Refused(); refused != nil {
		t.endLocked()
		return kv.Receipt{}, refused
	}
	options := t.options
	options.Attempt, options.Receipt, options.Leave = o.Attempt, o.Receipt, o.Leave
	options.SetReach(o.Reach())
	op := strongOp{open: t.snapshot, at: nonNil(t.snapshot.At()), writes: &t.writes, reads: t.reads, options: &options, meter: m}
	t.ended = true // the commit closes the snapshot
	defer t.release()
	early, cancel := early(ctx, o)
	defer cancel()
	return c.commitStrong(ctx, early, &op)
}

// outcomeStrong implements Outcome for an operation at level strong: any region can tell.
func (c *Coordinator) outcomeStrong(ctx context.Context, a kv.Attempt) (kv.OutcomeAnswer, error) {
	if c.strong == nil {
		return kv.OutcomeAnswer{}, kv.Errorf(kv.KindInvalid, "outcome of operation %s: name the lane that it was for", a.ID)
	}
	d, err := c.strong.Deny(ctx, a.ID, a.After)
	switch {
	case err != nil:
		return kv.OutcomeAnswer{}, err
	case d.Verdict == certify.Denied:
		return kv.OutcomeAnswer{Outcome: kv.NotApplied}, nil
	case d.Verdict != certify.Committed:
		return kv.OutcomeAnswer{}, unknown(a, kv.KindTooOld, "operation %s: the certifier does not reach back to its first try", a.ID)
	}
	commit := clock.Stamp{Time: d.Time}
	return kv.OutcomeAnswer{Outcome: kv.Applied, Commit: commit, Token: kv.Token{Cluster: c.cluster, Seen: clock.VectorOf(clock.Entry(commit))}}, nil
}
