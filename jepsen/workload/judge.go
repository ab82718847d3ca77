package workload

import (
	"fmt"
	"strconv"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal"
	"github.com/theriac-db/theriac/jepsen/checker/semantics"
	"github.com/theriac-db/theriac/jepsen/checker/whole"
	"github.com/theriac-db/theriac/jepsen/history"
)

// DiskLost is the kind of a fault that takes a region's disk away: what only that region held is gone.
const DiskLost = "disk-lost"

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

// Checkers are those that Judge asks for a history with this header, in their order.
func Checkers(h *history.Header) ([]checker.Checker, error) {
	w, err := Find(h.Workload)
	if err != nil {
		return nil, err
	}
	return w.judges(h), nil
}

// judges are the checkers of the workload: those that hold for any history, its own, and that it did enough.
func (w *Workload) judges(h *history.Header) []checker.Checker {
	all := []checker.Checker{
		causal.Checker{}, semantics.Checker{}, whole.LostWrites(DiskLost), whole.HalfTransactions(), whole.Session(),
		whole.LongFork(), whole.Convergence(),
	}
	all = append(all, w.checkers...)
	return append(all, whole.Exercised(w.minimum(h)))
}

// minimum is what a run must have done for its verdicts to mean anything.
func (w *Workload) minimum(h *history.Header) map[string]int {
	asked, err := strconv.Atoi(h.Notes[NoteAsked])
	if err != nil || asked < 0 {
		asked = 0 // somebody else's history: the least of all
	}
	least := w.least(asked, h)
	least["transactions"] = max(share(asked, 10), leastTxns)
	least["acknowledged in every region"] = 1
	least["final reads in every region"] = 1
	least[fmt.Sprintf("outcome %s", history.OK)] = max(share(asked, 20), leastTxns/2)
	return least
}

// leastTxns is how many transactions any run must have.
const leastTxns = 20
