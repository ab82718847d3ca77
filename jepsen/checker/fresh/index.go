package fresh

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// write is one transaction's of one element.
type write struct {
	txn     *history.Txn
	element string
}

// set is one place with all that was put into it.
type set struct {
	name   string
	writes []write         // acknowledged, in the order of their answers
	taken  map[string]bool // elements that somebody tried to take out
	reset  bool
}

// index is a history arranged by sets.
type index struct {
	sets map[string]*set
	lost checker.Lost
	most int // anomalies to tell
}

func newIndex(h *history.History, excused checker.Losses, o checker.Options) *index {
	x := &index{sets: map[string]*set{}, lost: excused.In(h), most: o.Most()}
	for i := range h.Txns {
		t := &h.Txns[i]
		for j := range t.Ops {
			if o := &t.Ops[j]; o.Writes() && isSet(o) && t.Outcome != history.Fail {
				x.take(t, o)
			}
		}
	}
	for _, s := range x.sets {
		slices.SortStableFunc(s.writes, func(a, b write) int { return cmp.Compare(a.txn.End, b.txn.End) })
	}
	return x
}

// isSet reports whether an operation is on a set that is an object of its own.
func isSet(o *history.Op) bool { return len(o.Path) == 0 && strings.HasPrefix(o.Type, "set-") }

func (x *index) take(t *history.Txn, o *history.Op) {
	name := checker.Place(o)
	s := x.sets[name]
	if s == nil {
		s = &set{name: name, taken: map[string]bool{}}
		x.sets[name] = s
	}
	switch {
	case o.Do == history.Reset:
		s.reset = true
	case o.Do == history.Remove:
		s.taken[o.Element] = true
	case t.Outcome == history.OK:
		s.writes = append(s.writes, write{t, o.Element})
	}
}

// owed are the writes of a set that were acknowledged before a time and that nobody took back.
func (s *set) owed(before int64) []write {
	if s == nil || s.reset {
		return nil
	}
	n, _ := slices.BinarySearchFunc(s.writes, before, func(w write, at int64) int { return cmp.Or(cmp.Compare(w.txn.End, at), 1) })
	return s.writes[:n]
}

// has reports whether an answer has an element; known is false if it does not say.
func has(o *history.Op, element string) (there, known bool) {
	switch {
	case o.Got == nil:
		return false, false
	case o.Do == history.Contains:
		return o.Got.Flag, o.Element == element
	}
	return slices.Contains(o.Got.List, element), true
}

// finding is a write that a read should have seen.
type finding struct {
	read, write *history.Txn
	place       string
	element     string
}

// missed finds the writes that a read owes, and lacks: those before a time that count. It adds to counted how
// many it had to have.
func (x *index) missed(t *history.Txn, before int64, counts func(*history.Txn) bool, counted *int) (out []finding) {
	for j := range t.Ops {
		o := &t.Ops[j]
		if o.Writes() || !isSet(o) {
			continue
		}
		s := x.sets[checker.Place(o)]
		for _, w := range s.owed(before) {
			there, known := has(o, w.element)
			if !known || s.taken[w.element] || !counts(w.txn) {
				continue
			}
			*counted++
			if !there {
				out = append(out, finding{t, w.txn, s.name, w.element})
			}
		}
	}
	return out
}

// result is the verdict on what was found: one anomaly for each read.
func (x *index) result(name, anomaly string, found []finding, counts map[string]int, why func(f finding) string) checker.Result {
	r := checker.Result{Checker: name, Verdict: checker.Valid, Counts: counts}
	told := map[*history.Txn]bool{}
	for _, f := range found {
		if told[f.read] {
			continue
		}
		told[f.read] = true
		r.Verdict = checker.Invalid
		counts["anomalies"]++
		if len(r.Anomalies) < x.most {
			r.Anomalies = append(r.Anomalies, checker.Anomaly{
				Name: anomaly, Txns: []int{f.write.ID, f.read.ID},
				Text: fmt.Sprintf("T%d in %s has not %q in %s, which T%d put there in %s: %s\n  %s\n  %s", f.read.ID, f.read.Region, f.element, f.place,
					f.write.ID, f.write.Region, why(f), checker.Describe(f.write), checker.Describe(f.read)),
				Order: []checker.Step{{From: f.write.ID, To: f.read.ID, Why: "acknowledged before"}},
			})
		}
	}
	return r
}

// always is later than every answer.
const always = math.MaxInt64
