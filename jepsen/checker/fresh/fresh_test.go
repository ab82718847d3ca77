package fresh

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

const second = int64(time.Second)

var excused = checker.Losses{Crashing: []string{"crash"}, Destroying: []string{"destroy"}}

// put is a write of one element, from one second to the next.
func put(element, level, durability string, start int64) history.Txn {
	return history.Txn{Region: "eu", Level: level, Durability: durability, Start: start * second, End: (start + 1) * second, Outcome: history.OK,
		Ops: []history.Op{{Do: history.Insert, Key: "s", Type: "set-go", Element: element}}}
}

// read is a read of the set.
func read(level string, bound time.Duration, start int64, got ...string) history.Txn {
	return history.Txn{Region: "us", Level: level, Bound: int64(bound), Start: start * second, End: (start + 1) * second, Outcome: history.OK,
		Ops: []history.Op{{Do: history.Get, Key: "s", Type: "set-go", Got: &history.Value{List: got, Absent: len(got) == 0}}}}
}

func final(got ...string) history.Txn {
	t := read("causal", 0, 100, got...)
	t.Final = true
	return t
}

// of is a history of transactions.
func of(t *testing.T, txns ...history.Txn) *history.History {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "made", Regions: []string{"eu", "us", "ap"}}, Txns: txns}
	for i := range h.Txns {
		h.Txns[i].ID, h.Txns[i].Process = i+1, i+1
	}
	require.NoError(t, h.Check())
	return h
}

func destroyed(h *history.History, region string, from, to int64) *history.History {
	h.Faults = append(h.Faults, history.Fault{Kind: "destroy", Targets: []string{region}, Start: from * second, End: to * second})
	return h
}

// fails changes the outcome of the last transaction.
func fails(h *history.History) *history.History {
	h.Txns[len(h.Txns)-1].Outcome = history.Fail
	return h
}

// without adds a transaction of another kind that takes something away.
func without(t *testing.T, h *history.History, do history.Do, element string) *history.History {
	gone := put("x", "causal", "local", 0)
	gone.Ops[0] = history.Op{Do: do, Key: "s", Type: "set-go", Element: element}
	if do == history.Remove {
		for i := range h.Txns {
			h.Txns[i].Ops = slices.Clone(h.Txns[i].Ops) // histories share them
			for j := range h.Txns[i].Ops {
				h.Txns[i].Ops[j].Type = "set-aw"
			}
		}
		gone.Ops[0].Type = "set-aw"
	}
	return of(t, append(h.Txns, gone)...)
}

// verdict is what a checker says of a history.
type verdict struct {
	name  string
	h     *history.History
	wrong bool
}

func judge(t *testing.T, c checker.Checker, anomaly string, all []verdict) {
	for _, v := range all {
		r := c.Check(v.h, checker.Options{})
		if !v.wrong {
			require.Equal(t, checker.Valid, r.Verdict, "%s: %v", v.name, r.Anomalies)
			continue
		}
		require.Equal(t, checker.Invalid, r.Verdict, v.name)
		require.Equal(t, anomaly, r.Anomalies[0].Name, v.name)
		require.Len(t, r.Anomalies[0].Txns, 2, v.name)
	}
}

func TestAnswersOlderThanTheirBound(t *testing.T) {
	a := put("a", "causal", "local", 1) // acknowledged at 2 s
	asked := read("bounded", 2*time.Second, 5)
	asked.Ops[0] = history.Op{Do: history.Contains, Key: "s", Type: "set-go", Element: "a", Got: &history.Value{}}
	other := read("bounded", 2*time.Second, 5)
	other.Ops[0] = history.Op{Do: history.Contains, Key: "s", Type: "set-go", Element: "b", Got: &history.Value{}}
	judge(t, Bounded(excused), "older than its bound", []verdict{
		{"three seconds after, bound 2 s", of(t, a, read("bounded", 2*time.Second, 5)), true},
		{"an element alone", of(t, a, asked), true},
		{"another element", of(t, a, other), false},
		{"found", of(t, a, read("bounded", 2*time.Second, 5, "a")), false},
		{"exactly at the bound", of(t, a, read("bounded", 2*time.Second, 4)), false},
		{"at another level", of(t, a, read("causal", 0, 5)), false},
		{"refused", fails(of(t, a, read("bounded", 2*time.Second, 5))), false},
		{"not promised to be on disk", of(t, put("a", "causal", "applied", 1), read("bounded", 2*time.Second, 5)), false},
		{"of a disk that is gone", destroyed(of(t, a, read("bounded", 2*time.Second, 5)), "eu", 2, 4), false},
		{"of another disk that is gone", destroyed(of(t, a, read("bounded", 2*time.Second, 5)), "us", 2, 4), true},
		{"reset", without(t, of(t, a, read("bounded", 2*time.Second, 5)), history.Reset, ""), false},
		{"taken out", without(t, of(t, a, read("bounded", 2*time.Second, 5)), history.Remove, "a"), false},
		{"another one taken out", without(t, of(t, a, read("bounded", 2*time.Second, 5)), history.Remove, "b"), true},
	})
	r := Bounded(excused).Check(of(t, a, read("bounded", time.Second, 5, "a"), read("bounded", time.Second, 5)), checker.Options{})
	require.Equal(t, 2, r.Counts[CountBounded])
	require.Equal(t, 2, r.Counts[CountOwed])
	require.Equal(t, 1, Bounded(excused).Check(fails(of(t, a, read("bounded", time.Second, 5))), checker.Options{}).Counts[CountRefused])
	require.Equal(t, checker.NothingJudged, Bounded(excused).Check(of(t, a), checker.Options{}).Note)
}

func TestAnswersThatMissWhatAMajorityHad(t *testing.T) {
	judge(t, Quorum(excused), "missed what a majority had", []verdict{
		{"majority", of(t, put("a", "causal", "majority", 1), read("quorum", 0, 3)), true},
		{"two of three", of(t, put("a", "causal", "2", 1), read("quorum", 0, 3)), true},
		{"all", of(t, put("a", "causal", "all", 1), read("quorum", 0, 3)), true},
		{"strong", of(t, put("a", "strong", "local", 1), read("quorum", 0, 3)), true},
		{"in one region", of(t, put("a", "causal", "1", 1), read("quorum", 0, 3)), false},
		{"on one disk", of(t, put("a", "causal", "local", 1), read("quorum", 0, 3)), false},
		{"found", of(t, put("a", "causal", "majority", 1), read("quorum", 0, 3, "a")), false},
		{"acknowledged when it began", of(t, put("a", "causal", "majority", 1), read("quorum", 0, 2)), false},
		{"one disk of two gone", destroyed(of(t, put("a", "causal", "majority", 1), read("quorum", 0, 9)), "eu", 3, 5), true},
		{"both gone at once", destroyed(destroyed(of(t, put("a", "causal", "majority", 1), read("quorum", 0, 9)), "eu", 3, 5), "us", 4, 6), false},
		{"refused", fails(of(t, put("a", "causal", "majority", 1), read("quorum", 0, 3))), false},
	})
}

func TestWritesThatALossTook(t *testing.T) {
	single := destroyed(of(t, put("a", "causal", "local", 1), put("b", "causal", "2", 1), final("b")), "eu", 2, 5)
	judge(t, Durable(excused), "lost", []verdict{
		{"nothing lost", of(t, put("a", "causal", "local", 1), final("a")), false},
		{"nothing was destroyed", of(t, put("a", "causal", "local", 1), final()), true},
		{"in memory", of(t, put("a", "causal", "applied", 1), final()), false},
		{"one region, destroyed", single, false},
		{"one region, another destroyed", destroyed(of(t, put("a", "causal", "local", 1), final()), "us", 2, 5), true},
		{"one region, destroyed before", destroyed(of(t, put("a", "causal", "local", 6), final()), "eu", 2, 5), true},
		{"two regions, one destroyed", destroyed(of(t, put("a", "causal", "2", 1), final()), "eu", 2, 5), true},
		{"strong, one destroyed", destroyed(of(t, put("a", "strong", "local", 1), final()), "eu", 2, 5), true},
		{"two regions, one after the other", destroyed(destroyed(of(t, put("a", "causal", "majority", 1), final()), "eu", 2, 5), "us", 6, 9), true},
		{"two regions at once", destroyed(destroyed(of(t, put("a", "causal", "all", 1), final()), "eu", 2, 5), "us", 4, 9), false},
		{"three regions, two at once", destroyed(destroyed(of(t, put("a", "causal", "3", 1), final()), "eu", 2, 5), "us", 4, 9), true},
	})
	r := Durable(excused).Check(single, checker.Options{})
	require.Equal(t, map[string]int{CountBefore: 1, CountSingle: 1, CountGone: 1, CountOwed: 1}, r.Counts)
}

func TestWhatWasWeakenedInSilence(t *testing.T) {
	as := func(served string, disks int, of history.Txn) history.Txn {
		of.Served, of.Disks = served, disks
		if of.Writes() {
			of.Commit = &history.Stamp{Region: 1, Time: 1}
		}
		return of
	}
	judge1 := func(anomaly string, txn history.Txn) {
		r := Receipts().Check(of(t, txn), checker.Options{})
		if anomaly == "" {
			require.Equal(t, checker.Valid, r.Verdict, "%v", r.Anomalies)
			return
		}
		require.Equal(t, anomaly, r.Anomalies[0].Name)
	}
	judge1("", as("quorum", 0, read("quorum", 0, 1)))
	judge1("another level", as("causal", 0, read("quorum", 0, 1)))
	judge1("", as("causal", 2, put("a", "causal", "2", 1)))
	judge1("too few disks", as("causal", 1, put("a", "causal", "2", 1)))
	judge1("too few disks", as("strong", 1, put("a", "strong", "local", 1)))
	judge1("too few disks", as("causal", 0, put("a", "causal", "local", 1)))
	judge1("", as("causal", 0, put("a", "causal", "applied", 1)))
	require.Equal(t, checker.NothingJudged, Receipts().Check(of(t, put("a", "causal", "2", 1)), checker.Options{}).Note)
}

// TestAnomaliesAreBounded: one for each read, and no more than are asked for.
func TestAnomaliesAreBounded(t *testing.T) {
	r := Quorum(excused).Check(of(t, put("a", "causal", "majority", 1), put("b", "causal", "majority", 1), read("quorum", 0, 3), read("quorum", 0, 3)),
		checker.Options{Anomalies: 1})
	require.Len(t, r.Anomalies, 1)
	require.Equal(t, 2, r.Counts["anomalies"])
	require.Contains(t, r.Anomalies[0].Text, `T3 in us has not "a" in s:set-go, which T1 put there in eu: a majority had that 1s before the read began`)
}
