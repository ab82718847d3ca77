package txn

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// Limits of the group committer. docs/reference/limits.md lists them.
const (
	MaxTxnBytes   = 16 << 20 // keys, paths and operations of one transaction
	MaxGroupBytes = 4 << 20  // a group takes no further transaction once it holds this much
	MaxGroupTxns  = 4096     // transactions in one group
	MaxQueued     = 1 << 16  // commits waiting for a group; one more gets ErrOverloaded
)

// cleanKey is the metadata under which an orderly stop leaves the reserved bound that then held. It
// tells the next start that no timestamp below that bound was shown and then lost.
const cleanKey = "txn/clean"

// Exposure is what txn needs of the exposed vector. All methods are safe for concurrent use. The
// Local ones are called on the store's writer and syncer goroutines, in the order of timestamps,
// and must not block on either.
type Exposure interface {
	// Open registers a snapshot of what is exposed now (applied: of what is applied), which holds
	// back the horizon until it is closed, and what other regions may call stable if it may write.
	Open(mayWrite, applied bool) (Snapshot, error)
	// Exposed is what readers may see, lowered to transactions.
	Exposed() clock.Vector
	// Applied is Exposed with the own entry at the last group applied here.
	Applied() clock.Vector
	// LocalApplied: a group of this lane is in the store. meet is the meet of its snapshots.
	LocalApplied(t clock.Timestamp, meet clock.Vector)
	// LocalDurable: every group of this lane up to t is on disk.
	LocalDurable(t clock.Timestamp)
	// LocalSafe: after last, the last group stamped before, this lane commits nothing at or below safe.
	LocalSafe(last, safe clock.Timestamp)
}

// Snapshot is an open snapshot.
type Snapshot interface {
	At() clock.Vector
	// Close is called once.
	Close()
}

// Committer forms groups and writes them. One per lane.
type Committer struct {
	store    *storage.Store
	exposure Exposure
	publish  func(t clock.Timestamp, encoded []byte)
	lane     clock.Lane
	wall     func() clock.Wall
	mono     func() time.Duration
	started  started
	span     time.Duration // how far ahead of the clock timestamps are reserved

	incarnation uint64 // of this process, named by first tries

	stats   stats
	refused atomic.Pointer[kv.Error] // why writes are refused; nil: they are not

	mu      sync.Mutex
	queue   []*commit
	kicked  bool // a group job is submitted and has not yet taken from the queue
	ids     *opTable
	stopped bool
	kicks   sync.WaitGroup // goroutines of kickLocked

	// Only touched on the store's writer goroutine.
	hybrid *clock.Hybrid

	size int // of the last record, for the next one's buffer

	// showing orders what is shown to readers before it is durable. It is taken alone, on the
	// writer's and the syncer's goroutines.
	showing sync.Mutex
	bound   clock.Timestamp // durable: timestamps up to it may be shown
	hidden  []*group        // applied, in order, the first of them above bound
}

// CommitterConfig says what a Committer works on.
type CommitterConfig struct {
	Store    *storage.Store
	Exposure Exposure
	Lane     clock.Lane
	Wall     func() clock.Wall
	Mono     func() time.Duration // monotonic clock
	Skew     time.Duration        // the skew bound; timestamps are reserved a quarter of it ahead
	// Publish is told of every record of the lane once it is on disk, in order, on the store's syncer
	// goroutine, before readers are shown it. It must not block, and may keep the bytes. May be nil.
	Publish func(t clock.Timestamp, encoded []byte)
	// Incarnation names this process; it differs from every earlier one of the store.
	Incarnation uint64
}

// started is when a committer started: on both clocks, and the lane's last record then.
type started struct {
	wall clock.Wall
	mono time.Duration
	last clock.Timestamp
}

// NewCommitter prepares a committer; Start must have returned before it commits.
func NewCommitter(c CommitterConfig) *Committer {
	if c.Publish == nil {
		c.Publish = func(clock.Timestamp, []byte) {}
	}
	return &Committer{
		publish: c.Publish,
		store:   c.Store, exposure: c.Exposure, lane: c.Lane, wall: c.Wall, mono: c.Mono, span: c.Skew / 4, incarnation: c.Incarnation,
		ids: newOpTable(),
	}
}

// result is what becomes of a commit.
type result struct {
	stamp    clock.Stamp
	snapshot clock.Vector
	err      error
}

// commit is one transaction on its way.
type commit struct {
	writes     *writeSet
	snapshot   clock.Vector // nil: taken when the group forms (nothing was read before)
	applied    bool         // a snapshot taken then includes what is applied, not only what is exposed
	open       Snapshot     // of snapshot; closed once, after LocalApplied or when nothing is written; may be nil
	attempt    kv.Attempt
	durability kv.Durability

	answer  chan result   // buffered; gets one result; from answers
	decided chan struct{} // closed when durable or failed; nil without an operation id
	result  result        // valid once decided is closed
	taken   bool          // by a group; under Committer.mu
	told    bool          // answered already; writer and syncer goroutines hand it over in order

	// Room for the writes of a one-shot transaction, so that a small one takes one allocation.
	set writeSet
	one [1]write
}

// newCommit returns a commit without writes.
func newCommit(a kv.Attempt, d kv.Durability) *commit {
	w := &commit{attempt: a, durability: d}
	w.writes = &w.set
	w.set.writes = w.one[:0]
	return w
}

// answers keeps channels for reuse: each gets one result, and its caller takes it.
var answers = sync.Pool{New: func() any { return make(chan result, 1) }}

// Refuse makes every later commit fail with err; nil lifts it.
func (c *Committer) Refuse(err *kv.Error) { c.refused.Store(err) }

// Refused is why writes are refused, or nil.
func (c *Committer) Refused() *kv.Error { return c.refused.Load() }

// commit hands a transaction to the group committer and waits for its answer.
func (c *Committer) commit(ctx context.Context, w *commit) result {
	w.answer = answers.Get().(chan result)
	if !w.attempt.ID.IsZero() {
		w.decided = make(chan struct{})
		first, res := c.admit(ctx, w)
		if first != nil || res != nil {
			w.let()
		}
		if res != nil {
			return *res
		}
		if first != nil {
			return first.await(ctx)
		}
	} else if err := c.enqueue(w); err != nil {
		w.let()
		return result{err: err}
	}
	select {
	case r := <-w.answer:
		answers.Put(w.answer)
		return r
	case <-ctx.Done():
		return c.giveUp(ctx, w)
	}
}

// enqueue puts a commit into the queue and makes sure that a group is on its way.
func (c *Committer) enqueue(w *commit) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enqueueLocked(w)
}

func (c *Committer) enqueueLocked(w *commit) error {
	if c.stopped {
		return kv.Errorf(kv.KindUnavailable, "commit: this node is stopping; try another")
	}
	if len(c.queue) >= MaxQueued {
		e := kv.Errorf(kv.KindOverloaded, "commit: %d commits are waiting already; try again later", MaxQueued)
		e.RetryAfter = 10 * time.Millisecond
		return e
	}
	c.queue = append(c.queue, w)
	if err := c.kickLocked(); err != nil {
		c.queue = c.queue[:len(c.queue)-1]
		return err
	}
	return nil
}

// kickLocked makes sure that a group is on its way. It never waits, since the writer may need mu:
// when the store's queue is full, a goroutine waits instead.
func (c *Committer) kickLocked() error {
	if c.kicked {
		return nil
	}
	err := c.store.Submit(ended, &group{c: c})
	switch kv.KindOf(err) {
	case 0:
	case kv.KindDeadline:
		c.kicks.Go(func() {
			if err := c.store.Submit(context.Background(), &group{c: c}); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.kicked = false
				c.failLocked(err)
			}
		})
	default:
		return err
	}
	c.kicked = true
	return nil
}

// ended is a context for submitting without waiting.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// giveUp is what a caller gets whose context ended first.
func (c *Committer) giveUp(ctx context.Context, w *commit) result {
	c.mu.Lock()
	taken := w.taken
	if !taken {
		for i := range c.queue {
			if c.queue[i] == w {
				c.queue[i] = nil
			}
		}
		delete(c.ids.underWay, w.attempt.ID)
	}
	c.mu.Unlock()
	if !taken {
		r := result{err: gaveUp(ctx, "commit: gave up before the transaction's turn came", kv.NotApplied)}
		w.let()
		w.finish(r)
		return r
	}
	select {
	case r := <-w.answer:
		return r
	default:
	}
	err := gaveUp(ctx, "commit: gave up while the transaction was being written; ask for its outcome, or retry with its operation id",
		kv.OutcomeUnknown)
	err.ID = w.attempt.ID
	return result{err: err}
}

// gaveUp turns a context's end into an error.
func gaveUp(ctx context.Context, what string, o kv.Outcome) *kv.Error {
	return kv.Errorf(kv.KindDeadline, "%s: %w", what, context.Cause(ctx)).WithOutcome(o)
}

// await waits for the first try of an operation and returns what became of it.
func (w *commit) await(ctx context.Context) result {
	select {
	case <-w.decided:
		return w.result
	case <-ctx.Done():
		err := gaveUp(ctx, "commit: an earlier try of this operation is still under way", kv.OutcomeUnknown)
		err.ID = w.attempt.ID
		return result{err: err}
	}
}

// let closes the commit's snapshot.
func (w *commit) let() {
	if w.open != nil {
		w.open.Close()
		w.open = nil
	}
}

// finish records what everybody who asks for this operation learns.
func (w *commit) finish(r result) {
	if w.decided != nil {
		w.result = r
		close(w.decided)
	}
}

// tell answers the caller, once.
func (w *commit) tell(r result) {
	if !w.told {
		w.told = true
		w.answer <- r
	}
}

// errNothing drops a batch that would write nothing.
var errNothing = errors.New("txn: nothing to write")

// group is the job that turns what is queued into one group.
type group struct {
	c        *Committer
	formed   bool // it has taken its commits from the queue
	commits  []*commit
	ready    []result // of commits, by index; set by Build
	snapshot Snapshot // open until the group is shown
	time     clock.Timestamp
	meet     clock.Vector
	encoded  []byte          // the record
	bound    clock.Timestamp // reserved by this batch; 0: none
}

// Build implements storage.Job.
func (g *group) Build(b *storage.Batch) error {
	g.take()
	rec := kv.Record{Header: kv.Header{Lane: g.c.lane, Kind: kv.RecordGroup}}
	g.assemble(&rec, b.Applied(g.c.lane))
	if len(g.commits) == 0 {
		return errNothing
	}
	g.stamp(&rec, b)
	local := false
	for i, w := range g.commits {
		g.ready[i].stamp = rec.Stamp()
		local = local || w.durability == kv.DurabilityLocal
	}
	if local || g.bound != 0 {
		b.Sync()
	}
	g.encoded = rec.Append(make([]byte, 0, g.c.size))
	g.c.size = len(g.encoded) + len(g.encoded)/8
	if err := b.Apply(&rec, g.encoded); err != nil {
		g.time = 0
		return err
	}
	return nil
}

// take removes commits from the queue, up to the limits of a group.
func (g *group) take() {
	c := g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	g.formed = true
	n, bytes := 0, 0
	for n < len(c.queue) && n < MaxGroupTxns && bytes < MaxGroupBytes {
		w := c.queue[n]
		n++
		if w == nil {
			continue // given up
		}
		if len(g.commits) > 0 && w.conflicts(g.commits) {
			n--
			break
		}
		w.taken = true
		bytes += w.writes.bytes
		g.commits = append(g.commits, w)
	}
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.kicked = false
	if rest > 0 {
		if err := c.kickLocked(); err != nil {
			c.failLocked(err)
		}
	}
}

// failLocked answers everything that is queued.
func (c *Committer) failLocked(err error) {
	for _, w := range c.queue {
		if w != nil {
			w.taken = true
			delete(c.ids.underWay, w.attempt.ID)
			err := c.denyRetryLocked(w.attempt, err)
			w.let()
			w.finish(result{err: err})
			w.tell(result{err: err})
		}
	}
	c.queue = nil
}

// assemble checks conditions, fixes snapshots and fills the record's transactions. Commits that
// fail are answered and leave the group. last is the lane's last record.
func (g *group) assemble(rec *kv.Record, last clock.Timestamp) {
	if g.open() != nil {
		return
	}
	exposed := nonNil(g.snapshot.At())
	applied := exposed
	if last > exposed.At(g.c.lane.Region) {
		applied = exposed.With(g.c.lane.Region, last)
	}
	kept := g.commits[:0]
	rec.Txns = make([]kv.Txn, 0, len(g.commits))
	effects := make([]kv.Effect, 0, g.effects())
	g.ready = make([]result, 0, len(g.commits))
	for _, w := range g.commits {
		snapshot := w.snapshot
		if snapshot == nil {
			snapshot = exposed
			if w.applied || len(w.writes.conditions) > 0 {
				snapshot = applied
			}
		}
		if err := g.c.check(w, applied); err != nil {
			g.c.drop(w, err)
			continue
		}
		first := len(effects)
		effects = w.writes.effects(effects)
		t := kv.Txn{ID: w.attempt.ID, Effects: effects[first:len(effects):len(effects)]}
		if w.writes.overrides {
			t.Snapshot = nonNil(snapshot)
		}
		rec.Txns = append(rec.Txns, t)
		g.join(rec, snapshot)
		kept = append(kept, w)
		g.ready = append(g.ready, result{snapshot: snapshot})
	}
	g.commits = kept
}

// effects is how many effects the group has, if none of its commits fails.
func (g *group) effects() int {
	n := 0
	for _, w := range g.commits {
		n += w.writes.live
	}
	return n
}

// open takes the snapshot of those transactions of the group that have none of their own. Without
// one nothing is written.
func (g *group) open() error {
	if len(g.commits) == 0 {
		return errNothing
	}
	s, err := g.c.exposure.Open(true, false)
	if err != nil {
		for _, w := range g.commits {
			g.c.drop(w, err)
		}
		g.commits = nil
		return err
	}
	g.snapshot = s
	return nil
}

// show tells the exposure that the group can be read, answers who waits for that only, and lets go
// of its snapshots: from here on the exposure keeps their meet.
func (g *group) show() {
	g.c.exposure.LocalApplied(g.time, g.meet)
	g.close()
	for i, w := range g.commits {
		if w.durability == kv.DurabilityApplied {
			w.tell(g.ready[i])
		}
	}
}

func (g *group) close() {
	if g.snapshot != nil {
		g.snapshot.Close()
		g.snapshot = nil
	}
	for _, w := range g.commits {
		w.let()
	}
}

// nonNil keeps an empty snapshot apart from none: at the very start of a cluster overrides see nothing.
func nonNil(v clock.Vector) clock.Vector {
	if v == nil {
		return clock.Vector{}
	}
	return v
}

// join takes a snapshot into the group's dependencies and into the meet that stability waits for.
func (g *group) join(rec *kv.Record, snapshot clock.Vector) {
	if len(g.ready) == 0 {
		rec.Deps, g.meet = snapshot, snapshot
		return
	}
	rec.Deps, g.meet = rec.Deps.Join(snapshot), g.meet.Meet(snapshot)
}

// stamp gives the group its timestamp and reserves further ones when few are left (invariant 1).
func (g *group) stamp(rec *kv.Record, b *storage.Batch) {
	c := g.c
	wall := c.wall()
	g.time = c.hybrid.Next(wall, rec.Deps.Max())
	rec.Time, rec.Prev = g.time, b.Applied(c.lane)
	rec.Deps = rec.Deps.With(c.lane.Region, 0) // the lane's own order says it already
	g.bound = c.reserve(b, wall, g.time)
}

// reserve asks for timestamps up to a quarter of the skew bound ahead, once half of them are used.
// It returns the bound that b then makes durable, or 0.
func (c *Committer) reserve(b *storage.Batch, wall clock.Wall, used clock.Timestamp) clock.Timestamp {
	half := clock.At(used.Wall().Add(c.span / 2))
	if b.Reserved() > half {
		return 0
	}
	bound := clock.At(max(wall, used.Wall()).Add(c.span))
	b.Reserve(bound)
	return bound
}

// check evaluates a commit's conditions against the region's latest state.
func (c *Committer) check(w *commit, applied clock.Vector) error {
	if err := c.refused.Load(); err != nil {
		return err
	}
	for _, cond := range w.writes.conditions {
		if err := c.holds(cond, applied); err != nil {
			return err
		}
	}
	v := view{store: c.store, at: applied, own: c.lane.Region, mine: w.writes}
	for i := range w.writes.writes {
		e := &w.writes.writes[i]
		if e.dead || e.target.Below || !crdt.NeedsCheck(e.target.Leaf, e.target.Op) {
			continue
		}
		e.dead = true // what the operation meets: all the others of its transaction included
		current, err := v.leaf(e.place, e.target.Leaf)
		e.dead = false
		if err != nil {
			return err
		}
		if err := crdt.Check(e.target.Leaf, current, e.target.Op); err != nil {
			return err
		}
	}
	return nil
}

func (c *Committer) holds(cond condition, applied clock.Vector) error {
	v, err := c.store.Value(leafOf(cond.place), applied)
	if err != nil {
		return err
	}
	return meets(cond.expect, cond.object, v)
}

// meets reports whether a register's value is what a compare-and-set expects.
func meets(e *kv.Expectation, o kv.Object, v kv.Value) error {
	switch {
	case e.Absent && !v.Present, !e.Absent && v.Present && bytes.Equal(e.Value, v.Bytes):
		return nil
	case e.Absent:
		return kv.Errorf(kv.KindAborted, "compare-and-set on %q in %q: it has a value already", o.Key, o.Bucket)
	case !v.Present:
		return kv.Errorf(kv.KindAborted, "compare-and-set on %q in %q: it has no value", o.Key, o.Bucket)
	}
	return kv.Errorf(kv.KindAborted, "compare-and-set on %q in %q: it has another value", o.Key, o.Bucket)
}

func leafOf(p place) storage.Leaf {
	return storage.Leaf{Object: p.object, Path: []byte(p.path)}
}

// conflicts reports whether a conditional commit must see what one of the group writes, so that it
// has to wait for the next group.
func (w *commit) conflicts(group []*commit) bool {
	depends := func(p place) bool {
		for _, o := range group {
			if o.writes.wrote(p) {
				return true
			}
		}
		return false
	}
	for _, cond := range w.writes.conditions {
		if depends(cond.place) {
			return true
		}
	}
	for i := range w.writes.writes {
		e := &w.writes.writes[i]
		if !e.dead && !e.target.Below && crdt.NeedsCheck(e.target.Leaf, e.target.Op) && depends(e.place) {
			return true
		}
	}
	return false
}

// drop answers a commit that is not written.
func (c *Committer) drop(w *commit, err error) {
	c.mu.Lock()
	delete(c.ids.underWay, w.attempt.ID)
	err = c.denyRetryLocked(w.attempt, err)
	c.mu.Unlock()
	w.let()
	w.finish(result{err: err})
	w.tell(result{err: err})
}

// Applied implements storage.Job. A group above the durable bound stays hidden until the bound has
// risen: a crash would forget that its timestamp was used.
func (g *group) Applied() {
	c := g.c
	c.showing.Lock()
	defer c.showing.Unlock()
	if len(c.hidden) > 0 || g.time > c.bound {
		c.hidden = append(c.hidden, g)
		return
	}
	g.show()
}

// raiseBound runs on the syncer's goroutine: timestamps up to t may be shown from now on.
func (c *Committer) raiseBound(t clock.Timestamp) {
	c.showing.Lock()
	defer c.showing.Unlock()
	c.bound = max(c.bound, t)
	for len(c.hidden) > 0 && c.hidden[0].time <= c.bound {
		c.hidden[0].show()
		c.hidden[0] = nil
		c.hidden = c.hidden[1:]
	}
}

func (c *Committer) durableBound() clock.Timestamp {
	c.showing.Lock()
	defer c.showing.Unlock()
	return c.bound
}

// Durable implements storage.Job.
func (g *group) Durable(err error) {
	if !g.formed { // the store has failed, or is closed, and asked for no group at all
		g.c.mu.Lock()
		defer g.c.mu.Unlock()
		g.c.kicked = false
		g.c.failLocked(err)
		return
	}
	if err != nil {
		g.fail(err)
		return
	}
	if g.bound != 0 {
		g.c.raiseBound(g.bound)
	}
	g.c.stats.count(len(g.commits))
	g.c.publish(g.time, g.encoded)
	g.c.exposure.LocalDurable(g.time)
	g.noteIDs()
	for i, w := range g.commits {
		w.finish(g.ready[i])
		w.tell(g.ready[i])
	}
}

func (g *group) noteIDs() {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	for _, w := range g.commits {
		if !w.attempt.ID.IsZero() {
			delete(g.c.ids.underWay, w.attempt.ID)
			g.c.ids.note(w.attempt.ID, g.time)
		}
	}
}

// fail answers a group that could not be made durable. Once it was given to the disk, nobody can
// say whether it is there.
func (g *group) fail(err error) {
	g.forget()
	if errors.Is(err, errNothing) {
		return
	}
	outcome := kv.OutcomeUnknown
	if g.time == 0 {
		outcome = kv.NotApplied
	}
	for _, w := range g.commits {
		e := kv.Errorf(kv.KindUnavailable, "commit: the group could not be written: %w", err).WithOutcome(outcome)
		e.ID = w.attempt.ID
		g.c.drop(w, e)
	}
}

// forget drops a group that will never be shown.
func (g *group) forget() {
	g.c.showing.Lock()
	defer g.c.showing.Unlock()
	g.c.hidden = slices.DeleteFunc(g.c.hidden, func(o *group) bool { return o == g })
	g.close()
}
