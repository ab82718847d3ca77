package whole

import (
	"fmt"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Convergence checks that all regions read the same in the end, and that all of them were asked.
func Convergence() checker.Checker { return convergence{} }

type convergence struct{}

func (convergence) Name() string { return "convergence" }

func (convergence) Proves() string {
	return "After healing, every region was asked for everything that any region was asked for, and all answers are equal. " +
		"It does not prove that they are right."
}

// question is what is asked of each region in the end.
type question struct {
	key     placeKey
	element string
	part    bool
}

// answer is the first one to a question, and who has answered it.
type answer struct {
	op      *history.Op
	txn     *history.Txn
	regions map[string]bool
}

func (c convergence) Check(h *history.History, o checker.Options) checker.Result {
	r := newReport(h, "final reads", "places")
	asked := map[question]*answer{}
	var order []*answer
	in := map[string]int{}
	for i := range h.Txns {
		t := &h.Txns[i]
		if !isFinal(t) {
			continue
		}
		in[t.Region]++
		for j := range t.Ops {
			op := &t.Ops[j]
			r.counts["final reads"]++
			q := question{placeKey{op.Bucket, op.Key, op.Type, pathOf(op.Path)}, op.Element, op.Do == history.Contains}
			a := asked[q]
			if a == nil {
				a = &answer{op, t, map[string]bool{}}
				asked[q] = a
				order = append(order, a)
			}
			a.compare(r, t, op)
		}
	}
	r.counts["places"] = len(order)
	c.coverage(r, order, in)
	return r.result(c.Name(), o)
}

// compare holds another answer against the first.
func (a *answer) compare(r *report, t *history.Txn, op *history.Op) {
	a.regions[t.Region] = true
	if same(a.op.Got, op.Got) {
		return
	}
	name, text := "divergence", fmt.Sprintf("%s in %s: %s; %s in %s: %s", tn(a.txn), a.txn.Region, checker.DescribeOp(a.op), tn(t), t.Region, checker.DescribeOp(op))
	if a.op.Got.Absent != op.Got.Absent {
		text += fmt.Sprintf("; it is absent in one of them only (%s: %t, %s: %t)", tn(a.txn), a.op.Got.Absent, tn(t), op.Got.Absent)
	}
	if a.txn.Region == t.Region {
		name = "not converged" // the region itself still changed
	}
	r.anomaly(name, text, a.txn, t)
}

// coverage tells which regions were not asked.
func (c convergence) coverage(r *report, order []*answer, in map[string]int) {
	for _, region := range r.h.Header.Regions {
		r.counts["final transactions in "+region] = in[region]
		if in[region] == 0 {
			r.anomaly(checker.NotExercised, fmt.Sprintf("no final read in %s: whether it converged is not known", region))
			continue
		}
		var missing []string
		for _, a := range order {
			if !a.regions[region] {
				missing = append(missing, checker.Place(a.op))
			}
		}
		if n := len(missing); n > 0 {
			r.anomaly(checker.NotExercised, fmt.Sprintf("of what was read in the end elsewhere, %d not in %s: %s", n, region, strings.Join(missing[:min(n, 5)], ", ")))
		}
	}
}

// same compares two values; a missing list and an empty one are equal.
func same(a, b *history.Value) bool {
	if a.Absent != b.Absent || a.Int != b.Int || a.Flag != b.Flag || a.Text != b.Text ||
		len(a.List) != len(b.List) || len(a.Fields) != len(b.Fields) {
		return false
	}
	for i := range a.List {
		if a.List[i] != b.List[i] {
			return false
		}
	}
	for i := range a.Fields {
		f, g := &a.Fields[i], &b.Fields[i]
		if f.Name != g.Name || f.Type != g.Type || !same(&f.Value, &g.Value) {
			return false
		}
	}
	return true
}
