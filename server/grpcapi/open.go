package grpcapi

import (
	"container/list"
	"sync"

	"github.com/theriac-db/theriac/kv"
)

// maxOpen bounds the transactions that the door remembers. It is far above what a node keeps open,
// so the least recently used one, which is dropped, has long ended by itself.
const maxOpen = 1 << 16

// openTable remembers who began each open transaction at which level, so that its calls pass the
// authorization point with both, and nobody uses another's.
type openTable struct {
	mu    sync.Mutex
	most  int
	byID  map[kv.TxnID]*list.Element
	queue *list.List // of openTxn, the most recently used first
}

type openTxn struct {
	id     kv.TxnID
	access Access // principal and level
}

func newOpenTable(most int) *openTable {
	return &openTable{most: most, byID: map[kv.TxnID]*list.Element{}, queue: list.New()}
}

func (t *openTable) add(id kv.TxnID, a Access) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[id] = t.queue.PushFront(openTxn{id, a})
	if t.queue.Len() > t.most {
		t.drop(t.queue.Back())
	}
}

// use finds a transaction of this principal. One of another is as good as none.
func (t *openTable) use(id kv.TxnID, p Principal) (Access, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID[id]
	if e == nil || e.Value.(openTxn).access.Principal != p {
		return Access{}, kv.Errorf(kv.KindNotFound, "no open transaction %d: it has ended, or the node restarted; begin again", id)
	}
	t.queue.MoveToFront(e)
	return e.Value.(openTxn).access, nil
}

func (t *openTable) remove(id kv.TxnID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[id]; e != nil {
		t.drop(e)
	}
}

func (t *openTable) drop(e *list.Element) {
	delete(t.byID, e.Value.(openTxn).id)
	t.queue.Remove(e)
}
