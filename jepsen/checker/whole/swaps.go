package whole

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Swaps checks that no two compare-and-sets of one region replaced the same value. See the package's
// documentation. excused names the faults after which acknowledged writes may be gone, and what they replaced back.
func Swaps(excused checker.Losses) checker.Checker { return swaps{excused} }

type swaps struct{ excused checker.Losses }

func (swaps) Name() string { return "compare-and-set" }

func (swaps) Proves() string {
	return "Of the acknowledged compare-and-sets that one region made no two replaced the same value. Those of several regions may, " +
		"and those that expected nothing, or a value that several may have written, are not judged."
}

// swapped is a value that a region replaced.
type swapped struct {
	region string
	item   *item
}

func (c swaps) Check(h *history.History, o checker.Options) checker.Result {
	x, lost := newIndex(h), c.excused.In(h)
	r := newReport(h, "swaps")
	first := map[swapped]*history.Txn{}
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Outcome != history.OK || lost.Excuses(t) {
			continue
		}
		for j := range t.Ops {
			p, value := x.at[i][j], t.Ops[j].Expect
			if value == nil || value.Absent || p.leaf != "register-lww" {
				continue
			}
			at := swapped{t.Region, p.item(value.Text)}
			if by := at.item.writers.only; by == nil || by == t {
				continue
			}
			r.counts["swaps"]++
			if before := first[at]; before != nil && before != t {
				r.anomaly("lost update", fmt.Sprintf("%s and %s both replaced %s in %s, where a compare-and-set is atomic", tn(before), tn(t), wrote(p, at.item), t.Region), before, t)
				continue
			}
			first[at] = t
		}
	}
	return r.result(c.Name(), o)
}
