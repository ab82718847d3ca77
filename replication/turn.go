package replication

import "sync"

// turn is a mutex for what may take long: who has it may wait for the disk or for other nodes. It differs in
// one thing: in a bubble of testing/synctest, whose time passes only while every goroutine waits for
// something that is not a mutex, to wait for a turn lets time pass. The zero value is free.
type turn struct {
	mu    sync.Mutex
	free  sync.Cond
	taken bool
}

// Lock takes the turn.
func (t *turn) Lock() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free.L = &t.mu
	for t.taken {
		t.free.Wait()
	}
	t.taken = true
}

// Unlock gives it to somebody else.
func (t *turn) Unlock() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.taken {
		panic("replication: a turn that nobody has is given back")
	}
	t.taken = false
	t.free.Signal()
}
