package workload_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
)

// thinned is a way to take from a run what some minimum counts.
type thinned struct {
	name string
	thin func(h *history.History)
	told []string // "checker: count" of minimums that are then missed
}

// keepTxns keeps some transactions, with new ids.
func keepTxns(h *history.History, keep func(t *history.Txn) bool) {
	h.Txns = slices.DeleteFunc(h.Txns, func(t history.Txn) bool { return !keep(&t) })
	for i := range h.Txns {
		h.Txns[i].ID = i + 1
	}
}

// keepOps keeps some operations of the load, and the transactions that have any.
func keepOps(h *history.History, keep func(o *history.Op) bool) {
	for i := range h.Txns {
		if t := &h.Txns[i]; !t.Final {
			t.Ops = slices.DeleteFunc(t.Ops, func(o history.Op) bool { return !keep(&o) })
		}
	}
	keepTxns(h, func(t *history.Txn) bool { return len(t.Ops) > 0 })
	for i := range h.Txns {
		if t := &h.Txns[i]; !t.Writes() {
			t.Commit = nil
		}
	}
}

// thinnings of a run of workload session, which has something of each minimum but those of workloads' own.
var thinnings = []thinned{
	{"hardly any transactions", func(h *history.History) {
		n := 0
		keepTxns(h, func(t *history.Txn) bool { n++; return t.Final || n <= 40 })
	}, []string{"exercised: transactions", "exercised: outcome ok", "exercised: hops", "session: reads compared", "lost-writes: acknowledged writes"}},
	{"nearly all failed", func(h *history.History) {
		for i := range h.Txns {
			if t := &h.Txns[i]; !t.Final && i%20 != 0 {
				t.Outcome, t.Commit = history.Fail, nil
			}
		}
	}, []string{"exercised: outcome ok", "exercised: acknowledged in eu", "session: reads compared"}},
	{"a region that hardly answered", func(h *history.History) {
		n := 0
		keepTxns(h, func(t *history.Txn) bool { n++; return t.Final || t.Region != "us" || n%30 == 0 })
	}, []string{"exercised: acknowledged in us"}},
	{"nobody read", func(h *history.History) {
		keepOps(h, func(o *history.Op) bool { return o.Writes() })
	}, []string{"semantics: values judged by what they could be", "causal: reads placed",
		"exercised: reads of others' writes", "session: reads compared"}},
	{"nobody wrote", func(h *history.History) {
		keepOps(h, func(o *history.Op) bool { return !o.Writes() })
	}, []string{"exercised: add counter", "exercised: insert set-aw", "lost-writes: acknowledged writes", "causal: reads placed"}},
	{"no snapshots were reported", func(h *history.History) {
		for i := range h.Txns {
			h.Txns[i].Snapshot = nil
		}
	}, []string{"semantics: values judged by what they could be", "semantics: values judged in full", "exercised: reads of others' writes"}},
	{"of no write the outcome is known", func(h *history.History) {
		for i := range h.Txns {
			if t := &h.Txns[i]; t.Writes() {
				t.Outcome, t.End, t.Commit, t.Session, t.Process = history.Unknown, -1, nil, 0, 100_000+i
			}
		}
	}, []string{"lost-writes: acknowledged writes"}},
	{"no sessions", func(h *history.History) {
		for i := range h.Txns {
			h.Txns[i].Session = 0
		}
	}, []string{"session: reads compared", "session: reads compared after a hop", "exercised: hops"}},
	{"registers are written once", func(h *history.History) {
		met := map[string]bool{}
		keepOps(h, func(o *history.Op) bool {
			again := o.Writes() && o.Type == "register-lww" && met[o.Key]
			met[o.Key] = met[o.Key] || o.Writes()
			return !again
		})
	}, []string{"causal: orders inferred"}},
	{"nobody read in the end", func(h *history.History) {
		keepTxns(h, func(t *history.Txn) bool { return !t.Final || t.Region != "ap" })
	}, []string{"exercised: final reads in every region"}},
}

// TestARunThatShowsLittleIsNotValid: what was a valid run is not exercised where nearly nothing of a sort is left of it,
// although nothing in it is wrong.
func TestARunThatShowsLittleIsNotValid(t *testing.T) {
	whole := inBubble(t, "session", setting{Config: workload.Config{Seed: 1, Txns: 900, Rate: 200}, sure: true})
	requireValid(t, whole)
	for _, c := range thinnings {
		h := copied(t, whole)
		c.thin(h)
		require.NoError(t, h.Check(), c.name)
		results, err := workload.Judge(h, checker.Options{Anomalies: 1000})
		require.NoError(t, err)
		require.Equal(t, checker.Invalid, checker.Worst(results), c.name)
		var told []string
		for _, r := range results {
			for _, a := range r.Anomalies {
				if a.Name == checker.NotExercised {
					told = append(told, fmt.Sprintf("%s: %s", r.Checker, a.Text))
				}
			}
		}
		for _, want := range c.told {
			name, count, _ := strings.Cut(want, ": ")
			require.True(t, slices.ContainsFunc(told, func(have string) bool {
				return strings.HasPrefix(have, name+": ") && strings.Contains(have, " "+count+", a verdict that means something needs ")
			}), "%s: %s in %v", c.name, want, told)
		}
	}
}

// TestRegistersWithoutCompareAndSetsShowLittle: the checker of compare-and-sets has nothing to judge then.
func TestRegistersWithoutCompareAndSetsShowLittle(t *testing.T) {
	h := inBubble(t, "register", setting{Config: workload.Config{Seed: 1, Txns: 900, Rate: 200}, sure: true})
	requireValid(t, h)
	for i := range h.Txns {
		for j := range h.Txns[i].Ops {
			h.Txns[i].Ops[j].Expect = nil
		}
	}
	results, err := workload.Judge(h, checker.Options{})
	require.NoError(t, err)
	at := slices.IndexFunc(results, func(r checker.Result) bool { return r.Checker == "compare-and-set" })
	require.Equal(t, checker.Invalid, results[at].Verdict)
	require.Equal(t, checker.NotExercised, results[at].Anomalies[0].Name)
}
