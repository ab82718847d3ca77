package strong

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

const (
	// linearBudget is how many steps the search of one place may take when Options do not say.
	linearBudget = 2_000_000
	// maxCalls is how many calls of one place are looked at: the search remembers a bit a call for
	// every step, so that memory grows with their square.
	maxCalls = 20_000
	// maxBits is how many such bits it may remember (512 MiB).
	maxBits = 4 << 30
	// maxShown calls of a place are told in an anomaly.
	maxShown = 6
)

type linearizable struct{ of string }

// Linearizable judges whether each place (register, counter, set, flag) is linearizable by itself.
// of is the level of the transactions that are judged; empty: all. Options.Budget is the number of
// steps of the search of one place; default 2,000,000. A counter's are a tenth as large.
func Linearizable(of string) checker.Checker { return linearizable{of} }

func (linearizable) Name() string { return "linearizable" }

func (linearizable) Proves() string {
	return "Every register, counter, set and flag, by itself, can be explained by an order of its calls that " +
		"respects real time. It says nothing of several places together, nor of places written at other levels."
}

// Check implements checker.Checker.
func (c linearizable) Check(h *history.History, o checker.Options) checker.Result {
	r := checker.Result{Checker: c.Name(), Verdict: checker.Valid, Counts: map[string]int{}}
	budget := cmp.Or(o.Budget, linearBudget)
	var unsure []string
	left := 0
	for _, p := range places(h, c.of) {
		if p.foreign {
			left++
			continue
		}
		r.Counts["places"]++
		r.Counts["calls"] += len(p.calls)
		a, sure := p.judge(budget)
		switch {
		case !sure:
			unsure = append(unsure, p.name)
		case a != nil:
			r.Anomalies = append(r.Anomalies, *a)
		}
	}
	r.Counts["places left out"], r.Counts["places undecided"] = left, len(unsure)
	settle(&r, o, unsure)
	if left > 0 {
		r.Note = join(r.Note, fmt.Sprintf("%d places left out: written at other levels, or reset as part of a map", left))
	}
	return r
}

// settle decides the verdict from what was found, and from what could not be decided.
func settle(r *checker.Result, o checker.Options, unsure []string) {
	slices.SortStableFunc(r.Anomalies, func(a, b checker.Anomaly) int {
		return cmp.Or(cmp.Compare(len(a.Txns), len(b.Txns)), slices.Compare(a.Txns, b.Txns), strings.Compare(a.Name, b.Name))
	})
	r.Counts["anomalies"] = len(r.Anomalies)
	if len(unsure) > 0 {
		r.Verdict = checker.Unknown
		more := ""
		if len(unsure) > maxShown {
			more = fmt.Sprintf(" and %d more", len(unsure)-maxShown)
		}
		r.Note = join(r.Note, "not decided: "+strings.Join(unsure[:min(maxShown, len(unsure))], ", ")+more)
	}
	if len(r.Anomalies) > 0 {
		r.Verdict = checker.Invalid
		r.Anomalies = r.Anomalies[:min(len(r.Anomalies), o.Most())]
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// call is what one transaction did on one place, at one instant.
type call struct {
	txn *history.Txn
	ops []*history.Op
}

// known reports whether the call certainly happened.
func (c *call) known() bool { return c.txn.Outcome == history.OK }

// end is until when the call may take effect: one of unknown outcome at any time, and one that
// takes effect after everybody has looked is as good as one that never does.
func (c *call) end() int64 {
	if c.known() {
		return c.txn.End
	}
	return math.MaxInt64
}

type spot struct {
	name    string
	kind    string
	calls   []call
	foreign bool // something wrote it that is not judged
}

// places sorts what transactions did by place, in the order of the places' names.
func places(h *history.History, of string) []*spot {
	byName := map[string]*spot{}
	covered := map[string]bool{} // maps that were written whole
	for i := range h.Txns {
		if t := &h.Txns[i]; t.Outcome != history.Fail {
			split(t, of == "" || t.Level == of, byName, covered)
		}
	}
	out := make([]*spot, 0, len(byName))
	for _, p := range byName {
		for name := range covered {
			p.foreign = p.foreign || strings.HasPrefix(p.name, name+"/")
		}
		if len(p.calls) > 0 || p.foreign {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *spot) int { return strings.Compare(a.name, b.name) })
	return out
}

func split(t *history.Txn, judged bool, byName map[string]*spot, covered map[string]bool) {
	for i := range t.Ops {
		o := &t.Ops[i]
		name, kind := checker.Place(o), o.Leaf()
		if kind == "map" || kind == "map-go" {
			if o.Writes() {
				covered[name] = true
			}
			continue
		}
		p := byName[name]
		if p == nil {
			p = &spot{name: name, kind: kind}
			byName[name] = p
		}
		if !judged {
			p.foreign = p.foreign || o.Writes()
			continue
		}
		if n := len(p.calls); n == 0 || p.calls[n-1].txn != t {
			p.calls = append(p.calls, call{txn: t})
		}
		last := &p.calls[len(p.calls)-1]
		last.ops = append(last.ops, o)
	}
}

// judge returns what is wrong with the place, and whether that is certain.
func (p *spot) judge(budget int) (*checker.Anomaly, bool) {
	p.calls = useful(p.calls)
	s := newSearch(p, budget)
	if len(p.calls) > maxCalls && !s.sums {
		return nil, false
	}
	if fits, sure := s.fits(p.calls); fits || !sure {
		return nil, sure
	}
	return p.explain(s), true
}

// useful leaves out calls that nothing can come of: reads without an answer, and writes of unknown outcome
// whose value or element nobody saw, or that take out what nobody put in. Leaving those out loses nothing,
// since they may as well never have happened, and each that stays doubles the search.
func useful(calls []call) []call {
	seen, put := map[string]bool{}, map[string]bool{}
	for i := range calls {
		for _, o := range calls[i].ops {
			note(seen, o)
			if o.Do == history.Insert {
				put[o.Element] = true
			}
		}
	}
	matters := func(o *history.Op) bool {
		switch o.Do {
		case history.Assign:
			return seen[o.Arg.Text]
		case history.Insert:
			return seen[o.Element]
		case history.Remove:
			return put[o.Element]
		}
		return o.Writes()
	}
	return slices.DeleteFunc(slices.Clone(calls), func(c call) bool { return !c.known() && !slices.ContainsFunc(c.ops, matters) })
}

// note notes what an operation says that it saw.
func note(seen map[string]bool, o *history.Op) {
	if o.Do == history.Contains && o.Got != nil && o.Got.Flag {
		seen[o.Element] = true
	}
	for _, v := range []*history.Value{o.Got, o.Expect} {
		if v != nil {
			seen[v.Text] = true
			for _, e := range v.List {
				seen[e] = true
			}
		}
	}
}

// explain finds the first answer after which no order is left: a history that can be ordered stays
// so if it is cut at any time, hence bisection finds the earliest cut that can't.
func (p *spot) explain(s *search) *checker.Anomaly {
	ends := make([]int64, 0, len(p.calls))
	for i := range p.calls {
		if p.calls[i].known() {
			ends = append(ends, p.calls[i].end())
		}
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	at, _ := slices.BinarySearchFunc(ends, true, func(end int64, _ bool) int {
		if fits, sure := s.fits(until(p.calls, end)); fits || !sure {
			return -1
		}
		return 1
	})
	return p.tell(ends[min(at, len(ends)-1)])
}

// until is what had happened at a time: calls under way may have taken effect, or not.
func until(calls []call, end int64) []call {
	var out []call
	for _, c := range calls {
		if c.txn.Start > end {
			continue
		}
		if c.known() && c.txn.End > end {
			pending := *c.txn
			pending.Outcome = history.Unknown
			c.txn = &pending
		}
		out = append(out, c)
	}
	return useful(out)
}

// tell names the calls that ended at the time, and those right before or under way.
func (p *spot) tell(end int64) *checker.Anomaly {
	var now, before []call
	for _, c := range p.calls {
		switch {
		case c.known() && c.txn.End == end:
			now = append(now, c)
		case c.txn.Start <= end:
			before = append(before, c)
		}
	}
	slices.SortStableFunc(before, func(a, b call) int { return cmp.Compare(min(a.end(), end), min(b.end(), end)) })
	before = before[max(0, len(before)-maxShown):]
	text := fmt.Sprintf("what was answered on %s before %d can be put into an order that respects real time, but not together with %s",
		p.name, end, list(now))
	if len(before) > 0 {
		text += "; before it, or at the same time: " + list(before)
	}
	return &checker.Anomaly{Name: "linearizability violation", Txns: ids(append(now, before...)), Text: text}
}

func list(calls []call) string {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = fmt.Sprintf("%s from %d to %d", checker.Describe(c.txn), c.txn.Start, c.txn.End)
	}
	return strings.Join(parts, "; ")
}

func ids(calls []call) []int {
	out := make([]int, len(calls))
	for i, c := range calls {
		out[i] = c.txn.ID
	}
	slices.Sort(out)
	return out
}

// fits reports whether the calls can be ordered, and whether that is certain.
func (s *search) fits(calls []call) (fits, sure bool) {
	if s.sums {
		return addsUp(calls, s.budget, minWidth)
	}
	ops := make([]porcupine.Operation, len(calls))
	for i := range calls {
		ops[i] = porcupine.Operation{Input: &calls[i], Call: calls[i].txn.Start, Return: calls[i].end()}
	}
	s.left = min(s.budget, maxBits/max(1, len(calls)))
	fits = porcupine.CheckOperations(s.model(), ops)
	return fits, fits || s.left > 0
}
