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
	return "Of the acknowledged compare-and-sets that one region made, and of all at level strong, no two replaced the same value, or nothing. Others of several regions may, " +
		"and those that expected a value that several may have written, or nothing where a reset may have left that, are not judged."
}

// swapped is what a region replaced: a value, or nothing.
type swapped struct {
	region string // empty: of strong transactions, wherever they were made
	at     *place
	item   *item // nil: nothing
}

// swappedBy is what a compare-and-set replaced; false: that is not known, or may have come back.
func swappedBy(t *history.Txn, p *place, expected *history.Value) (s swapped, known bool) {
	if s = (swapped{t.Region, p, nil}); t.Level == "strong" {
		s.region = "" // one order of all regions
	}
	if expected == nil || p.leaf != "register-lww" {
		return s, false
	}
	if expected.Absent {
		return s, !p.reset()
	}
	s.item = p.item(expected.Text)
	by := s.item.writers.only
	return s, by != nil && by != t
}

func (s swapped) String() string {
	if s.item == nil {
		return s.at.name + " = nothing"
	}
	return wrote(s.at, s.item)
}

// where is among whom it is atomic.
func (s swapped) where() string {
	if s.region == "" {
		return "at level strong"
	}
	return "in " + s.region
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
			at, known := swappedBy(t, x.at[i][j], t.Ops[j].Expect)
			if !known {
				continue
			}
			r.counts["swaps"]++
			if before := first[at]; before != nil && before != t {
				r.anomaly("lost update", fmt.Sprintf("%s and %s both replaced %s %s, where a compare-and-set is atomic", tn(before), tn(t), at, at.where()), before, t)
				continue
			}
			first[at] = t
		}
	}
	return r.result(c.Name(), o)
}
