package client

import (
	"bytes"
	"context"
	"errors"

	"github.com/theriac-db/theriac/kv"
)

// maxRuns bounds how often Update and View run their function, the first time included.
const maxRuns = 8

// flushBytes is how much a transaction buffers here before it hands it to the node.
const flushBytes = 1 << 20

// Tx is a transaction: all its reads see one snapshot and its own writes before them, and all its
// writes happen together or not at all. It comes from Update or View, is used by one goroutine at a
// time, and ends when their function returns. Its handles take the same calls as a DB's, but no
// call options: those are the transaction's.
//
// The snapshot is taken at the first read, or at the commit when there is none. Writes go to the
// node with the next read or with the commit, so that is when a refused one is reported; from then
// on every call of the transaction returns that error.
type Tx struct {
	scope
	home     *home
	call     call
	readOnly bool
	// byDefault tells that the level is that of buckets' defaults, as the run before was told, and not the caller's.
	byDefault bool

	id      kv.TxnID
	begun   bool
	receipt Receipt // of the beginning
	told    bool    // a query or a listing was answered
	ops     []kv.Op // not yet handed to the node
	count   int     // of all operations so far
	bytes   int     // in ops
	broken  error   // why it can't commit
	ended   bool
}

// Update runs fn in a transaction and commits it. If fn returns an error or panics nothing is
// written, and the error is returned as it is; at level strong it is judged before.
//
// fn may run again, when it is certain that the run before wrote nothing: at most 8 times in all when a
// comparison of CompareAndSet no longer held at the commit, or the node failed before; at most 16 times
// when a transaction at level strong met another one (then with what that wrote in its snapshot); and once
// more, at that level, whenever it names no level and touches a bucket whose default is stronger than causal
// and than those of the buckets before.
// So fn should do nothing but its transaction's calls and setting variables anew.
//
// What a run has read at level strong is judged at its end: until then it may lack what was acknowledged just
// before. That is so, too, when fn returns an error, which costs a round trip to a majority then: if the run
// has read what is no longer the newest, fn runs again, and if that can't be found out, an error says so, of the
// kind that kept it from that, in place of fn's, whose text it has. A panic is not judged.
func (h *home) Update(ctx context.Context, fn func(tx *Tx) error, opts ...CallOption) error {
	return h.transact(ctx, fn, opts, false)
}

// View runs fn in a transaction that only reads, all at one snapshot. fn may run again when the
// node fails.
func (h *home) View(ctx context.Context, fn func(tx *Tx) error, opts ...CallOption) error {
	return h.transact(ctx, fn, opts, true)
}

func (h *home) transact(ctx context.Context, fn func(tx *Tx) error, opts []CallOption, readOnly bool) error {
	var again runs
	for {
		tx, err := h.newTx(ctx, opts, readOnly)
		if err == nil {
			err = again.prepare(tx)
		}
		if err != nil {
			return err
		}
		if err = tx.run(ctx, fn); err == nil || !again.may(ctx, tx, err) {
			return err
		}
	}
}

// runs is what the runs of one function came to so far.
type runs struct {
	conflicts int
	failures  int
	seen      Token       // of what the runs met
	level     Consistency // of the buckets' defaults, that the runs turned out to need; zero: the call's
	raised    int         // how often it turned out so
}

// prepare makes a run see what those before it met.
func (r *runs) prepare(tx *Tx) (err error) {
	if r.level != (Consistency{}) {
		tx.call.SetConsistency(r.level)
		tx.byDefault = true
	}
	tx.call.Token, err = tx.call.Token.Join(r.seen)
	return err
}

// may reports whether fn may run once more after err, and waits for its time.
func (r *runs) may(ctx context.Context, tx *Tx, err error) bool {
	met := tx.failure(err)
	switch {
	case r.raise(tx, met):
		return true
	case tx.begun && conflicted(&tx.call, met):
		r.conflicts++
		seen, failed := r.seen.Join(kv.TokenOf(met))
		r.seen = seen
		return failed == nil && r.conflicts < maxConflicts && tx.home.policy.yield(ctx, r.conflicts) == nil
	case tx.repeatable(err):
		r.failures++
		return r.failures < maxRuns && tx.home.policy.pause(ctx, r.failures, 0) == nil
	}
	return false
}

// raise takes the level that a run turned out to need whose level nobody has named.
func (r *runs) raise(tx *Tx, err error) bool {
	needs := kv.NeedsOf(err)
	if needs == (Consistency{}) || tx.call.Level != LevelDefault && !tx.byDefault {
		return false
	}
	r.level = needs
	r.raised++
	return r.raised < maxRuns
}

// failure is what went wrong in a run that ended with err: fn may have wrapped or replaced it.
func (tx *Tx) failure(err error) error {
	if tx.broken != nil {
		return tx.broken
	}
	return err
}

// snapshot runs fn once, or once more at the level that its bucket needs where nothing was answered before: an
// iterator can't take back what it has yielded.
func (h *home) snapshot(ctx context.Context, opts []CallOption, fn func(tx *Tx) error) error {
	var again runs
	for {
		tx, err := h.newTx(ctx, opts, true)
		if err == nil {
			err = again.prepare(tx)
		}
		if err != nil {
			return err
		}
		if err = tx.run(ctx, fn); err == nil || tx.told || !again.raise(tx, err) {
			return err
		}
	}
}

func (h *home) newTx(ctx context.Context, opts []CallOption, readOnly bool) (*Tx, error) {
	c, err := h.call(ctx, opts)
	if err != nil {
		return nil, err
	}
	tx := &Tx{home: h, call: c, readOnly: readOnly}
	tx.scope = newScope(tx)
	return tx, nil
}

// run calls fn and commits; whatever way fn ends, the transaction ends too (invariant 3).
func (tx *Tx) run(ctx context.Context, fn func(tx *Tx) error) error {
	defer tx.end(ctx)
	if err := fn(tx); err != nil {
		return tx.judge(ctx, err)
	}
	return tx.commit(ctx)
}

// judge returns an error of fn once what a strong transaction has read, which may be why, is known to have been the
// newest; otherwise it returns why that isn't known. Such a snapshot is of what a majority is known to have, and may
// lack what was acknowledged just before.
func (tx *Tx) judge(ctx context.Context, err error) error {
	switch {
	case !tx.begun || tx.readOnly || tx.receipt.Level != LevelStrong || gone(tx.broken):
		return err
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, ErrDeadline)):
		return err // it is the caller's own, and tells nothing of the data
	}
	tx.call.Attempt = kv.Attempt{} // an operation's id is for what is written, and is not used up
	options := tx.call.Options
	options.Discard = true
	if _, failed := tx.home.svc.Commit(ctx, tx.id, options); failed != nil {
		tx.broken = unjudged(failed, err)
		return tx.home.failed(tx.broken)
	}
	tx.ended = true
	return err
}

// unjudged is the error of a run that fn ended with an error, where what it has read can't be told to be the newest.
func unjudged(failed, err error) error {
	if kv.IsConflict(failed) {
		return failed
	}
	return kv.Errorf(kv.KindOf(failed), "what the transaction has read could not be judged, so nor can its function's error (%v): %w", err, failed)
}

// repeatable reports whether fn may run again after err: its run wrote nothing, and there is hope.
func (tx *Tx) repeatable(err error) bool {
	if !tx.begun || kv.OutcomeOf(err) != kv.NotApplied {
		return false // without a snapshot of its own another run would do the same again
	}
	if errors.Is(err, ErrAborted) {
		return !kv.IsConflict(err) // after which an id that the caller gave is decided for good
	}
	var e *kv.Error
	if errors.As(tx.broken, &e) && !e.ID.IsZero() && e.ID == tx.call.Attempt.ID {
		return false // the id that the caller gave is denied for good
	}
	// fn may have wrapped or replaced the error, so ask what broke the transaction.
	switch kv.KindOf(tx.broken) {
	case kv.KindUnavailable, kv.KindNotFound, kv.KindOverloaded:
		return true
	}
	return false
}

// Do buffers the operations, then answers the queries, which see all of the transaction's own
// operations so far.
func (tx *Tx) Do(ctx context.Context, ops []Op, queries []Query) ([]Value, error) {
	return tx.do(ctx, ops, queries, nil, nil)
}

func (tx *Tx) do(ctx context.Context, ops []kv.Op, queries []kv.Query, _ []kv.Value, opts []CallOption) ([]kv.Value, error) {
	if err := tx.usable(len(ops), opts); err != nil {
		return nil, err
	}
	tx.buffer(ops)
	if len(queries) == 0 && tx.bytes < flushBytes {
		return nil, nil
	}
	values, err := tx.execute(ctx, queries)
	if err == nil && len(values) != len(queries) {
		err = kv.Errorf(kv.KindCorrupt, "%d answers to %d queries", len(values), len(queries))
	}
	return values, err
}

func (tx *Tx) usable(ops int, opts []CallOption) error {
	switch {
	case tx.ended:
		return kv.Errorf(kv.KindInvalid, "use of a transaction after its function returned")
	case tx.broken != nil:
		return tx.broken
	case len(opts) > 0:
		return kv.Errorf(kv.KindInvalid, "options on a call within a transaction: give them to Update or View")
	case ops > 0 && tx.readOnly:
		return kv.Errorf(kv.KindInvalid, "a write in a read-only transaction: use Update")
	case tx.count+ops > kv.MaxOps:
		return kv.Errorf(kv.KindTooLarge, "transaction of more than %d operations: split it", kv.MaxOps)
	}
	return nil
}

// buffer keeps operations until the next flush. The caller may change its slices meanwhile.
func (tx *Tx) buffer(ops []kv.Op) {
	for _, op := range ops {
		op.Data = bytes.Clone(op.Data)
		if op.Expect != nil {
			op.Expect = &kv.Expectation{Absent: op.Expect.Absent, Value: bytes.Clone(op.Expect.Value)}
		}
		tx.ops = append(tx.ops, op)
		tx.bytes += len(op.Key) + len(op.Data)
	}
	tx.count += len(ops)
}

// execute hands the buffered operations to the node, then asks the queries. If operations fail the
// transaction is broken: going on would lose them in silence.
func (tx *Tx) execute(ctx context.Context, queries []kv.Query) ([]kv.Value, error) {
	if err := tx.begin(ctx); err != nil {
		return nil, err
	}
	values, err := tx.home.svc.Execute(ctx, tx.id, tx.ops, queries)
	if err != nil {
		if len(tx.ops) > 0 || gone(err) {
			tx.broken = err
		}
		return nil, tx.home.failed(err)
	}
	tx.ops, tx.bytes, tx.told = nil, 0, true
	return values, nil
}

// gone reports whether err means that the node no longer has the transaction.
func gone(err error) bool {
	if err == nil {
		return false
	}
	switch kv.KindOf(err) {
	case kv.KindUnavailable, kv.KindNotFound, 0:
		return true
	}
	return false
}

func (tx *Tx) begin(ctx context.Context) error {
	if tx.begun {
		return nil
	}
	id, receipt, err := tx.home.svc.Begin(ctx, kv.Begin{Options: tx.call.Options, ReadOnly: tx.readOnly, ByDefault: tx.byDefault})
	if err != nil {
		tx.broken = err
		return tx.home.failed(err)
	}
	tx.id, tx.receipt, tx.begun = id, receipt, true
	if tx.home.session != nil {
		// Now, however the transaction ends: what it reads its session has seen.
		tx.broken = tx.home.session.saw(receipt.Token)
	}
	return tx.broken
}

// commit writes: in one round trip when nothing was read. What a strong transaction that might have written has
// read is judged by its commit, too.
func (tx *Tx) commit(ctx context.Context) error {
	switch {
	case tx.broken != nil:
		return tx.broken
	case !tx.begun && tx.count == 0:
		return nil
	case !tx.begun:
		return tx.commitOneShot(ctx)
	case tx.count == 0 && (tx.readOnly || tx.receipt.Level != LevelStrong):
		return tx.home.succeeded(&tx.call, tx.receipt)
	}
	if len(tx.ops) > 0 {
		if _, err := tx.execute(ctx, nil); err != nil {
			return err
		}
	}
	receipt, err := tx.home.svc.Commit(ctx, tx.id, tx.call.Options)
	if err != nil {
		tx.broken = err
		return tx.home.failed(err)
	}
	tx.ended = true
	receipt.Paid = receipt.Paid.Plus(tx.receipt.Paid)
	return tx.home.succeeded(&tx.call, receipt)
}

func (tx *Tx) commitOneShot(ctx context.Context) error {
	if tx.byDefault {
		tx.call.SetConsistency(Consistency{}) // its buckets are known to the node all at once
	}
	resp, err := tx.home.send(ctx, &tx.call, &kv.Request{Ops: tx.ops})
	if err != nil {
		return tx.home.failed(err)
	}
	return tx.home.succeeded(&tx.call, resp.Receipt)
}

// end frees the transaction at the node unless it was committed. It does so even when ctx has
// ended, within a short time: what is not freed now the node frees later by itself.
func (tx *Tx) end(ctx context.Context) {
	ended := tx.ended
	tx.ended = true
	if ended || !tx.begun || gone(tx.broken) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	// The result says nothing that the caller could use: the node ends the transaction in any case.
	_ = tx.home.svc.Abort(ctx, tx.id)
}

// snapshot lets an iterator read within this transaction.
func (tx *Tx) snapshot(_ context.Context, opts []CallOption, fn func(tx *Tx) error) error {
	if err := tx.usable(0, opts); err != nil {
		return err
	}
	return fn(tx)
}

// keys calls fn with each object of a bucket under a prefix until it returns false.
func (tx *Tx) keys(ctx context.Context, bucket kv.Bucket, prefix kv.Key, fn func(Object) bool) error {
	if err := tx.flushForKeys(ctx); err != nil {
		return err
	}
	req := kv.KeysRequest{Txn: tx.id, Bucket: bucket, Prefix: prefix, Limit: pageSize}
	for {
		page, err := tx.home.svc.Keys(ctx, req)
		if err != nil {
			if gone(err) {
				tx.broken = err
			}
			return tx.home.failed(err)
		}
		tx.told = true
		for _, o := range page.Objects {
			if !fn(o) {
				return nil
			}
		}
		if len(page.Next) == 0 {
			return nil
		}
		req.After = page.Next
	}
}

// flushForKeys makes a listing see the transaction's own writes.
func (tx *Tx) flushForKeys(ctx context.Context) error {
	if len(tx.ops) == 0 {
		return tx.begin(ctx)
	}
	_, err := tx.execute(ctx, nil)
	return err
}
