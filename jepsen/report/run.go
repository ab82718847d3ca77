package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/jepsen/history"
)

// outcomes in the order in which they are shown.
var outcomes = []history.Outcome{history.OK, history.Fail, history.Unknown}

// run is a history with what is asked of it again and again.
type run struct {
	h        *history.History
	length   int64 // when the last thing happened, in nanoseconds; at least 1
	final    int64 // when the first final read began; -1: there is none
	outcomes map[history.Outcome]int
	groups   []group
}

// group is the transactions that do the same kind of thing.
type group struct {
	name string
	txns []*history.Txn
}

// maxGroups kinds of transactions are shown; the others together are one more.
const maxGroups = 6

func newRun(h *history.History) *run {
	r := &run{h: h, length: 1, final: -1, outcomes: map[history.Outcome]int{}}
	for i := range h.Txns {
		t := &h.Txns[i]
		r.length = max(r.length, t.Start, t.End)
		r.outcomes[t.Outcome]++
		if t.Final && (r.final < 0 || t.Start < r.final) {
			r.final = t.Start
		}
	}
	for _, f := range h.Faults {
		r.length = max(r.length, f.Start, f.End)
	}
	r.groups = groups(h)
	return r
}

// groups are those of the history, the largest first.
func groups(h *history.History) []group {
	by := map[string][]*history.Txn{}
	for i := range h.Txns {
		name := kindOf(&h.Txns[i])
		by[name] = append(by[name], &h.Txns[i])
	}
	var all []group
	for _, name := range sortedKeys(by) {
		all = append(all, group{name, by[name]})
	}
	slices.SortStableFunc(all, func(a, b group) int { return cmp.Compare(len(b.txns), len(a.txns)) })
	if len(all) <= maxGroups+1 {
		return all
	}
	rest := group{name: "other operations"}
	for _, g := range all[maxGroups:] {
		rest.txns = append(rest.txns, g.txns...)
	}
	return append(all[:maxGroups:maxGroups], rest)
}

// kindOf names what a transaction does.
func kindOf(t *history.Txn) string {
	reads, writes := 0, 0
	for i := range t.Ops {
		if t.Ops[i].Writes() {
			writes++
		} else {
			reads++
		}
	}
	switch {
	case t.Final:
		return "final reads"
	case len(t.Ops) == 1:
		return string(t.Ops[0].Do) + " " + t.Ops[0].Leaf()
	case writes == 0:
		return "several reads"
	case reads == 0:
		return "several writes"
	}
	return "reads and writes"
}

// facts are the figures at the top.
func (r *run) facts() []fact {
	h := &r.h.Header
	acknowledged := r.outcomes[history.OK]
	out := []fact{
		{"Regions", strings.Join(h.Regions, ", ")},
		{"Length", duration(r.length)},
		{"Transactions", fmt.Sprintf("%s (%s)", count(len(r.h.Txns)), perSecond(float64(len(r.h.Txns))/(float64(r.length)/1e9)))},
		{"Acknowledged", fmt.Sprintf("%s (%s)", count(acknowledged), percent(acknowledged, len(r.h.Txns)))},
		{"Not applied", fmt.Sprintf("%s (%s)", count(r.outcomes[history.Fail]), percent(r.outcomes[history.Fail], len(r.h.Txns)))},
		{"Outcome unknown", fmt.Sprintf("%s (%s)", count(r.outcomes[history.Unknown]), percent(r.outcomes[history.Unknown], len(r.h.Txns)))},
		{"Faults", count(len(r.h.Faults))},
		{"Seed", fmt.Sprint(h.Seed)},
	}
	if h.Started != "" {
		out = append(out, fact{"Started", h.Started})
	}
	return out
}

func (r *run) notes() []fact {
	var out []fact
	for _, name := range sortedKeys(r.h.Header.Notes) {
		out = append(out, fact{name, short(r.h.Header.Notes[name], maxTextRunes)})
	}
	return out
}

// operation is the row of a group.
type operation struct {
	Name                      string
	All, OK, Fail, Unknown    string
	Median, P95, P99, Slowest string // of those that were acknowledged
}

func (r *run) operations() []operation {
	var out []operation
	for _, g := range r.groups {
		n := map[history.Outcome]int{}
		var took []int64
		for _, t := range g.txns {
			n[t.Outcome]++
			if t.Outcome == history.OK {
				took = append(took, t.End-t.Start)
			}
		}
		slices.Sort(took)
		out = append(out, operation{g.name, count(len(g.txns)), count(n[history.OK]), count(n[history.Fail]), count(n[history.Unknown]),
			quantile(took, 0.5), quantile(took, 0.95), quantile(took, 0.99), quantile(took, 1)})
	}
	return out
}

// quantile of sorted durations, told.
func quantile(sorted []int64, q float64) string {
	if len(sorted) == 0 {
		return "–"
	}
	return duration(at(sorted, q))
}

// at is the nearest-rank quantile of what is sorted and not empty.
func at(sorted []int64, q float64) int64 {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// faultRow is a fault in the table.
type faultRow struct {
	Kind, Targets, Start, Length string
	Did                          string // what was counted of its effects
	OK, Fail, Unknown            string // transactions that ended during it
}

func (r *run) faultRows() (rows []faultRow, more int) {
	ends := r.ends()
	for i := range r.h.Faults {
		if len(rows) == maxRows {
			return rows, len(r.h.Faults) - i
		}
		f := &r.h.Faults[i]
		row := faultRow{Kind: f.Kind, Targets: short(strings.Join(f.Targets, ", "), 200), Start: moment(f.Start), Length: "not ended", Did: tellEffects(f)}
		until := r.length
		if f.End >= 0 {
			row.Length, until = duration(f.End-f.Start), f.End
		}
		n := ends.between(f.Start, until)
		row.OK, row.Fail, row.Unknown = count(n[history.OK]), count(n[history.Fail]), count(n[history.Unknown])
		rows = append(rows, row)
	}
	return rows, 0
}

// tellEffects tells what a fault did.
func tellEffects(f *history.Fault) string {
	var parts []string
	for _, name := range sortedKeys(f.Effects) {
		parts = append(parts, count(f.Effects[name])+" "+name)
	}
	return short(strings.Join(parts, ", "), 200)
}

// endTimes are when transactions ended, by outcome and in order.
type endTimes map[history.Outcome][]int64

func (r *run) ends() endTimes {
	e := endTimes{}
	for i := range r.h.Txns {
		if t := &r.h.Txns[i]; t.Ended() {
			e[t.Outcome] = append(e[t.Outcome], t.End)
		}
	}
	for _, times := range e {
		slices.Sort(times)
	}
	return e
}

func (e endTimes) between(from, to int64) map[history.Outcome]int {
	n := map[history.Outcome]int{}
	for outcome, times := range e {
		low, _ := slices.BinarySearch(times, from)
		high, _ := slices.BinarySearch(times, to+1)
		n[outcome] = high - low
	}
	return n
}

// errorRow is an error that callers got.
type errorRow struct{ Text, Times string }

// variable is what differs from one error to the next of its kind.
var variable = regexp.MustCompile(`[0-9a-f]{8,}|[0-9]+`)

// errors are the most frequent ones, with numbers taken out.
func (r *run) errors() (rows []errorRow, more int) {
	n := map[string]int{}
	for i := range r.h.Txns {
		if text := r.h.Txns[i].Error; text != "" {
			n[variable.ReplaceAllString(short(text, 300), "#")]++
		}
	}
	texts := sortedKeys(n)
	slices.SortStableFunc(texts, func(a, b string) int { return cmp.Compare(n[b], n[a]) })
	for _, text := range texts[:min(len(texts), maxErrors)] {
		rows = append(rows, errorRow{text, count(n[text])})
	}
	return rows, len(texts) - len(rows)
}
