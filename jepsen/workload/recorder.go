package workload

import (
	"maps"
	"slices"
	"sync"

	"github.com/theriac-db/theriac/jepsen/history"
)

// recorder keeps what has ended. It hands out the numbers of processes and sessions.
type recorder struct {
	mu        sync.Mutex
	txns      []history.Txn
	faults    []history.Fault
	processes int
	sessions  int
}

// add keeps a transaction that has ended, under the next id.
func (r *recorder) add(t history.Txn) *history.Txn {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.ID = len(r.txns) + 1
	r.txns = append(r.txns, t)
	return &t
}

// process is the number of a new process.
func (r *recorder) process() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processes++
	return r.processes
}

// session is the number of a new session.
func (r *recorder) session() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions++
	return r.sessions
}

// fault notes the beginning of a fault, and returns what notes its end and what it did. Only the first call counts.
func (r *recorder) fault(f history.Fault, now func() int64) func(effects map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.Start, f.End, f.Targets = now(), -1, slices.Clone(f.Targets)
	at := len(r.faults)
	r.faults = append(r.faults, f)
	return func(effects map[string]int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.faults[at].End >= 0 {
			return
		}
		r.faults[at].End = now()
		if len(effects) > 0 {
			r.faults[at].Effects = maps.Clone(effects)
		}
	}
}

// all is what was recorded so far.
func (r *recorder) all() ([]history.Txn, []history.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	faults := slices.Clone(r.faults)
	slices.SortStableFunc(faults, func(a, b history.Fault) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	return slices.Clone(r.txns), faults
}
