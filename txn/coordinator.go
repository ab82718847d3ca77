package txn

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// Snapshots opens snapshots. Safe for concurrent use.
type Snapshots interface {
	Exposure
	// Wait returns once the exposed vector includes v; with own, once Applied does.
	Wait(ctx context.Context, v clock.Vector, own bool) error
}

// Coordinator runs transactions of one node. It implements kv.Service but for what only the node
// knows (Status). Safe for concurrent use once Start has returned.
type Coordinator struct {
	*Committer
	snapshots Snapshots
	cluster   kv.ClusterID
	region    string
	node      string
	regions   Regions // nil: there are no others
	open      *openTxns
	strong    Strong // nil: there is no level strong
	rules     func() *kv.Rules
	leaving   sync.WaitGroup // goroutines that close snapshots of strong transactions whose callers are gone
}

// Config says what a Coordinator works on.
type Config struct {
	CommitterConfig
	Snapshots Snapshots
	Cluster   kv.ClusterID
	Region    string  // name of the own region
	Node      string  // address at which clients are served, for receipts; may be empty
	Regions   Regions // nil: no level above causal, and no durability beyond this region
	Strong    Strong  // nil: there is no level strong
	// Rules gives the rules of buckets as they are now, at every call; it must not block. nil: there are none.
	Rules func() *kv.Rules
}

// New prepares a coordinator. Start makes it ready.
func New(c Config) *Coordinator {
	c.Exposure = c.Snapshots
	return &Coordinator{
		Committer: NewCommitter(c.CommitterConfig),
		snapshots: c.Snapshots,
		cluster:   c.Cluster,
		region:    c.Region,
		node:      c.Node,
		regions:   c.Regions,
		strong:    c.Strong,
		rules:     c.Rules,
		// Ids of an earlier process are not mistaken for this one's.
		open: newOpenTxns(c.Mono, kv.TxnID(c.Incarnation<<24)),
	}
}

// Expire ends interactive transactions that nobody uses any more, and forgets operation ids that
// have had their time. node calls it every few seconds.
func (c *Coordinator) Expire() {
	c.turnIfDue()
	for _, t := range c.open.expired(false) {
		t.end()
	}
}

// Stop ends all open transactions and the lane.
func (c *Coordinator) Stop(ctx context.Context) error {
	for _, t := range c.open.expired(true) {
		t.endWithin(ctx)
	}
	return c.Committer.Stop(ctx)
}

// OpenTxns is the number of open interactive transactions.
func (c *Coordinator) OpenTxns() int { return c.open.count() }

// OldestTxn is how long ago the oldest open interactive transaction began; 0: none is open.
func (c *Coordinator) OldestTxn() time.Duration { return c.open.oldest() }

// session checks options and waits until what the token names and what the level asks for is here. own
// tells that the snapshot must be taken at what is applied rather than exposed.
func (c *Coordinator) session(ctx context.Context, o *kv.Options, m *meter) (own bool, err error) {
	if err := c.served(o); err != nil {
		return false, err
	}
	began := m.now()
	own, waited, err := c.awaitAll(ctx, o)
	m.lap(began, tokenPhase)
	c.stats.served(o.Level, waited, err)
	if err == nil {
		c.staleAt(m)
	}
	return own, err
}

// awaitAll waits for the token first: what a level asks for holds at the moment when it returns.
func (c *Coordinator) awaitAll(ctx context.Context, o *kv.Options) (own, waited bool, err error) {
	own = o.Durability == kv.DurabilityApplied
	seen := o.Token.Seen
	if len(seen) > 0 && o.Token.Cluster != c.cluster {
		return false, false, kv.Errorf(kv.KindInvalid, "session token of cluster %s: this is cluster %s", o.Token.Cluster, c.cluster)
	}
	if err := c.notVoid(seen); err != nil || o.Level == kv.LevelEventual {
		return own, false, err
	}
	exposed := c.snapshots.Exposed()
	waits := !exposed.Includes(seen)
	if o.Wait > 0 && (waits || o.Level > kv.LevelCausal) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Wait)
		defer cancel()
	}
	if waits {
		own = own || seen.At(c.lane.Region) > exposed.At(c.lane.Region)
		if err := c.await(ctx, o, own); err != nil {
			return own, true, err
		}
		// What was waited for may turn out to be void: the lane then went on without it.
		if err := c.notVoid(seen); err != nil {
			return own, true, err
		}
	}
	waited, err = c.awaitLevel(ctx, o)
	return own, waited || waits, err
}

// await waits for what the token names.
func (c *Coordinator) await(ctx context.Context, o *kv.Options, own bool) error {
	if mutant.Built && !c.snapshots.Exposed().Includes(o.Token.Seen) && mutant.On(mutant.TokenNotWaitedFor) {
		return nil
	}
	return c.snapshots.Wait(ctx, o.Token.Seen, own)
}

// notVoid refuses a token that names what a crash took back, as far as this node has heard of it.
func (c *Coordinator) notVoid(seen clock.Vector) error {
	for _, e := range seen {
		if c.store.Void(clock.Stamp(e).Lane(), e.Time) {
			return kv.Errorf(kv.KindLost, "the session has seen %s, which a crash of region %d took back; begin a new session",
				clock.Stamp(e), e.Region)
		}
	}
	return nil
}

// Do implements kv.Service.
func (c *Coordinator) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	if err := c.settle(&req); err != nil {
		return kv.Response{}, err
	}
	if req.Options.Level == kv.LevelStrong {
		return c.doStrong(ctx, &req)
	}
	m := c.meter(&req.Options)
	resp, w, err := c.answer(ctx, &req, m)
	if err != nil {
		return kv.Response{}, undecided(req.Options.Attempt, err)
	}
	if w != nil {
		err = c.write(ctx, w, &resp.Receipt)
	}
	if w != nil && err == nil {
		err = c.spreadMeasured(ctx, &req.Options, m, &resp.Receipt)
	}
	if err == nil {
		c.complete(m, &resp.Receipt)
	}
	return resp, err
}

// answer answers a request's queries, and makes the commit of its operations, if it has any.
func (c *Coordinator) answer(ctx context.Context, req *kv.Request, m *meter) (resp kv.Response, w *commit, err error) {
	if err := boundQueries(req.Queries); err != nil {
		return resp, nil, err
	}
	own, err := c.session(ctx, &req.Options, m)
	if err != nil {
		return resp, nil, err
	}
	if len(req.Ops) == 0 && !own {
		if values, at, ok := c.peek(req.Queries, req.Room); ok {
			return kv.Response{Values: values, Receipt: c.receipt(&req.Options, at)}, nil, nil
		}
	}
	var at clock.Vector
	var open Snapshot
	asked := own
	if len(req.Queries) > 0 || len(req.Ops) == 0 {
		// A compare-and-set is judged by what is applied, and aborts if the snapshot holds less of it.
		own = own || compares(req.Ops)
		if open, err = c.snapshots.Open(len(req.Ops) > 0, own); err != nil {
			return resp, nil, err
		}
		at = nonNil(open.At())
		v := view{store: c.store, at: at, own: c.lane.Region, room: newRoom()}
		if resp.Values, err = v.queries(ctx, req.Queries); err != nil {
			open.Close()
			err, _ = c.told(ctx, err, at, req.Options.Token, asked)
			return resp, nil, err
		}
	}
	resp.Receipt = c.receipt(&req.Options, at)
	if len(req.Ops) == 0 {
		open.Close()
		return resp, nil, nil
	}
	w = newCommit(req.Options.Attempt, req.Options.Durability)
	w.snapshot, w.applied, w.open, w.times = at, own, open, m.times()
	if err := c.buffer(w.writes, at, req.Ops); err != nil {
		w.let()
		return resp, nil, err
	}
	return resp, w, nil
}

func boundQueries(qs []kv.Query) error {
	if len(qs) > kv.MaxQueries {
		return kv.Errorf(kv.KindTooLarge, "request of %d queries: at most %d; ask in several, in one transaction if they must agree", len(qs), kv.MaxQueries)
	}
	return nil
}

func (v *view) queries(ctx context.Context, qs []kv.Query) ([]kv.Value, error) {
	if len(qs) == 0 {
		return nil, nil
	}
	out := make([]kv.Value, len(qs))
	for i := range qs {
		var err error
		if out[i], err = v.query(ctx, &qs[i]); kv.KindOf(err) == kv.KindBound { // a counter beyond 64 bits
			return nil, kv.Errorf(kv.KindBound, "%s: %w", place{qs[i].Object, string(kv.AppendPath(nil, qs[i].Path))}, err)
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// peek answers queries of single leaves without opening a snapshot. The horizon never passes the
// exposed vector; so when that is the same after the reads as before them, nothing was folded
// beyond it in between. Otherwise, and for anything that scans, ok is false.
func (c *Coordinator) peek(qs []kv.Query, values []kv.Value) (_ []kv.Value, at clock.Vector, ok bool) {
	for i := range qs {
		if q := &qs[i]; q.Kind != kv.QueryValue || len(q.Path) != 0 || crdt.IsCollection(q.Type) {
			return nil, nil, false
		}
	}
	at = c.snapshots.Exposed()
	if len(values) < len(qs) {
		values = make([]kv.Value, len(qs))
	}
	values = values[:len(qs)]
	left, of := room{kv.MaxAnswerBytes}, generations{c.store, at}
	for i := range qs {
		if _, err := crdt.Address(qs[i].Object, nil); err != nil {
			return nil, nil, false // the long way says what is wrong
		}
		leaf := storage.Leaf{Object: qs[i].Object, Generation: of.of(qs[i].Bucket)}
		if c.store.Read(&leaf, at, &values[i]) != nil || left.take(valueSize(&values[i])) != nil {
			return nil, nil, false
		}
	}
	return values, at, c.snapshots.Exposed().Equal(at)
}

// buffer adds operations to a write set, all or none. A compare-and-set on what the transaction
// itself has written is decided here.
func (c *Coordinator) buffer(ws *writeSet, at clock.Vector, ops []kv.Op) error {
	if len(ops) > kv.MaxOps {
		return kv.Errorf(kv.KindTooLarge, "%d operations: at most %d in a transaction; split it", len(ops), kv.MaxOps)
	}
	if !compares(ops) {
		return ws.addAll(ops, nil)
	}
	trial := ws.clone() // a condition may fail when earlier operations of the call have been added
	v := view{store: c.store, at: at, own: c.lane.Region, mine: trial}
	err := trial.addAll(ops, func(w *write) error {
		if w.expect == nil || !trial.wrote(w.place) {
			return nil
		}
		got, err := v.leaf(w.place, w.target.Leaf)
		if err != nil {
			return err
		}
		return meets(w.expect, w.place, got)
	})
	if err == nil {
		*ws = *trial
	}
	return err
}

// compares reports whether there is a compare-and-set among operations.
func compares(ops []kv.Op) bool {
	return slices.ContainsFunc(ops, func(o kv.Op) bool { return o.Expect != nil })
}

// write commits and completes the receipt.
func (c *Coordinator) write(ctx context.Context, w *commit, r *kv.Receipt) error {
	res := c.commit(ctx, w)
	if res.err != nil && res.snapshot != nil {
		return c.judged(ctx, w, &res, r.Token)
	}
	if res.err != nil {
		return res.err
	}
	r.Snapshot = res.snapshot
	r.Commit = res.stamp
	r.Token.Cluster = c.cluster
	r.Token.Seen = r.Token.Seen.Join(c.store.Lowered(res.snapshot))
	if !mutant.On(mutant.CommitNotInToken) {
		r.Token.Seen = r.Token.Seen.Join(clock.VectorOf(clock.Entry(res.stamp)))
	}
	return nil
}

// judged is the error of a commit whose condition did not hold.
func (c *Coordinator) judged(ctx context.Context, w *commit, res *result, t kv.Token) error {
	err, final := c.told(ctx, res.err, res.snapshot, t, w.durability == kv.DurabilityApplied)
	if !final {
		return undecided(w.attempt, err)
	}
	return err
}

// told is an error that tells of the data at a snapshot, with a token that includes it. What is applied here a
// crash may still take back: so nobody hears of it before it can be read as well, but who asked for what is
// applied. If that can't be waited for, another error says so (heard is false).
func (c *Coordinator) told(ctx context.Context, err error, at clock.Vector, t kv.Token, applied bool) (_ error, heard bool) {
	at = c.store.Lowered(at)
	if e := c.snapshots.Wait(ctx, at, applied); e != nil {
		return kv.Errorf(kv.KindOf(e), "the call failed, and what it found is not on disk yet: %w", e), false
	}
	return kv.WithToken(err, kv.Token{Cluster: c.cluster, Seen: t.Seen.Join(at)}), true
}

func (c *Coordinator) receipt(o *kv.Options, at clock.Vector) kv.Receipt {
	return kv.Receipt{
		Level: o.Level, Bound: o.Bound, Region: c.region, Incarnation: c.Incarnation(), Lane: c.lane, Snapshot: at,
		Token: kv.Token{Cluster: c.cluster, Seen: o.Token.Seen.Join(c.store.Lowered(at))},
	}
}

// Begin implements kv.Service.
func (c *Coordinator) Begin(ctx context.Context, b kv.Begin) (kv.TxnID, kv.Receipt, error) {
	m, asked := c.meter(&b.Options), kv.Begin{ByDefault: b.ByDefault}
	asked.Options.SetConsistency(b.Options.Consistency())
	s, err := c.begin(ctx, &b, m)
	if err != nil {
		return 0, kv.Receipt{}, err
	}
	t := &openTxn{snapshot: s, options: b.Options, asked: asked, readOnly: b.ReadOnly}
	if m != nil {
		t.staleness = m.staleness
	}
	if b.Options.Level == kv.LevelStrong && !b.ReadOnly {
		t.reads = &readSet{generations: generations{c.store, nonNil(s.At())}}
	}
	id, err := c.open.add(t)
	if err != nil {
		s.Close()
		return 0, kv.Receipt{}, err
	}
	r := c.receipt(&b.Options, s.At())
	c.complete(m, &r)
	return id, r, nil
}

// begin opens the snapshot of an interactive transaction.
func (c *Coordinator) begin(ctx context.Context, b *kv.Begin, m *meter) (Snapshot, error) {
	if b.Options.Level != kv.LevelStrong {
		own, err := c.session(ctx, &b.Options, m)
		if err != nil {
			return nil, err
		}
		return c.snapshots.Open(!b.ReadOnly, own)
	}
	early, cancel := early(ctx, &b.Options)
	defer cancel()
	if b.ReadOnly {
		return c.openPosition(early, &b.Options, m)
	}
	return c.openStrong(early, &b.Options, m)
}

// locked finds an open transaction and locks it; the caller unlocks it.
func (c *Coordinator) locked(ctx context.Context, id kv.TxnID) (*openTxn, error) {
	t, err := c.open.get(id)
	if err != nil {
		return nil, err
	}
	if err := t.lock(ctx); err != nil {
		return nil, kv.Errorf(kv.KindDeadline, "transaction %d: %w", id, err)
	}
	if t.over() {
		t.unlock()
		return nil, kv.Errorf(kv.KindNotFound, "transaction %d has ended; begin it again", id)
	}
	return t, nil
}

// Execute implements kv.Service.
func (c *Coordinator) Execute(ctx context.Context, id kv.TxnID, ops []kv.Op, queries []kv.Query) ([]kv.Value, error) {
	t, err := c.locked(ctx, id)
	if err != nil {
		return nil, err
	}
	defer t.unlock()
	if err := boundQueries(queries); err != nil {
		return nil, err
	}
	if err := c.within(t, ops, queries); err != nil {
		return nil, err
	}
	if t.readOnly && len(ops) > 0 {
		return nil, kv.Errorf(kv.KindInvalid, "transaction %d was begun read-only: it can't write; begin one that may", id)
	}
	at := nonNil(t.snapshot.At())
	err = c.buffer(&t.writes, at, ops)
	t.holdsWhatItHas()
	if err != nil {
		return nil, err
	}
	if mutant.Built && !at.Includes(c.snapshots.Exposed()) && mutant.On(mutant.ReadsNewestInTransaction) {
		at = c.snapshots.Exposed()
	}
	v := view{store: c.store, at: at, own: c.lane.Region, mine: t.writes.ifAny(), room: newRoom(), reads: t.reads}
	return v.queries(ctx, queries)
}

// Commit implements kv.Service.
func (c *Coordinator) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	m := c.meter(&o)
	if err := c.served(&kv.Options{Durability: o.Durability, Regions: o.Regions}); err != nil { // the level is Begin's
		return kv.Receipt{}, undecided(o.Attempt, err)
	}
	t, err := c.locked(ctx, id)
	if err != nil {
		return kv.Receipt{}, undecided(o.Attempt, err)
	}
	defer t.unlock()
	c.open.remove(id)
	if err := c.settleCommit(t, &o); err != nil {
		t.endLocked()
		return kv.Receipt{}, undecided(o.Attempt, err)
	}
	at := nonNil(t.snapshot.At())
	r := c.receipt(&t.options, at)
	if t.options.Level == kv.LevelStrong {
		return c.endStrong(ctx, t, &o, m)
	}
	if m != nil {
		m.staleness = aged(t.staleness, c.mono()-t.began)
	}
	if o.Discard || t.writes.live == 0 && len(t.writes.conditions) == 0 {
		t.endLocked()
		c.complete(m, &r)
		return r, nil
	}
	t.ended = true // the commit closes the snapshot (invariant 3)
	w := newCommit(o.Attempt, o.Durability)
	w.set, t.writes = t.writes, writeSet{} // who gives up leaves it to the writer
	w.snapshot, w.open, w.times = at, t.snapshot, m.times()
	defer t.release()
	if err = c.write(ctx, w, &r); err != nil {
		return r, err
	}
	if err = c.spreadMeasured(ctx, &o, m, &r); err == nil {
		c.complete(m, &r)
	}
	return r, err
}

// Abort implements kv.Service.
func (c *Coordinator) Abort(_ context.Context, id kv.TxnID) error {
	if t := c.open.remove(id); t != nil {
		t.end()
	}
	return nil
}

// Outcome implements kv.Service.
func (c *Coordinator) Outcome(ctx context.Context, req kv.OutcomeRequest) (kv.OutcomeAnswer, error) {
	if req.Attempt.ID.IsZero() {
		return kv.OutcomeAnswer{}, kv.Errorf(kv.KindInvalid, "outcome: no operation id given")
	}
	if req.Attempt.Lane == (clock.Lane{}) {
		return c.outcomeStrong(ctx, req.Attempt)
	}
	a, err := c.outcome(ctx, req.Attempt)
	if err != nil {
		return kv.OutcomeAnswer{}, err
	}
	if a.Outcome == kv.Applied {
		a.Token = kv.Token{Cluster: c.cluster, Seen: clock.VectorOf(clock.Entry(a.Commit))}
	}
	return a, nil
}

func (c *Coordinator) viewAt(at clock.Vector) *view {
	return &view{store: c.store, at: at, own: c.lane.Region}
}
