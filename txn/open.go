package txn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// Limits of open interactive transactions. docs/reference/limits.md lists them.
const (
	MaxOpenTxns    = 10_000           // on one node; one more Begin gets ErrOverloaded
	MaxOpenBytes   = 256 << 20        // of what all of them have written, on one node; more gets ErrOverloaded
	IdleTimeout    = 60 * time.Second // an interactive transaction that is not used for longer ends
	MaxLifetime    = 10 * time.Minute // of one that may write: it holds back stability everywhere
	MaxReadOnlyAge = 4 * time.Hour    // of a read-only one: it holds back only this node's horizon
)

// openTxn is an interactive transaction. Whoever has put something into busy may use it; that orders its calls.
type openTxn struct {
	busy     chan struct{} // room for one
	snapshot Snapshot
	options  kv.Options
	asked    kv.Begin // its level as it was asked for
	readOnly bool
	writes   writeSet
	reads    *readSet // of a strong one that may write
	// staleness is how old the snapshot was when it was opened, if the receipt was wanted in full.
	staleness []kv.RegionStaleness
	ended     bool
	doomed    atomic.Bool // it ends as soon as no call uses it

	table *openTxns
	began time.Duration // monotonic
	used  time.Duration // monotonic; under openTxns.mu
	holds int           // bytes; under openTxns.mu
}

// openTxns is the bounded table of interactive transactions.
type openTxns struct {
	mono func() time.Duration

	mu    sync.Mutex
	next  kv.TxnID
	byID  map[kv.TxnID]*openTxn
	holds int // bytes; of transactions that are no longer in byID too, until they have ended
}

func newOpenTxns(mono func() time.Duration, first kv.TxnID) *openTxns {
	return &openTxns{mono: mono, next: first, byID: map[kv.TxnID]*openTxn{}}
}

// add refuses a transaction more than the table holds.
func (o *openTxns) add(t *openTxn) (kv.TxnID, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.byID) >= MaxOpenTxns {
		e := kv.Errorf(kv.KindOverloaded, "begin: %d transactions are open on this node already", MaxOpenTxns)
		e.RetryAfter = time.Second
		return 0, e
	}
	o.next++
	t.began = o.mono()
	t.used = t.began
	t.table, t.busy = o, make(chan struct{}, 1)
	t.writes.hold = t.hold
	o.byID[o.next] = t
	return o.next, nil
}

// get finds an open transaction and marks it used.
func (o *openTxns) get(id kv.TxnID) (*openTxn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.byID[id]
	if t == nil {
		return nil, kv.Errorf(kv.KindNotFound, "no open transaction %d on this node: it was ended, was unused for %s, or is older than %s, or %s if read-only; begin it again",
			id, IdleTimeout, MaxLifetime, MaxReadOnlyAge)
	}
	t.used = o.mono()
	return t, nil
}

func (o *openTxns) remove(id kv.TxnID) *openTxn {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.byID[id]
	delete(o.byID, id)
	return t
}

func (o *openTxns) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.byID)
}

// oldest is how long ago the oldest of them began; 0: none is open.
func (o *openTxns) oldest() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, age := o.mono(), time.Duration(0)
	for _, t := range o.byID {
		age = max(age, now-t.began)
	}
	return age
}

// expired removes and returns the transactions that are past their time; all of them if all is set.
func (o *openTxns) expired(all bool) []*openTxn {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.mono()
	var out []*openTxn
	for id, t := range o.byID {
		limit := MaxLifetime
		if t.readOnly {
			limit = MaxReadOnlyAge
		}
		if all || now-t.used > IdleTimeout || now-t.began > limit {
			delete(o.byID, id)
			out = append(out, t)
		}
	}
	return out
}

// hold says how many bytes the transaction's writes take, and fails if they are more than before and too
// many beside those of all others.
func (t *openTxn) hold(n int) error {
	o := t.table
	o.mu.Lock()
	defer o.mu.Unlock()
	if sum := o.holds - t.holds + n; n > t.holds && sum > MaxOpenBytes {
		e := kv.Errorf(kv.KindOverloaded, "the open transactions on this node would hold %d bytes of writes: at most %d; end some, write less in one, or try again later",
			sum, MaxOpenBytes)
		e.RetryAfter = time.Second
		return e
	}
	o.holds += n - t.holds
	t.holds = n
	return nil
}

// holdsWhatItHas corrects what a call took for its writes by what became of them.
func (t *openTxn) holdsWhatItHas() {
	if n := t.writes.memory(); n <= t.holds {
		_ = t.hold(n) // it never fails for less
	}
}

// lock waits for the calls before this one.
func (t *openTxn) lock(ctx context.Context) error {
	select {
	case t.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return gaveUp(ctx, "gave up while another call of the same transaction was under way", kv.NotApplied)
	}
}

// unlock lets the next call go on, and ends a transaction that was to end meanwhile. A call that has come
// in between finds it doomed, and ends it with its own unlock.
func (t *openTxn) unlock() {
	<-t.busy
	if t.doomed.Load() {
		t.end()
	}
}

// end closes the snapshot, once: now, or after the call that is under way. It waits for nobody.
func (t *openTxn) end() {
	t.doomed.Store(true)
	select {
	case t.busy <- struct{}{}:
		t.endLocked()
		<-t.busy
	default:
	}
}

// endWithin is end that waits, for the call under way, until ctx ends.
func (t *openTxn) endWithin(ctx context.Context) {
	t.doomed.Store(true)
	if t.lock(ctx) == nil {
		t.unlock()
	}
}

// over reports whether no further call may use it.
func (t *openTxn) over() bool { return t.ended || t.doomed.Load() }

func (t *openTxn) endLocked() {
	if !t.ended {
		t.ended = true
		t.snapshot.Close()
		t.release()
	}
}

// release lets go of what was written.
func (t *openTxn) release() {
	t.writes = writeSet{}
	_ = t.hold(0) // it never fails for less
}
