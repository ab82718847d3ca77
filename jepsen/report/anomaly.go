package report

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Limits of what is shown of one anomaly.
const (
	maxBoxes  = 16 // transactions
	maxArrows = 30
	maxOps    = 5 // operations in a box
	maxListed = 60
)

// anomaly is what a checker found, with its drawing.
type anomaly struct {
	ID, Name, Checker, Text string
	Open                    bool     // shown at once, not when it is opened
	Drawing                 *drawing // nil: it names no transactions
	Order                   []told   // the arrows, by number
	Inferred                bool     // the arrows are not the checker's: they follow from values and sessions
	Undrawn                 int      // transactions that are not in the drawing
	Txns                    []listed
}

// told is an arrow in words.
type told struct {
	N    int
	Text string
}

// listed is a transaction with all that the history says of it.
type listed struct {
	ID    int
	Facts []fact
	Ops   []string
	More  int // operations that are left out
}

func newAnomaly(h *history.History, by string, a *checker.Anomaly) anomaly {
	out := anomaly{Name: a.Name, Checker: by, Text: short(a.Text, maxTextRunes)}
	txns := named(h, a)
	if len(txns) > maxBoxes {
		out.Undrawn = len(txns) - maxBoxes
		txns = txns[:maxBoxes]
	}
	if len(txns) == 0 {
		return out
	}
	order := a.Order
	if len(order) == 0 {
		order, out.Inferred = infer(txns), true
	}
	out.Drawing = draw(txns, order, a.Text)
	for _, arrow := range out.Drawing.Arrows {
		out.Order = append(out.Order, told{arrow.N, arrow.Tip})
	}
	for _, t := range txns {
		out.Txns = append(out.Txns, list(t))
	}
	return out
}

// mention is how texts name a transaction.
var mention = regexp.MustCompile(`\bT([0-9]{1,9})\b`)

// named are the transactions of an anomaly: those of its order first, so that no arrow is missed, and
// those that only its text names last.
func named(h *history.History, a *checker.Anomaly) []*history.Txn {
	var ids []int
	for _, s := range a.Order {
		ids = append(ids, s.From, s.To)
	}
	ids = append(ids, a.Txns...)
	for _, m := range mention.FindAllStringSubmatch(short(a.Text, maxTextRunes), -1) {
		id, _ := strconv.Atoi(m[1]) // digits, few enough
		ids = append(ids, id)
	}
	seen := map[int]bool{}
	var txns []*history.Txn
	for _, id := range ids {
		if id < 1 || id > len(h.Txns) || seen[id] {
			continue
		}
		seen[id] = true
		txns = append(txns, &h.Txns[id-1])
	}
	return txns
}

// infer finds what came before what among the transactions of an anomaly that tells no order: sessions,
// and values that one wrote and another read.
func infer(txns []*history.Txn) []checker.Step {
	var steps []checker.Step
	byStart := slices.Clone(txns)
	slices.SortStableFunc(byStart, func(a, b *history.Txn) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	last := map[int]*history.Txn{}
	for _, t := range byStart {
		if before := last[t.Session]; before != nil && t.Session != 0 {
			steps = append(steps, checker.Step{From: before.ID, To: t.ID, Why: fmt.Sprintf("T%d came after T%d in session %d", t.ID, before.ID, t.Session)})
		}
		last[t.Session] = t
		for _, w := range txns {
			if what := readOf(t, w); w != t && what != "" {
				steps = append(steps, checker.Step{From: w.ID, To: t.ID, Why: fmt.Sprintf("T%d read what T%d wrote: %s", t.ID, w.ID, what)})
			}
		}
	}
	return steps
}

// readOf tells a value that r read and w wrote.
func readOf(r, w *history.Txn) string {
	for i := range r.Ops {
		for j := range w.Ops {
			if read, wrote := &r.Ops[i], &w.Ops[j]; shows(read, wrote) {
				return checker.DescribeOp(wrote)
			}
		}
	}
	return ""
}

// shows reports whether a read has the value that a write left.
func shows(read, wrote *history.Op) bool {
	if read.Writes() || read.Got == nil || checker.Place(read) != checker.Place(wrote) {
		return false
	}
	switch {
	case wrote.Do == history.Insert && read.Do == history.Contains:
		return read.Got.Flag && read.Element == wrote.Element
	case wrote.Do == history.Insert:
		return slices.Contains(read.Got.List, wrote.Element)
	case wrote.Do == history.Assign && wrote.Leaf() == "register-lww":
		return !read.Got.Absent && read.Got.Text == wrote.Arg.Text
	case wrote.Do == history.Assign:
		return slices.Contains(read.Got.List, wrote.Arg.Text)
	}
	return false
}

// list tells all of a transaction.
func list(t *history.Txn) listed {
	out := listed{ID: t.ID, Facts: []fact{{"outcome", outcomeWord[t.Outcome]}, {"region", t.Region}, {"process", fmt.Sprint(t.Process)}}}
	add := func(name, value string) {
		if value != "" {
			out.Facts = append(out.Facts, fact{name, value})
		}
	}
	if t.Session != 0 {
		add("session", fmt.Sprint(t.Session))
	}
	add("level", t.Level)
	add("durability", t.Durability)
	add("began", moment(t.Start))
	if t.Ended() {
		add("took", duration(t.End-t.Start))
	} else {
		add("took", "never answered")
	}
	add("error", short(t.Error, 300))
	add("snapshot", vector(t.Snapshot))
	add("token before", vector(t.TokenBefore))
	add("token after", vector(t.TokenAfter))
	if t.Commit != nil {
		add("commit", fmt.Sprintf("%d at region %d", t.Commit.Time, t.Commit.Region))
	}
	add("operation id", t.OpID)
	for i := range t.Ops[:min(len(t.Ops), maxListed)] {
		out.Ops = append(out.Ops, short(checker.DescribeOp(&t.Ops[i]), 400))
	}
	out.More = len(t.Ops) - len(out.Ops)
	return out
}

func vector(v history.Vector) string {
	regions := make([]int, 0, len(v))
	for region := range v {
		regions = append(regions, region)
	}
	slices.Sort(regions)
	parts := make([]string, len(regions))
	for i, region := range regions {
		parts[i] = fmt.Sprintf("%d: %d", region, v[region])
	}
	return strings.Join(parts, ", ")
}
