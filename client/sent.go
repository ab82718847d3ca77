package client

import (
	"container/list"
	"sync"
)

// maxSent bounds the operations of unknown outcome that a client remembers; the oldest goes first.
const maxSent = 10_000

// sentTable remembers where operations of unknown outcome went, so that Outcome can ask there.
type sentTable struct {
	mu    sync.Mutex
	most  int
	byID  map[OpID]*list.Element
	queue *list.List // of sentOp, the oldest first
}

type sentOp struct {
	id OpID
	sent
}

func newSentTable(most int) *sentTable {
	return &sentTable{most: most, byID: map[OpID]*list.Element{}, queue: list.New()}
}

// add keeps the first entry of an id: its age is that of the first try.
func (t *sentTable) add(id OpID, s sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[id] != nil {
		return
	}
	t.byID[id] = t.queue.PushBack(sentOp{id, s})
	if t.queue.Len() > t.most {
		oldest := t.queue.Remove(t.queue.Front()).(sentOp)
		delete(t.byID, oldest.id)
	}
}

func (t *sentTable) find(id OpID) (sent, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID[id]
	if e == nil {
		return sent{}, false
	}
	return e.Value.(sentOp).sent, true
}

func (t *sentTable) remove(id OpID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[id]; e != nil {
		t.queue.Remove(e)
		delete(t.byID, id)
	}
}
