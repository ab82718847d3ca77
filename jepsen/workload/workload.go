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

	notes    map[string]string                                 // of the header, for the checkers
	source   func(w *worker) source                            // what one worker does
	checkers []checker.Checker                                 // beside those of every workload
	least    func(asked int, h *history.Header) map[string]int // counts that a run must reach: see whole.Exercised
}

// source makes one worker's transactions. It is used by that worker alone.
type source interface {
	// next plans the worker's next transaction.
	next() plan
}

// All lists the workloads by name.
func All() []Workload {
	all := []Workload{counterLoad()}
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
