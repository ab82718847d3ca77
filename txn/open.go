package txn

import (
	"sync"
	"time"

	"github.com/theriac-db/theriac/kv"
)

// Limits of open interactive transactions. docs/reference/limits.md lists them.
const (
	MaxOpenTxns    = 10_000           // on one node; one more Begin gets ErrOverloaded
	IdleTimeout    = 60 * time.Second // an interactive transaction that is not used for longer ends
	MaxLifetime    = 10 * time.Minute // of one that may write: it holds back stability everywhere
	MaxReadOnlyAge = 4 * time.Hour    // of a read-only one: it holds back only this node's horizon
)

// openTxn is an interactive transaction. mu orders its calls.
type openTxn struct {
	mu       sync.Mutex
	snapshot Snapshot
	options  kv.Options
	readOnly bool
	writes   writeSet
	ended    bool

	began time.Duration // monotonic
	used  time.Duration // monotonic; under openTxns.mu
}

// openTxns is the bounded table of interactive transactions.
type openTxns struct {
	mono func() time.Duration

	mu   sync.Mutex
	next kv.TxnID
	byID map[kv.TxnID]*openTxn
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
	o.byID[o.next] = t
	return o.next, nil
}

// get finds an open transaction and marks it used.
func (o *openTxns) get(id kv.TxnID) (*openTxn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.byID[id]
	if t == nil {
		return nil, kv.Errorf(kv.KindNotFound, "no open transaction %d on this node: it was ended, was unused for %s, or is older than %s; begin it again",
			id, IdleTimeout, MaxLifetime)
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

// end closes the snapshot, once.
func (t *openTxn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked()
}

func (t *openTxn) endLocked() {
	if !t.ended {
		t.ended = true
		t.snapshot.Close()
	}
}
