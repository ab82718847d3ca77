package semantics

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// DefaultBudget is how many steps the search over unknown outcomes may take for one leaf.
const DefaultBudget = 2_000_000_000

// Names of counts of values: each field, element, flag or whole of what a read returned is one, and so is each element
// and field that anybody ever put there.
const (
	CountValues = "values"
	CountInFull = "values judged in full" // against what the specification allows, where something was written before
	CountBeside = "values beside unknown outcomes"
	CountBounds = "values that only bounds judge"       // of those beside unknown outcomes
	CountUnseen = "values without a snapshot"           // only bounds judge these as well
	CountJudged = "values judged by what they could be" // in full, or beside unknown outcomes but not by bounds alone
)

// Checker checks data type semantics.
type Checker struct {
	// Excused names the faults after which acknowledged writes may be gone. Default: none.
	Excused checker.Losses
}

var _ checker.Checker = Checker{}

// Name implements checker.Checker.
func (Checker) Name() string { return "semantics" }

// Proves implements checker.Checker.
func (Checker) Proves() string {
	return "Every value read is what its data type specifies for the writes that the reported snapshot names, " +
		"stamps, snapshots and tokens agree with one another and with the times of the calls, and values stay within " +
		"what was attempted and acknowledged, whatever is reported; which of several writes of unknown outcome a read " +
		"saw is judged read by read and pair by pair, not for all reads together."
}

// Check implements checker.Checker.
func (c Checker) Check(h *history.History, o checker.Options) checker.Result {
	run := newRun(h, c.Excused, o)
	run.checkReports()
	run.plant()
	run.checkReads()
	run.solve()
	return run.result(c.Name())
}

// run is one check.
type run struct {
	h        *history.History
	txns     []txn  // as h.Txns
	regions  int    // entries of vectors: one more than the highest number
	lanes    []lane // by origin
	roots    map[rootKey]*node
	leaves   []*leaf // in the order of their creation
	unsure   []*pending
	owed     map[debt]sum // what the sessions' acknowledged adds come to
	budget   int
	most     int
	counts   map[string]int
	found    []finding
	told     map[spot]bool
	gaveUp   []string // places on which the search gave up
	searched int      // sums of pending increments that were visited
	mark     int      // numbers the overlays
	scratch  cut      // of the read being judged
	faulty   bool     // there were faults: vectors may name what a crash took back
	fickle   bool     // reads may have seen what a fault then took back
	lost     checker.Lost
}

// spot is one leaf of one read: no more than one anomaly is told of it.
type spot struct {
	txn, op int
	at      *leaf
}

// finding is an anomaly with what it is sorted by.
type finding struct {
	checker.Anomaly
	op int
}

func newRun(h *history.History, excused checker.Losses, o checker.Options) *run {
	r := &run{
		h: h, txns: make([]txn, len(h.Txns)), roots: map[rootKey]*node{}, owed: map[debt]sum{}, budget: o.Budget, most: o.Most(),
		counts: map[string]int{"transactions": len(h.Txns)}, told: map[spot]bool{}, faulty: len(h.Faults) > 0,
		lost: excused.In(h),
	}
	r.fickle = r.lost.Disk("")
	if r.budget <= 0 {
		r.budget = DefaultBudget
	}
	r.regions = len(h.Header.Regions) + 1
	for i := range h.Txns {
		r.widen(&h.Txns[i])
	}
	r.scratch = cut{make(vec, r.regions), make(vec, r.regions)}
	for i := range h.Txns {
		r.fickle = r.fickle || r.lost.Excuses(&h.Txns[i])
	}
	for i := range h.Txns {
		r.take(i)
	}
	r.sortLanes()
	r.boundPending()
	return r
}

// widen makes room for regions that the header does not name but vectors do: some may have joined.
func (r *run) widen(t *history.Txn) {
	for _, v := range []history.Vector{t.Snapshot, t.TokenBefore, t.TokenAfter} {
		for region := range v {
			r.regions = max(r.regions, region+1)
		}
	}
	if t.Commit != nil {
		r.regions = max(r.regions, t.Commit.Region+1)
	}
}

// tell notes an anomaly of some transactions as a whole.
func (r *run) tell(name, text string, txns ...int) {
	ids := make([]int, 0, len(txns))
	for _, i := range txns {
		if id := r.h.Txns[i].ID; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	r.found = append(r.found, finding{Anomaly: checker.Anomaly{Name: name, Txns: ids, Text: text}, op: -1})
}

// tellRead notes an anomaly of what a read said of a leaf, unless one was told of it already.
func (r *run) tellRead(at spot, name, text string, others ...int) {
	if r.told[at] {
		return
	}
	r.told[at] = true
	r.tell(name, text, append([]int{at.txn}, others...)...)
	r.found[len(r.found)-1].op = at.op
}

func (r *run) result(name string) checker.Result {
	slices.SortStableFunc(r.found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(len(a.Txns), len(b.Txns)), slices.Compare(a.Txns, b.Txns), cmp.Compare(a.op, b.op),
			strings.Compare(a.Name, b.Name), strings.Compare(a.Text, b.Text))
	})
	r.counts["anomalies"] = len(r.found)
	r.counts[CountJudged] = r.counts[CountInFull] + r.counts[CountBeside] - r.counts[CountBounds]
	out := checker.Result{Checker: name, Verdict: checker.Valid, Counts: r.counts, Note: r.weaker()}
	for _, f := range r.found[:min(len(r.found), r.most)] {
		out.Anomalies = append(out.Anomalies, f.Anomaly)
	}
	switch {
	case len(r.found) > 0:
		out.Verdict = checker.Invalid
	case len(r.gaveUp) > 0:
		out.Verdict = checker.Unknown
	}
	out.Idle(CountValues, "snapshots")
	if n := len(r.gaveUp); n > 0 {
		out.Note = fmt.Sprintf("gave up on %d objects, beginning with %s: too many combinations of writes of unknown outcome for a budget of %d steps",
			n, r.gaveUp[0], r.budget)
	}
	return out
}

// weaker says how many values were judged less strictly than by the specification alone; nothing if none were.
func (r *run) weaker() string {
	var parts []string
	for _, by := range []struct {
		n   int
		how string
	}{
		{r.counts[CountBeside] - r.counts[CountBounds], "beside unknown outcomes"},
		{r.counts[CountBounds] + r.counts[CountUnseen], "by bounds alone"},
	} {
		if by.n > 0 {
			parts = append(parts, fmt.Sprintf("%.1f%% %s", 100*float64(by.n)/float64(r.counts[CountValues]), by.how))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "of the values read, judged " + strings.Join(parts, ", ")
}

// describe tells a transaction by its position.
func (r *run) describe(i int) string { return checker.Describe(&r.h.Txns[i]) }
