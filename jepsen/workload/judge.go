package workload

import (
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal"
	"github.com/theriac-db/theriac/jepsen/checker/fresh"
	"github.com/theriac-db/theriac/jepsen/checker/semantics"
	"github.com/theriac-db/theriac/jepsen/checker/whole"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// Unwatched is the kind of a fault that may have been any: nobody saw what befell the regions meanwhile.
const Unwatched = "unwatched"

// Kinds of faults of disks beside those of package nemesis.
const (
	DiskLost   = "disk-lost"        // the disk is gone, with what nobody else held of the regions that it targets
	DiskCopied = "disk-lost-copied" // the disk is gone, but others held all that was on it
	DiskError  = "disk-error"       // the disk fails, and the node with it
)

// Excused are the faults after which acknowledged writes may be gone.
func Excused() checker.Losses {
	l := checker.Losses{Crashing: []string{Unwatched, DiskCopied, DiskError}, Destroying: []string{DiskLost, string(nemesis.DestroyRegion)}}
	for _, kind := range nemesis.Crashing() {
		l.Crashing = append(l.Crashing, string(kind))
	}
	return l
}

// Judge judges a history by the checkers of its header's workload. It needs the history alone.
func Judge(h *history.History, o checker.Options) ([]checker.Result, error) {
	checkers, err := Checkers(&h.Header)
	if err != nil {
		return nil, err
	}
	var out []checker.Result
	for _, c := range checkers {
		out = append(out, c.Check(h, o))
	}
	return out, nil
}

// Checkers are those that Judge asks for a history with this header, in their order: those that hold
// for any history, the workload's own, and that the run did enough.
func Checkers(h *history.Header) ([]checker.Checker, error) {
	w, err := Find(h.Workload)
	if err != nil {
		return nil, err
	}
	all := []checker.Checker{
		causal.Checker{}, semantics.Checker{Excused: Excused()}, whole.LostWrites(Excused()), whole.HalfTransactions(), whole.Session(),
		whole.LongFork(strongLevel), whole.Convergence(), whole.Swaps(Excused()), fresh.Receipts(),
	}
	all = append(all, w.own...)
	all = append(all, whole.Exercised(nil))
	for i, c := range all {
		all[i] = atLeast{c, &w}
	}
	return all, nil
}
