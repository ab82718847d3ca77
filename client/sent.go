package client

import "sync"

// maxSent bounds the operations of unknown outcome that a client remembers; the oldest goes first.
const maxSent = 10_000

// sentTable remembers where operations of unknown outcome went, so that Outcome can ask there.
type sentTable struct {
	mu    sync.Mutex
	most  int
	byID  map[OpID]sent
	order []OpID // as added; those removed meanwhile stay until they are first
}

func newSentTable(most int) *sentTable {
	return &sentTable{most: most, byID: map[OpID]sent{}}
}

// add keeps the first entry of an id: its age is that of the first try.
func (t *sentTable) add(id OpID, s sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.byID[id]; ok {
		return
	}
	if len(t.order) >= t.most {
		delete(t.byID, t.order[0])
		t.order = t.order[1:]
	}
	t.byID[id] = s
	t.order = append(t.order, id)
}

func (t *sentTable) find(id OpID) (sent, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byID[id]
	return s, ok
}

func (t *sentTable) remove(id OpID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
}
