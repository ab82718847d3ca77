package strong

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// draw draws a small history of a model. rapid prints the seed of a failure.
func draw(t *rapid.T, m mode) *history.History {
	return makeHistory(rapid.Uint64().Draw(t, "seed"), m, rapid.IntRange(1, 120).Draw(t, "txns"),
		rapid.IntRange(1, 8).Draw(t, "processes"), rapid.IntRange(1, 6).Draw(t, "keys"))
}

func requireValid(t require.TestingT, c checker.Checker, h *history.History) {
	r := c.Check(h, checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict, "%s: %v %s", c.Name(), r.Anomalies, r.Note)
}

// TestWhatAModelAllowsIsValid: histories of a database that keeps a level are valid at it, and below.
func TestWhatAModelAllowsIsValid(t *testing.T) {
	for m, highest := range map[mode]Level{atOnce: StrictSerializable, snapshots: SnapshotIsolation, replicas: Causal} {
		t.Run(highest.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := draw(t, m)
				for l := ReadAtomic; l <= highest; l++ {
					requireValid(t, Transactions(l, ""), h)
				}
				if m == atOnce {
					requireValid(t, Linearizable(""), h)
				}
			})
		})
	}
}

// TestModelsAreTooWeakForHigherLevels: the checkers tell the models apart.
func TestModelsAreTooWeakForHigherLevels(t *testing.T) {
	require.Equal(t, checker.Invalid, Transactions(Serializable, "").Check(makeHistory(1, snapshots, 500, 8, 4), checker.Options{}).Verdict)
	require.Equal(t, checker.Invalid, Transactions(SnapshotIsolation, "").Check(makeHistory(1, replicas, 500, 8, 4), checker.Options{}).Verdict)
}

// TestAStaleReadIsFound: one answer of a strictly serializable history is replaced with a value that
// had been overwritten before its transaction began.
func TestAStaleReadIsFound(t *testing.T) {
	planted := 0
	rapid.Check(t, func(t *rapid.T) {
		h := draw(t, atOnce)
		if plantStale(h) {
			planted++
			r := Transactions(StrictSerializable, "").Check(h, checker.Options{})
			require.Equal(t, checker.Invalid, r.Verdict)
			require.NotEmpty(t, r.Anomalies)
		}
	})
	require.Greater(t, planted, 3, "of 20 in short mode")
}

// plantStale lets the last read that may see an old value see one.
func plantStale(h *history.History) bool {
	for i := len(h.Txns) - 1; i >= 0; i-- {
		t := &h.Txns[i]
		for j := range t.Ops {
			o := &t.Ops[j]
			if t.Outcome != history.OK || o.Do != history.Get || !firstOn(t, j) {
				continue
			}
			if overwritten(h, t, o) {
				o.Got = &history.Value{Absent: true}
				return true
			}
		}
	}
	return false
}

func firstOn(t *history.Txn, j int) bool {
	for k := range j {
		if t.Ops[k].Key == t.Ops[j].Key {
			return false
		}
	}
	return true
}

// overwritten reports whether the key was written before the transaction began.
func overwritten(h *history.History, t *history.Txn, o *history.Op) bool {
	for i := range h.Txns {
		w := &h.Txns[i]
		for j := range w.Ops {
			if w.Outcome == history.OK && w.End < t.Start && w.Ops[j].Writes() && w.Ops[j].Key == o.Key {
				return true
			}
		}
	}
	return false
}

// TestALostUpdateIsFound: a second transaction replaces what one of a snapshot-isolated history had
// read and replaced, as a database does that does not look for conflicts.
func TestALostUpdateIsFound(t *testing.T) {
	planted := 0
	rapid.Check(t, func(t *rapid.T) {
		h := draw(t, snapshots)
		if !plantLostUpdate(h) {
			return
		}
		planted++
		requireValid(t, Transactions(Causal, ""), h)
		r := Transactions(SnapshotIsolation, "").Check(h, checker.Options{})
		require.Equal(t, checker.Invalid, r.Verdict)
		require.Equal(t, lostUpdate, r.Anomalies[0].Name)
	})
	require.Greater(t, planted, 3, "of 20 in short mode")
}

// plantLostUpdate repeats the last compare-and-set that begins a transaction, with another value.
func plantLostUpdate(h *history.History) bool {
	for i := len(h.Txns) - 1; i >= 0; i-- {
		t := &h.Txns[i]
		if o := t.Ops[0]; t.Outcome == history.OK && o.Expect != nil {
			o.Arg = &history.Value{Text: "again"}
			h.Txns = append(h.Txns, history.Txn{ID: len(h.Txns) + 1, Process: 1000, Region: "eu", Level: "strong",
				Start: t.Start, End: t.End, Outcome: history.OK, Ops: []history.Op{o}})
			return true
		}
	}
	return false
}

// TestResultsAreTheSameEveryTime covers a history with many anomalies, as it is and written and read.
func TestResultsAreTheSameEveryTime(t *testing.T) {
	h := makeHistory(3, replicas, 2000, 10, 5)
	var file bytes.Buffer
	require.NoError(t, h.Write(&file))
	again, err := history.Read(&file)
	require.NoError(t, err)
	for _, c := range checkers() {
		first := c.Check(h, checker.Options{})
		require.LessOrEqual(t, len(first.Anomalies), checker.MaxAnomalies)
		require.Equal(t, first, c.Check(again, checker.Options{}), c.Name())
	}
}
