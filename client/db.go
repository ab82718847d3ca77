package client

import (
	"context"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// Option configures a DB.
type Option func(*config)

// WithDefaults gives options to every call, before the call's own.
func WithDefaults(opts ...CallOption) Option {
	return func(c *config) { c.defaults = applyOptions(c.defaults, opts) }
}

// core is what a DB, its sessions and transactions share.
type core struct {
	svc      kv.Service
	defaults call
	routed   bool // svc names operations and incarnations itself
	close    func() error
	newID    func() OpID
	policy   retryPolicy
	strong   strongBuckets
}

// DB is a database: the default bucket's objects, other buckets, transactions and sessions. Calls
// on a DB carry no session: each is atomic and sees a causally closed snapshot, but two calls may
// be served by nodes that have seen different things. It is safe for concurrent use.
type DB struct{ home }

// New returns a database over any service: an embedded node, or one of your own. Options that are
// about connections do nothing here. Closing the DB leaves the service open.
func New(svc kv.Service, opts ...Option) *DB {
	return newDB(svc, newConfig(opts))
}

func newDB(svc kv.Service, cfg *config) *DB {
	c := &core{svc: svc, defaults: cfg.defaults, newID: NewOpID, policy: cfg.policy, close: func() error { return nil }}
	db := &DB{}
	db.init(c, nil)
	return db
}

// Session begins a session that has seen nothing yet.
func (db *DB) Session() *Session { return newSession(db.core, Token{}) }

// Resume goes on with a session from its token, of this process or another: what the token's
// session has read and written, this one sees.
func (db *DB) Resume(t Token) *Session { return newSession(db.core, t) }

// Service is what the DB runs on, for tools that need all of it.
func (db *DB) Service() kv.Service { return db.svc }

// Close closes the connections. Calls under way fail.
func (db *DB) Close() error { return db.close() }

// home is a scope outside of transactions: a DB (whose session is nil) or a Session.
type home struct {
	scope
	*core
	session *Session
}

func (h *home) init(c *core, s *Session) {
	h.core, h.session = c, s
	h.scope = newScope(h)
}

// Do runs a transaction in one round trip: the queries read a snapshot, each answered by one value,
// then the operations are written.
func (h *home) Do(ctx context.Context, ops []Op, queries []Query, opts ...CallOption) ([]Value, error) {
	return h.do(ctx, ops, queries, nil, opts)
}

func (h *home) do(ctx context.Context, ops []kv.Op, queries []kv.Query, room []kv.Value, opts []CallOption) ([]kv.Value, error) {
	req := kv.Request{Queries: queries, Ops: ops, Room: room}
	if len(opts) == 0 && h.session == nil && h.defaults.Attempt.ID.IsZero() {
		return h.ask(ctx, &h.defaults, &req) // as they are: nothing to copy
	}
	c, err := h.call(ctx, opts)
	if err != nil {
		return nil, err
	}
	return h.ask(ctx, &c, &req)
}

func (h *home) ask(ctx context.Context, c *call, req *kv.Request) ([]kv.Value, error) {
	resp, err := h.send(ctx, c, req)
	if err != nil {
		return nil, h.failed(err)
	}
	if len(resp.Values) != len(req.Queries) {
		return nil, h.failed(miscounted(len(resp.Values), req, resp.Receipt.Token))
	}
	return resp.Values, h.succeeded(c, resp.Receipt)
}

// miscounted is the error of an answer that does not fit its request. What was asked was done.
func miscounted(got int, req *kv.Request, t Token) error {
	e := kv.Errorf(kv.KindCorrupt, "%d answers to %d queries", got, len(req.Queries))
	if len(req.Ops) > 0 {
		e = e.WithOutcome(kv.Applied)
	}
	return kv.WithToken(e, t)
}

// call makes the options of one call: defaults, the caller's, the session's token.
func (h *home) call(ctx context.Context, opts []CallOption) (call, error) {
	c := callOptions(h.defaults, opts)
	if err := c.Check(); err != nil {
		return c, err
	}
	if h.session != nil {
		token, err := h.session.Token().Join(c.Token)
		if err != nil {
			return c, err
		}
		c.Token = token
	}
	if a := &c.Attempt; !h.routed && !a.ID.IsZero() && !a.Retry && a.Incarnation == 0 {
		status, err := h.svc.Status(ctx)
		if err != nil {
			return c, err
		}
		a.Incarnation, a.After = status.Incarnation, status.Certified() // of now: they change as time goes by
	}
	return c, nil
}

// failed takes in what an error tells of the data, and returns it.
func (h *home) failed(err error) error {
	if h.session != nil && err != nil {
		// A token of another cluster can't be joined; err is the better answer then, too.
		_ = h.session.saw(kv.TokenOf(err))
	}
	return err
}

// succeeded takes a receipt in: the caller's copy and the session's token.
func (h *home) succeeded(c *call, r Receipt) error {
	c.fill(r)
	if h.session != nil {
		return h.session.saw(r.Token)
	}
	return nil
}

// Outcome asks what became of the operation with this id, whose call failed with outcome unknown.
// An answer "not applied" also makes sure that it never will be. A client remembers the last operations
// whose outcome it could not tell; for one that succeeded, or of another process, name the try with WithAttempt: its lane, and what
// a receipt of it told before the first try (After), or else the age of that.
func (h *home) Outcome(ctx context.Context, id OpID, opts ...CallOption) (OutcomeAnswer, error) {
	c := callOptions(h.defaults, opts)
	c.Attempt.ID = id
	answer, err := h.svc.Outcome(ctx, kv.OutcomeRequest{Attempt: c.Attempt})
	if err == nil && h.session != nil {
		err = h.session.saw(answer.Token)
	}
	return answer, h.failed(err)
}

// Digest computes a digest of the readable content of a bucket, or of all with an empty name, at
// one snapshot. Two regions with equal content give equal digests.
func (h *home) Digest(ctx context.Context, bucket string, opts ...CallOption) (Digest, error) {
	c, err := h.call(ctx, opts)
	if err != nil {
		return Digest{}, err
	}
	d, err := h.svc.Digest(ctx, kv.DigestRequest{Options: c.Options, Bucket: kv.Bucket(bucket)})
	if err != nil {
		return Digest{}, h.failed(err)
	}
	return d, h.succeeded(&c, d.Receipt)
}

// Status asks the node that serves this client for its view of itself and the cluster.
func (h *home) Status(ctx context.Context) (Status, error) { return h.svc.Status(ctx) }

// CreateBucket decides the rules of a bucket that has none, for all regions; data may be in it already. A
// majority of the regions must be reached. When it returns, calls that the same node is asked from then on are
// judged by the rules; those of DecidedRules.Pending follow as soon as they hear of it. Options are not taken: a
// decision has no level.
//
//	_, err := db.CreateBucket(ctx, client.BucketRules{Name: "accounts", Levels: []client.Level{client.LevelStrong}})
func (h *home) CreateBucket(ctx context.Context, rules BucketRules) (DecidedRules, error) {
	return h.svc.CreateBucket(ctx, rules)
}

// AlterBucket replaces the rules of a bucket. since is DecidedRules.Since of the rules that these were made
// from, so that nobody else's change in between is undone (ErrAborted then), or 0: whatever they are.
func (h *home) AlterBucket(ctx context.Context, rules BucketRules, since uint64) (DecidedRules, error) {
	return h.svc.AlterBucket(ctx, rules, since)
}

// DropBucket takes a bucket's rules away, if it has any, and all that it holds. Whoever sees the drop, or anything that
// came after it, finds the bucket empty, in every region, and may use its name for something else at once; who does not
// yet, still finds what was there. What is written there by those who had not heard of the drop is lost. A bucket
// that holds objects is refused (ErrInvalid) unless WithData is set, and one that has neither rules nor objects is not
// found. A majority of the regions must be reached. A session's drop comes after all that it has seen, and its calls
// see it.
//
//	_, err := db.DropBucket(ctx, client.DropRequest{Bucket: "carts", WithData: true})
func (h *home) DropBucket(ctx context.Context, req DropRequest) (DroppedBucket, error) {
	if h.session != nil {
		token, err := h.session.Token().Join(req.Token)
		if err != nil {
			return DroppedBucket{}, err
		}
		req.Token = token
	}
	d, err := h.svc.DropBucket(ctx, req)
	if err != nil {
		return d, h.failed(err)
	}
	return d, h.succeeded(&call{}, d.Receipt)
}

// BucketRules lists the buckets that have rules, by name.
func (h *home) BucketRules(ctx context.Context) ([]DecidedRules, error) {
	return h.svc.BucketRules(ctx)
}

// RemoveRegion removes a region from the cluster, for good; one that has not finished joining is abandoned. It is
// decided by a majority of the regions (ErrUnavailable where none is reached). From the first of two decisions on
// no region takes what the removed one writes; what it acknowledged and no other had received is lost. The second one
// waits until every other region has said what it holds: if ctx ends before, the error matches ErrDeadline with
// OutcomeApplied, and the removal goes on by itself. A region that never comes back must be removed too, then.
func (h *home) RemoveRegion(ctx context.Context, name string) error {
	return h.svc.RemoveRegion(ctx, name)
}

// Buckets goes through the names of the buckets that exist, those that were written to, in byte order, a
// page at a time. The pages are of no one snapshot: a bucket that appears meanwhile may be missed. An
// error ends it.
func (h *home) Buckets(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		req := kv.BucketsRequest{Limit: pageSize}
		for {
			page, err := h.svc.Buckets(ctx, req)
			if err != nil {
				yield("", h.failed(err))
				return
			}
			for _, b := range page.Buckets {
				if !yield(string(b), nil) {
					return
				}
			}
			if len(page.Next) == 0 {
				return
			}
			req.After = page.Next
		}
	}
}

// Limits and pace of retries.
const (
	defaultTries = 12                     // tries of one call, the first included; range 1 to 100
	maxTries     = 100                    // the most that WithTries accepts
	firstPause   = 25 * time.Millisecond  // before the second round of tries
	maxPause     = 1 * time.Second        // between two tries; pauses double up to it
	abortTimeout = 500 * time.Millisecond // for ending a transaction that failed
)

// retryPolicy says how often and how fast to try again. Its functions are replaced in tests.
type retryPolicy struct {
	tries  int
	random func() float64 // uniform in [0, 1)
}

func newRetryPolicy() retryPolicy { return retryPolicy{tries: defaultTries, random: rand.Float64} }

// WithTries bounds how often a call is tried, the first time included. Default 12, range 1 to 100;
// with pauses that double from 25 ms to 1 s, 12 tries take about 6 s, which spans the restart of a
// node. 1 turns retries off. The caller's context bounds them too.
func WithTries(n int) Option {
	return func(c *config) { c.policy.tries = min(max(n, 1), maxTries) }
}

// pause waits before try number n (counted from 1), at least as long as the hint says, or until ctx
// ends. Half of each pause is random, so that clients that failed together do not return together.
func (p retryPolicy) pause(ctx context.Context, n int, hint time.Duration) error {
	d := min(firstPause<<min(n-1, 10), maxPause)
	return p.wait(ctx, d, min(hint, maxPause))
}

// wait waits for half of d to all of it, and for least at least, or until ctx ends.
func (p retryPolicy) wait(ctx context.Context, d, least time.Duration) error {
	d = max(d/2+time.Duration(p.random()*float64(d/2)), least)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
