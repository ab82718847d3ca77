package strong

import (
	"fmt"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// Level of isolation. Each forbids all that the one before it forbids.
type Level int

// Levels.
const (
	ReadAtomic         Level = iota // no dirty reads or writes, and no half of a transaction
	Causal                          // and what is read is closed under causality and session order
	SnapshotIsolation               // and nothing but write skew: no lost update, no long fork
	Serializable                    // and no write skew; session order holds
	StrictSerializable              // and real time holds
)

var levelNames = [...]string{"read-atomic", "causal-cycles", "snapshot-isolation", "serializable", "strict-serializable"}

func (l Level) String() string { return levelNames[l] }

// searchBudget is how many edges the searches for the words of anomalies may follow when Options do
// not say. Verdicts do not depend on it but at level Causal.
const searchBudget = 1_000_000_000

type transactions struct {
	level Level
	of    string
}

// Transactions judges transactions over registers whose values are unique by the cycles of their
// dependencies. of is the level of the history's transactions that are judged; empty: all.
// Options.Budget is the number of edges that searches may follow; default 1,000,000,000.
func Transactions(level Level, of string) checker.Checker { return transactions{level, of} }

func (c transactions) Name() string { return c.level.String() }

func (c transactions) Proves() string {
	return "The dependencies of transactions, by the order of writes that the history shows of registers whose values are unique, contradict " +
		c.level.String() + " isolation nowhere. Writes whose order shows nowhere may have been in any."
}

// Check implements checker.Checker.
func (c transactions) Check(h *history.History, o checker.Options) checker.Result {
	r := checker.Result{Checker: c.Name(), Verdict: checker.Valid, Counts: map[string]int{}}
	x := newIndex(h, c.of)
	x.collect()
	x.resolve()
	x.decideUnknown()
	x.order(c.level)
	if c.level >= SnapshotIsolation {
		x.lostUpdates()
	}
	g := x.graph(c.level)
	s := newSearcher(x, g, o)
	s.run(c.level)
	r.Anomalies = append(x.anomalies, s.anomalies...)
	x.count(r.Counts)
	g.count(r.Counts)
	settle(&r, o, append(x.unsure(), s.unsure...))
	if n := r.Counts["writes of unknown order"]; n > 0 {
		r.Note = join(r.Note, fmt.Sprintf("%d writes are in no known order to others of their register", n))
	}
	if g.cut > 0 {
		r.Note = join(r.Note, fmt.Sprintf("%d anti-dependencies left out, of values that many transactions replaced", g.cut))
	}
	return r
}
