package sim

import (
	"maps"
	"sync"
)

// reached counts what a run has come through: faults that struck, and paths of the database that
// were taken. What no run reaches no run has tested.
type reached struct {
	mu     sync.Mutex
	counts map[string]int
}

func newReached() *reached { return &reached{counts: map[string]int{}} }

func (r *reached) count(what string) { r.add(what, 1) }

func (r *reached) add(what string, n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what] += n
}

func (r *reached) all() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}
