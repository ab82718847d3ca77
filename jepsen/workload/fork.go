package workload

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/checker/causal"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Groups of the long-fork workload. Readers read a whole group, and the checker compares what they
// saw pair by pair.
const (
	forkGroup    = 8  // workers with a register each
	forkRotation = 10 // transactions of a worker before it goes on to the next group
)

// forkLoad has each worker write its register of a group once, in the region where it is, while
// others read the group: readers who see two writes in opposite orders are counted at causal level,
// which allows them.
func forkLoad() Workload {
	return Workload{
		Name:   "long-fork",
		About:  "registers that are each written once, read by groups: do all readers see the writes in one order? Causal level allows that they don't, and it is counted",
		source: func(w *worker) source { return &forks{w: w} },
		usual: usual{
			exercised:     {"assign register-lww": 0.1, "get register-lww": 6.5, othersRead: 1.2},
			"long-fork":   {"readers of several": 0.75},
			semanticsName: ofValues(3),
			causalName:    map[string]float64{causal.CountPlaced: 2},
			lostName:      {acknowledgedWrites: 0.1},
		},
	}
}

type forks struct {
	w     *worker
	wrote int // groups so far
}

func (f *forks) next() plan {
	w := f.w
	now := w.made / forkRotation
	if f.wrote <= now && (w.chance(forkRotation/2) || w.made%forkRotation == forkRotation-1) {
		f.wrote = now + 1
		return plan{ops: []history.Op{assign("register-lww", forkKey(now, w.number), w.unique())}}
	}
	var ops []history.Op
	first := w.number / forkGroup * forkGroup
	for i := first; i < min(first+forkGroup, w.run.config.Workers); i++ {
		ops = append(ops, read("register-lww", forkKey(now, i)))
	}
	p := w.vary(ops...)
	p.giveUp = false
	return p
}

func forkKey(group, worker int) string { return fmt.Sprintf("fork/%d/%d", group, worker) }
