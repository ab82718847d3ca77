package fresh

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// CountReceipts is the count of answers that say how they were served.
const CountReceipts = "receipts"

// Receipts checks that no level and no durability was weakened in silence. See the package's documentation.
func Receipts() checker.Checker { return receipts{} }

type receipts struct{}

func (receipts) Name() string { return "receipts" }

func (receipts) Proves() string {
	return "Every answer that says at which level it was served, and in how many regions what it wrote was on disk, names the level that was " +
		"asked for, and no fewer regions. It takes answers at their word."
}

func (c receipts) Check(h *history.History, o checker.Options) checker.Result {
	r := checker.Result{Checker: c.Name(), Verdict: checker.Valid, Counts: map[string]int{CountReceipts: 0}}
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Outcome != history.OK || t.Served == "" {
			continue
		}
		r.Counts[CountReceipts]++
		name, text := "", ""
		switch copies := checker.Copies(t, len(h.Header.Regions)); {
		case t.Served != t.Level:
			name, text = "another level", fmt.Sprintf("it was asked for at level %s, and served at level %s", t.Level, t.Served)
		case t.Commit != nil && t.Disks < copies:
			name, text = "too few disks", fmt.Sprintf("it was to be on disk in %d regions at least (durability %s, level %s), and was in %d",
				copies, t.Durability, t.Level, t.Disks)
		default:
			continue
		}
		r.Verdict = checker.Invalid
		if r.Counts["anomalies"]++; len(r.Anomalies) < o.Most() {
			r.Anomalies = append(r.Anomalies, checker.Anomaly{Name: name, Txns: []int{t.ID}, Text: checker.Describe(t) + ": " + text})
		}
	}
	r.Idle(CountReceipts)
	return r
}
