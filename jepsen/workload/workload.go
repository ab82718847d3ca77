package workload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Workload is a kind of load, and the checkers that judge what it met.
type Workload struct {
	Name  string
	About string // a sentence for lists

	notes  map[string]string      // of the header, for the checkers
	source func(w *worker) source // what one worker does
	own    []checker.Checker      // beside the checkers of every workload
	usual  usual                  // what its runs make, from which minimums follow
}

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
		sessionLoad(),
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
