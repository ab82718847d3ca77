package checker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/history"
)

// TestWhatWasNotExercisedIsInvalid: a run that did nothing must not look good.
func TestWhatWasNotExercisedIsInvalid(t *testing.T) {
	r := Result{Verdict: Valid, Counts: map[string]int{"reads": 3, "writes": 5}}
	r.Exercised(map[string]int{"reads": 3, "writes": 5})
	require.Equal(t, Valid, r.Verdict)
	r.Exercised(map[string]int{"writes": 6, "faults": 1, "reads": 1})
	require.Equal(t, Invalid, r.Verdict)
	require.Len(t, r.Anomalies, 2)
	require.Equal(t, "not exercised: 0 faults, a verdict that means something needs 1 or more", r.Anomalies[0].String())
	require.Contains(t, r.Anomalies[1].Text, "5 writes")
}

// TestWorst: one invalid result makes all of them so, an unknown one none of them valid.
func TestWorst(t *testing.T) {
	results := func(vs ...Verdict) (out []Result) {
		for _, v := range vs {
			out = append(out, Result{Verdict: v})
		}
		return out
	}
	require.Equal(t, Unknown, Worst(nil))
	require.Equal(t, Valid, Worst(results(Valid, Valid)))
	require.Equal(t, Unknown, Worst(results(Valid, Unknown, Valid)))
	require.Equal(t, Invalid, Worst(results(Unknown, Invalid, Valid)))
}

// TestOptionsHaveDefaults covers the number of anomalies that are told.
func TestOptionsHaveDefaults(t *testing.T) {
	require.Equal(t, MaxAnomalies, Options{}.Most())
	require.Equal(t, 3, Options{Anomalies: 3}.Most())
}

// TestTransactionsAreToldInWords covers each operation and type of value.
func TestTransactionsAreToldInWords(t *testing.T) {
	field := []history.Step{{Name: "f", Type: "set-aw"}}
	for text, op := range map[string]history.Op{
		`read x:counter = 4`:                       {Do: history.Get, Key: "x", Type: "counter", Got: &history.Value{Int: 4}},
		`read x:counter = (no answer)`:             {Do: history.Get, Key: "x", Type: "counter"},
		`read "b":x:flag-ew = true`:                {Do: history.Get, Bucket: "b", Key: "x", Type: "flag-ew", Got: &history.Value{Flag: true}},
		`read x:register-lww = "v"`:                {Do: history.Get, Key: "x", Type: "register-lww", Got: &history.Value{Text: "v"}},
		`read x:register-lww = nothing`:            {Do: history.Get, Key: "x", Type: "register-lww", Got: &history.Value{Absent: true}},
		`read x:register-mv = ["a" "b"]`:           {Do: history.Get, Key: "x", Type: "register-mv", Got: &history.Value{List: []string{"a", "b"}}},
		`read x:map = {f:counter = 2}`:             {Do: history.Get, Key: "x", Type: "map", Got: &history.Value{Fields: []history.Field{{Name: "f", Type: "counter", Value: history.Value{Int: 2}}}}},
		`asked whether "a b":set-aw has "e": true`: {Do: history.Contains, Key: "a b", Type: "set-aw", Element: "e", Got: &history.Value{Flag: true}},
		`added 3 to x:counter`:                     {Do: history.Add, Key: "x", Type: "counter", Arg: &history.Value{Int: 3}},
		`wrote x:register-lww = "v"`:               {Do: history.Assign, Key: "x", Type: "register-lww", Arg: &history.Value{Text: "v"}},
		`wrote x:register-lww = "v" if it was "u"`: {
			Do: history.Assign, Key: "x", Type: "register-lww", Arg: &history.Value{Text: "v"}, Expect: &history.Value{Text: "u"},
		},
		`put "e" into x:map/f:set-aw`:    {Do: history.Insert, Key: "x", Type: "map", Path: field, Element: "e"},
		`took "e" out of x:map/f:set-aw`: {Do: history.Remove, Key: "x", Type: "map", Path: field, Element: "e"},
		`enabled x:flag-dw`:              {Do: history.Enable, Key: "x", Type: "flag-dw"},
		`disabled x:flag-dw`:             {Do: history.Disable, Key: "x", Type: "flag-dw"},
		`reset x:map`:                    {Do: history.Reset, Key: "x", Type: "map"},
	} {
		require.Equal(t, text, DescribeOp(&op))
	}
	txn := history.Txn{ID: 5, Process: 3, Session: 2, Region: "eu", Outcome: history.OK}
	for range 9 {
		txn.Ops = append(txn.Ops, history.Op{Do: history.Enable, Key: "x", Type: "flag-ew"})
	}
	require.Equal(t, "T5 (process 3, session 2, eu, ok): enabled x:flag-ew, enabled x:flag-ew, enabled x:flag-ew, "+
		"enabled x:flag-ew, enabled x:flag-ew, enabled x:flag-ew, and 3 more", Describe(&txn))
}

// TestNothingJudgedIsNoProof: checkers that all found nothing to look at prove nothing together.
func TestNothingJudgedIsNoProof(t *testing.T) {
	idle := Result{Verdict: Valid, Counts: map[string]int{"values": 0}}
	idle.Idle("values", "snapshots")
	require.Equal(t, NothingJudged, idle.Note)
	busy := Result{Verdict: Valid, Counts: map[string]int{"values": 0, "snapshots": 1}}
	busy.Idle("values", "snapshots")
	require.Empty(t, busy.Note)
	require.Equal(t, Unknown, Worst(nil))
	require.Equal(t, Unknown, Worst([]Result{idle, idle}))
	require.Equal(t, Valid, Worst([]Result{idle, busy}))
	require.Equal(t, Invalid, Worst([]Result{idle, {Verdict: Invalid}}))
}
