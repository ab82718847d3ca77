package txn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/clock"
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

// removalsRetry is what a commit that removes collections is told to wait while too many are pending.
const removalsRetry = 100 * time.Millisecond

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
	started  time.Duration // when this committer was made, on the monotonic clock
	span     time.Duration // how far ahead of the clock timestamps are reserved

	incarnation uint64        // of this process
	named       atomic.Uint64 // what first tries name: incarnation, and two more after each turn

	// answers keeps channels for reuse: each gets one result, and its caller takes it. It is no global,
	// since a channel of a testing/synctest bubble must not get into another.
	answers sync.Pool

	stats   stats
	refused atomic.Pointer[kv.Error] // why writes are refused; nil: they are not

	mu      sync.Mutex
	queue   []*commit
	kicked  bool // a group job is submitted and has not yet taken from the queue
	ids     *opTable
	beats   heartbeat
	trail   trail
	stopped bool

	kicks    sync.WaitGroup // goroutines of kickLocked
	searches sync.WaitGroup // the goroutine that searches the log, while one runs

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

// NewCommitter prepares a committer; Start must have returned before it commits.
func NewCommitter(c CommitterConfig) *Committer {
	if c.Publish == nil {
		c.Publish = func(clock.Timestamp, []byte) {}
	}
	out := &Committer{
		publish: c.Publish,
		store:   c.Store, exposure: c.Exposure, lane: c.Lane, wall: c.Wall, mono: c.Mono, span: c.Skew / 4, incarnation: c.Incarnation,
		started: c.Mono(), ids: newOpTable(),
		answers: sync.Pool{New: func() any { return make(chan result, 1) }},
	}
	out.named.Store(c.Incarnation)
	return out
}

// result is what becomes of a commit.
type result struct {
	stamp    clock.Stamp
	snapshot clock.Vector // of what was written; of a failure what its condition was judged by; nil: it was not judged
	err      error
	denied   bool // err is final: the log says that the operation was not applied, and never will be
}

// commit is one transaction on its way.
type commit struct {
	writes     *writeSet
	snapshot   clock.Vector // nil: taken when the group forms (nothing was read before)
	applied    bool         // a snapshot taken then includes what is applied, not only what is exposed
	open       Snapshot     // of snapshot; closed once, after LocalApplied or when nothing is written; may be nil
	attempt    kv.Attempt
	durability kv.Durability
	times      *times // nil: nobody wants to know

	answer  chan result   // buffered; gets one result; from Committer.answers
	decided chan struct{} // closed when durable or failed; nil without an operation id
	result  result        // valid once decided is closed
	judged  clock.Vector  // by what, if a condition of it does not hold; set before its answer
	refusal error         // why it is logged as not applied; then it has no effects. Only of a retry
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

// Refuse makes every later commit fail with err; nil lifts it.
func (c *Committer) Refuse(err *kv.Error) { c.refused.Store(err) }

// Refused is why writes are refused, or nil.
func (c *Committer) Refused() *kv.Error { return c.refused.Load() }

// commit hands a transaction to the group committer and waits for its answer.
func (c *Committer) commit(ctx context.Context, w *commit) result {
	w.answer = c.answers.Get().(chan result)
	if w.times != nil {
		w.times.queued = c.mono()
	}
	if r, queued := c.queueUp(ctx, w); !queued {
		w.let()
		return r
	}
	select {
	case r := <-w.answer:
		c.answers.Put(w.answer)
		return r
	case <-ctx.Done():
		return c.giveUp(ctx, w)
	}
}

// queueUp queues a commit, or returns what became of it without that.
func (c *Committer) queueUp(ctx context.Context, w *commit) (r result, queued bool) {
	if w.attempt.ID.IsZero() {
		err := c.enqueue(w)
		return result{err: err}, err == nil
	}
	if w.writes.live == 0 && w.refusal == nil { // in the log it would be a denial (invariant 6)
		err := kv.Errorf(kv.KindInvalid, "commit: operation %s writes nothing", w.attempt.ID)
		return result{err: undecided(w.attempt, err)}, false
	}
	w.decided = make(chan struct{})
	for {
		first, known := c.admit(ctx, w)
		switch {
		case known != nil:
			return *known, false
		case first == nil:
			return r, true
		}
		r = first.await(ctx)
		if !w.attempt.Retry || r.err == nil || r.denied || kv.OutcomeOf(r.err) != kv.NotApplied {
			return r, false
		}
		// The try before this one ended unwritten, and it is this one's turn.
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
		return stopping()
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

func stopping() *kv.Error {
	return kv.Errorf(kv.KindUnavailable, "commit: this node is stopping; try another")
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
		r := result{err: undecided(w.attempt, gaveUp(ctx, "commit: gave up before the transaction's turn came", kv.NotApplied))}
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

// failLocked answers everything that is queued.
func (c *Committer) failLocked(err error) {
	for _, w := range c.queue {
		if w != nil {
			w.taken = true
			delete(c.ids.underWay, w.attempt.ID)
			err := undecided(w.attempt, err)
			w.let()
			w.finish(result{err: err})
			w.tell(result{err: err})
		}
	}
	c.queue = nil
}

// drop answers a commit that is not written. judged is what its condition was judged by, if that is why.
func (c *Committer) drop(w *commit, err error, judged clock.Vector) {
	c.mu.Lock()
	delete(c.ids.underWay, w.attempt.ID)
	c.mu.Unlock()
	r := result{err: undecided(w.attempt, err), snapshot: judged}
	w.let()
	w.finish(r)
	w.tell(r)
}
