package whole

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// kept is how many anomalies are kept to choose the smallest from.
const kept = 1000

// maxReasons why the verdict is unknown are told.
const maxReasons = 5

// report collects what a check finds.
type report struct {
	h       *history.History
	found   []checker.Anomaly
	told    map[string]bool // texts, so that nothing is told twice
	counts  map[string]int
	missing []string // what could not be judged, and why
}

func newReport(h *history.History, counts ...string) *report {
	r := &report{h: h, told: map[string]bool{}, counts: map[string]int{"anomalies": 0}}
	for _, c := range counts {
		r.counts[c] = 0
	}
	return r
}

// anomaly notes one. The transactions are told below the text, one a line.
func (r *report) anomaly(name, text string, txns ...*history.Txn) {
	r.counts["anomalies"]++
	if len(r.found) >= kept {
		return
	}
	a := checker.Anomaly{Name: name}
	var b strings.Builder
	b.WriteString(text)
	for i, t := range txns {
		if slices.Contains(txns[:i], t) {
			continue
		}
		a.Txns = append(a.Txns, t.ID)
		b.WriteString("\n  " + checker.Describe(t))
	}
	a.Text = b.String()
	if !r.told[a.Name+a.Text] {
		r.told[a.Name+a.Text] = true
		r.found = append(r.found, a)
	}
}

// unjudged notes why the verdict can't be valid.
func (r *report) unjudged(format string, args ...any) {
	r.counts["not judged"]++
	if len(r.missing) < maxReasons {
		r.missing = append(r.missing, fmt.Sprintf(format, args...))
	}
}

// result is the verdict: invalid if anything was found, else unknown if something could not be judged.
func (r *report) result(name string, o checker.Options) checker.Result {
	slices.SortStableFunc(r.found, func(a, b checker.Anomaly) int {
		return cmp.Or(len(a.Txns)-len(b.Txns), slices.Compare(a.Txns, b.Txns), strings.Compare(a.Name, b.Name), strings.Compare(a.Text, b.Text))
	})
	res := checker.Result{Checker: name, Verdict: checker.Valid, Counts: r.counts, Note: strings.Join(r.missing, "; ")}
	res.Anomalies = r.found[:min(len(r.found), o.Most())]
	switch {
	case len(r.found) > 0:
		res.Verdict = checker.Invalid
	case len(r.missing) > 0:
		res.Verdict = checker.Unknown
	}
	res.Idle(sortedKeys(r.counts)...)
	return res
}

// tn names a transaction.
func tn(t *history.Txn) string { return fmt.Sprintf("T%d", t.ID) }

// isFinal reports whether a transaction is a look at what is left in the end.
func isFinal(t *history.Txn) bool { return t.Final && t.Outcome == history.OK && !t.Writes() }

// sessions are the transactions of each session in the order of their starts; sessions in the order
// of their first transaction.
func sessions(h *history.History) [][]*history.Txn {
	number := map[int]int{}
	var out [][]*history.Txn
	for i := range h.Txns {
		t := &h.Txns[i]
		if t.Session == 0 {
			continue
		}
		n, met := number[t.Session]
		if !met {
			n = len(out)
			number[t.Session] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], t)
	}
	for _, s := range out {
		slices.SortStableFunc(s, func(a, b *history.Txn) int { return cmp.Compare(a.Start, b.Start) })
	}
	return out
}

// texts are what a read of a register or set returned, in byte order.
func texts(leaf string, v *history.Value) []string {
	switch {
	case v == nil || v.Absent:
		return nil
	case leaf == "register-lww":
		return []string{v.Text}
	case slices.IsSorted(v.List):
		return v.List
	}
	return slices.Sorted(slices.Values(v.List))
}

// in reports whether sorted texts hold one.
func in(sorted []string, text string) bool {
	_, found := slices.BinarySearch(sorted, text)
	return found
}

// sortedKeys are the keys of a map in byte order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
