package causal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Names of the anomalies that the checker finds.
const (
	ThinAirRead       = "thin-air read"
	DirtyRead         = "dirty read"
	IntermediateRead  = "intermediate read"
	FutureRead        = "future read"
	OwnWriteNotRead   = "own write not read"
	NonRepeatableRead = "non-repeatable read"
	FracturedRead     = "fractured read"
	ReadYourWrites    = "read your writes violated"
	MonotonicReads    = "monotonic reads violated"
	MonotonicWrites   = "monotonic writes violated"
	WritesFollowReads = "writes follow reads violated"
	CausalityViolated = "causality violation"
)

// Checker checks transactional causal consistency from reads and writes alone. Its zero value is ready
// for use; it takes no step that a budget could end, and so ignores Options.Budget.
type Checker struct{}

var _ checker.Checker = Checker{}

// Name is how reports call it.
func (Checker) Name() string { return "causal" }

// Proves says what a valid verdict means.
func (Checker) Proves() string {
	return "All reads of registers can be explained by one order of the transactions that respects sessions and what was read from whom, " +
		"in which each transaction reads, whole, the last write that it has causally seen. It says nothing of other types, " +
		"of freshness, or of concurrent updates that overwrite each other, which causal consistency allows."
}

// Check judges h.
func (c Checker) Check(h *history.History, o checker.Options) checker.Result {
	r := &run{h: h, counts: map[string]int{}, kept: map[string]int{}}
	r.intern()
	r.commit()
	r.judge()
	r.link()
	r.order()
	r.findCycles()
	return r.result(c.Name(), o)
}

// run is the state of one check.
type run struct {
	h      *history.History
	counts map[string]int

	registers
	nodes []node // nodes[i] is h.Txns[i]
	graph
	causes
	search

	found []checker.Anomaly
	kept  map[string]int // how many of each name are in found
}

// maxKept is how many anomalies of each name are explained; of a history that is wrong all over, the
// rest says nothing new.
const maxKept = 100

// room reports whether another anomaly of that name is still explained, and counts it.
func (r *run) room(name string) bool {
	r.kept[name]++
	return r.kept[name] <= maxKept
}

// tell keeps an anomaly, with the transactions that show it described after the explanation.
func (r *run) tell(name, text string, nodes []int32, order ...checker.Step) {
	nodes = slices.Clone(nodes)
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	a := checker.Anomaly{Name: name, Text: text + ".", Order: order}
	var who []string
	for _, n := range nodes {
		a.Txns = append(a.Txns, r.h.Txns[n].ID)
		who = append(who, checker.Describe(&r.h.Txns[n]))
	}
	a.Text += " " + strings.Join(who, "; ") + "."
	r.found = append(r.found, a)
}

// result sorts what was found: whatever needs fewer transactions to show comes first.
func (r *run) result(name string, o checker.Options) checker.Result {
	slices.SortStableFunc(r.found, func(a, b checker.Anomaly) int {
		if d := len(a.Txns) - len(b.Txns); d != 0 {
			return d
		}
		if d := slices.Compare(a.Txns, b.Txns); d != 0 {
			return d
		}
		return strings.Compare(a.Name+a.Text, b.Name+b.Text)
	})
	out := checker.Result{Checker: name, Verdict: checker.Valid, Counts: r.counts, Note: r.note()}
	for name, n := range r.kept {
		r.counts["anomalies: "+name] = n
		out.Verdict = checker.Invalid
	}
	out.Anomalies = r.found[:min(len(r.found), o.Most())]
	return out
}

// note says what was left out; or that nothing is in.
func (r *run) note() string {
	if r.counts[countReads] == 0 && len(r.kept) == 0 {
		return checker.NothingJudged
	}
	var parts []string
	add := func(count, why string) {
		if n := r.counts[count]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, why))
		}
	}
	add(countRepeated, "registers were left out because two transactions wrote the same value to them")
	add(countReset, "registers were left out because they were reset, or what they are in was")
	add(countIgnored, "operations on other types were ignored")
	return strings.Join(parts, "; ")
}
