package workload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Workload is a kind of load, and the checkers that judge what it met.
type Workload struct {
	Name  string
	About string // a sentence for lists

	notes    map[string]string      // of the header, for the checkers
	levels   []client.Level         // that its calls ask for beside causal and eventual
	reaching bool                   // its writes wait for other regions' disks
	source   func(w *worker) source // what one worker does
	own      []checker.Checker      // beside the checkers of every workload
	usual    usual                  // what its runs make, from which minimums follow
	// more adds minimums that follow from what befell a run. May be nil.
	more func(h *history.History, least minimums)
}

// Takes are the levels that calls of the workload ask for beside causal and eventual.
func (w *Workload) Takes() []client.Level { return slices.Clone(w.levels) }

// Coordinates reports whether calls of the workload wait for other regions: it takes a database with levels above
// causal, or with durabilities above local, and a majority of the regions to go on.
func (w *Workload) Coordinates() bool { return len(w.levels) > 0 || w.reaching }

// source makes one worker's transactions. It is used by that worker alone.
type source interface {
	// next plans the worker's next transaction.
	next() plan
}

// observer is a source that learns from what became of its transactions.
type observer interface {
	ended(t *history.Txn)
}

// All lists the workloads by name.
func All() []Workload {
	all := []Workload{
		bankLoad(), causalLoad(), counterLoad(), flagLoad(), forkLoad(), mapLoad(), mixedLoad(), registerLoad(), valuesLoad(),
		setLoad("set-aw", "elements put into and taken out of shared sets in which a put wins, beside reads of one element and of all"),
		setLoad("set-rw", "elements put into and taken out of shared sets in which a removal wins, beside reads of one element and of all"),
		sessionLoad(), strongRegisterLoad(), appendLoad(), skewLoad(), phantomLoad(), strongForkLoad(), strongMixedLoad(),
		boundedLoad(), quorumLoad(), durabilityLoad(),
	}
	slices.SortFunc(all, func(a, b Workload) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Find finds a workload by its name.
func Find(name string) (Workload, error) {
	var names []string
	for _, w := range All() {
		if w.Name == name {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return Workload{}, fmt.Errorf("there is no workload %q: choose one of %s", name, strings.Join(names, ", "))
}
