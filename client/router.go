package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// maxOpenTxns bounds the interactive transactions that a client has open at once.
const maxOpenTxns = 10_000

// router is a kv.Service over several nodes. It chooses the node of each call, and tries again:
// reads anywhere, writes as far as invariant 2 allows.
type router struct {
	endpoints []*endpoint
	policy    retryPolicy
	newID     func() OpID
	started   time.Time     // of the monotonic clock that downUntil is on
	certified atomic.Uint64 // the most that any node has told of region 0

	mu      sync.Mutex
	lastTxn kv.TxnID
	txns    map[kv.TxnID]openTxn
	unknown *sentTable
	closed  bool           // no probe begins
	probes  sync.WaitGroup // that are under way
}

// openTxn is where an interactive transaction lives. It can't move.
type openTxn struct {
	e       *endpoint
	id      kv.TxnID // at the node
	receipt kv.Receipt
	begun   time.Time
}

func newRouter(endpoints []*endpoint, policy retryPolicy) *router {
	r := &router{
		endpoints: endpoints,
		policy:    policy,
		newID:     NewOpID,
		started:   time.Now(),
		txns:      map[kv.TxnID]openTxn{},
		unknown:   newSentTable(maxSent),
	}
	for _, e := range endpoints {
		e.certified = &r.certified
		e.asking = make(chan struct{}, 1)
		e.asking <- struct{}{}
	}
	return r
}

func (r *router) now() int64 { return int64(time.Since(r.started)) }

// Ranks of endpoints for a try, the best first.
const (
	rankNew  = iota // up, and not tried by the call
	rankUp          // tried
	rankDown        // failed lately, or without a connection
	rankMute        // did not answer when it was asked whether it is there
	rankNone        // no database
)

func (r *router) rank(e *endpoint, failed *failures) int {
	switch up := r.up(e); {
	case failed.unusable(e):
		return rankNone
	case up && !failed.tried(e):
		return rankNew
	case up:
		return rankUp
	case !e.mute.Load():
		return rankDown
	}
	return rankMute
}

// choose picks the endpoint of a try: of those with the best rank the first, from the one behind last
// on, in turn. last is the one that the call tried last; nil: none.
func (r *router) choose(last *endpoint, failed *failures) (best *endpoint, rank int) {
	rank = rankNone + 1
	behind := slices.Index(r.endpoints, last) + 1
	for i := range r.endpoints {
		e := r.endpoints[(behind+i)%len(r.endpoints)]
		if its := r.rank(e, failed); its < rank {
			best, rank = e, its
		}
	}
	return best, rank
}

// elsewhere reports whether another node, or the same one later, may do better.
func elsewhere(err error) bool {
	switch kv.KindOf(err) {
	case kv.KindUnavailable, kv.KindStale, kv.KindOverloaded, kv.KindCorrupt, kv.KindReadOnly:
		return true
	}
	return false
}

// blame passes over an endpoint for a while if err says that the node itself is in trouble, or that
// there is none.
func (r *router) blame(e *endpoint, err error) {
	switch kind := kv.KindOf(err); {
	case kind == kv.KindUnavailable, kind == kv.KindCorrupt, kind == kv.KindReadOnly, unusable(err):
		e.fail(r.now)
	}
}

// retryAfter is the hint in an error.
func retryAfter(err error) time.Duration {
	var e *kv.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// each runs try on one endpoint after the other until it succeeds, or fails in a way that no other
// endpoint would change, or tries run out. try must not have written anything when it fails so. An
// address without a database costs no try, since nothing is sent, and is asked once.
func (r *router) each(ctx context.Context, o *kv.Options, try func(t *turn) error) error {
	var failed failures
	e, _ := r.choose(nil, &failed)
	for n := 1; ; n++ {
		t := r.turn(ctx, e, &failed, n >= r.policy.tries)
		err := t.run(r, o, try)
		if err == nil || kv.OutcomeOf(err) != kv.NotApplied || !elsewhere(err) && !unusable(err) {
			return failed.instead(ctx, err)
		}
		r.blame(e, err)
		failed.note(e, err)
		if unusable(err) {
			n--
		}
		if n >= r.policy.tries || ctx.Err() != nil || failed.hopeless(r.endpoints) || t.last(r, o, err, &failed) {
			return failed.all()
		}
		next, rank := r.choose(e, &failed)
		// One that is behind has been waited for already.
		if rank != rankNew && kv.KindOf(err) != kv.KindStale && r.policy.pause(ctx, max(n, 1), retryAfter(err)) != nil {
			return failed.all()
		}
		e = next
	}
}

// others counts the endpoints but e that a call has not tried and that are up.
func (r *router) others(e *endpoint, failed *failures) (n int) {
	for _, other := range r.endpoints {
		if other != e && r.rank(other, failed) == rankNew {
			n++
		}
	}
	return n
}

func (r *router) Do(ctx context.Context, req kv.Request) (resp kv.Response, err error) {
	if len(req.Ops) > 0 {
		return r.write(ctx, req)
	}
	err = r.each(ctx, &req.Options, func(t *turn) error {
		var err error
		if resp, err = t.e.svc.Do(t.ctx, req); err == nil {
			t.e.learn(&resp.Receipt)
		}
		return err
	})
	return resp, err
}

func (r *router) Begin(ctx context.Context, b kv.Begin) (id kv.TxnID, receipt kv.Receipt, err error) {
	err = r.each(ctx, &b.Options, func(t *turn) error {
		at, rec, err := t.e.svc.Begin(t.ctx, b)
		if err != nil {
			return err
		}
		t.e.learn(&rec)
		receipt = rec
		id, err = r.opened(openTxn{t.e, at, rec, time.Now()})
		return err
	})
	return id, receipt, err
}

func (r *router) opened(t openTxn) (kv.TxnID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.txns) >= maxOpenTxns {
		// The node ends the one just begun by itself.
		return 0, kv.Errorf(kv.KindTooLarge, "%d transactions are open in this client: end some first", len(r.txns))
	}
	r.lastTxn++
	r.txns[r.lastTxn] = t
	return r.lastTxn, nil
}

func (r *router) txn(id kv.TxnID) (openTxn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.txns[id]
	if !ok {
		return t, kv.Errorf(kv.KindNotFound, "no open transaction %d in this client", id)
	}
	return t, nil
}

// ended forgets a transaction.
func (r *router) ended(id kv.TxnID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.txns, id)
}

// lost takes the error of a call in a transaction: if the node failed the transaction is gone.
func (r *router) lost(id kv.TxnID, t openTxn, err error) error {
	if gone(err) {
		r.blame(t.e, err)
		r.ended(id)
	}
	return err
}

func (r *router) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	t, err := r.txn(id)
	if err != nil {
		return nil, err
	}
	var values []kv.Value
	err = r.within(ctx, t.e, func(ctx context.Context) (err error) {
		values, err = t.e.svc.Execute(ctx, t.id, ops, queries)
		return err
	})
	return values, r.lost(id, t, err)
}

func (r *router) Abort(ctx context.Context, id kv.TxnID) error {
	t, err := r.txn(id)
	if err != nil {
		return nil // ending one that is gone is not an error
	}
	r.ended(id)
	return t.e.svc.Abort(ctx, t.id)
}

func (r *router) Keys(ctx context.Context, req kv.KeysRequest) (page kv.KeysPage, err error) {
	if id := req.Txn; id != 0 {
		t, err := r.txn(id)
		if err != nil {
			return page, err
		}
		req.Txn = t.id
		err = r.within(ctx, t.e, func(ctx context.Context) (err error) {
			page, err = t.e.svc.Keys(ctx, req)
			return err
		})
		return page, r.lost(id, t, err)
	}
	err = r.each(ctx, &req.Options, func(t *turn) error {
		page, err = t.e.svc.Keys(t.ctx, req)
		return err
	})
	return page, err
}

func (r *router) Digest(ctx context.Context, req kv.DigestRequest) (d kv.Digest, err error) {
	err = r.each(ctx, &req.Options, func(t *turn) error {
		d, err = t.e.svc.Digest(t.ctx, req)
		return err
	})
	return d, err
}

func (r *router) Status(ctx context.Context) (s kv.Status, err error) {
	err = r.each(ctx, &kv.Options{}, func(t *turn) error {
		if s, err = t.e.svc.Status(t.ctx); err == nil {
			t.e.learn(&kv.Receipt{Incarnation: s.Incarnation, Lane: s.Lane, Region: s.Region, Snapshot: s.Exposed})
		}
		return err
	})
	return s, err
}

func (r *router) Buckets(ctx context.Context, req kv.BucketsRequest) (page kv.BucketsPage, err error) {
	err = r.each(ctx, &kv.Options{}, func(t *turn) error {
		page, err = t.e.svc.Buckets(t.ctx, req)
		return err
	})
	return page, err
}

func (r *router) CreateBucket(ctx context.Context, rules kv.BucketRules) (kv.DecidedRules, error) {
	return decide(ctx, r, func(s kv.Service) (kv.DecidedRules, error) { return s.CreateBucket(ctx, rules) })
}

func (r *router) AlterBucket(ctx context.Context, rules kv.BucketRules, since uint64) (kv.DecidedRules, error) {
	return decide(ctx, r, func(s kv.Service) (kv.DecidedRules, error) { return s.AlterBucket(ctx, rules, since) })
}

func (r *router) DropBucket(ctx context.Context, req kv.DropRequest) (kv.DroppedBucket, error) {
	return decide(ctx, r, func(s kv.Service) (kv.DroppedBucket, error) { return s.DropBucket(ctx, req) })
}

// decide has something decided about a bucket through one node after the other. It leaves no node for being silent:
// the call waits for the others there, and what becomes of it would not be known.
func decide[T any](ctx context.Context, r *router, call func(kv.Service) (T, error)) (d T, err error) {
	err = r.each(ctx, &kv.Options{}, func(t *turn) error {
		d, err = call(t.e.svc)
		return err
	})
	return d, err
}

// RemoveRegion leaves no node for being silent, as decide.
func (r *router) RemoveRegion(ctx context.Context, name string) error {
	return r.each(ctx, &kv.Options{}, func(t *turn) error { return t.e.svc.RemoveRegion(ctx, name) })
}

func (r *router) BucketRules(ctx context.Context) (list []kv.DecidedRules, err error) {
	err = r.each(ctx, &kv.Options{}, func(t *turn) error {
		list, err = t.e.svc.BucketRules(t.ctx)
		return err
	})
	return list, err
}
