package workload

import (
	"strconv"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal"
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
	l := checker.Losses{Crashing: []string{Unwatched, DiskCopied, DiskError}, Destroying: []string{DiskLost}}
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
		whole.LongFork(), whole.Convergence(), whole.Swaps(Excused()),
	}
	all = append(all, w.own...)
	least := w.minimum(h)
	for i, c := range all {
		all[i] = atLeast{c, least[c.Name()]}
	}
	return append(all, whole.Exercised(least[exercised])), nil
}

// atLeast is a checker whose own counts must reach a minimum as well.
type atLeast struct {
	checker.Checker
	least map[string]int
}

// Check implements checker.Checker.
func (a atLeast) Check(h *history.History, o checker.Options) checker.Result {
	r := a.Checker.Check(h, o)
	r.Exercised(a.least)
	return r
}

// exercised is the name of the checker of what a run did at all.
const exercised = "exercised"

// minimums say for checkers, by name, what their counts must come to.
type minimums map[string]map[string]int

// leastTxns is how many transactions any run must have.
const leastTxns = 20

// minimum is what a run must have done for its verdicts to mean anything.
func (w *Workload) minimum(h *history.Header) minimums {
	n := asked(h)
	out := w.least(n)
	least := out[exercised]
	least["transactions"] = max(share(n, 10), leastTxns)
	least["outcome "+string(history.OK)] = max(share(n, 20), leastTxns/2)
	least["acknowledged in every region"] = 1
	least["final reads in every region"] = 1
	if len(h.Regions) > 1 {
		least["reads of others' writes"] = share(n, 20)
	}
	return out
}

// asked is how many transactions a run was asked for; 0 where its history does not say.
func asked(h *history.Header) int {
	n, err := strconv.Atoi(h.Notes[NoteAsked])
	if err != nil {
		return 0
	}
	return max(n, 0)
}
