package strong

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// at makes a history of transactions that all overlap.
func at(txns ...[]history.Op) *history.History {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "made", Regions: regions}}
	for i, ops := range txns {
		h.Txns = append(h.Txns, history.Txn{ID: i + 1, Process: i + 1, Region: "eu", Level: "strong",
			Start: 0, End: 100, Outcome: history.OK, Ops: ops})
	}
	return h
}

func get(key, value string) history.Op {
	return history.Op{Do: history.Get, Key: key, Type: "register-lww", Got: valueOf(cell{value: value})}
}

func set(key, value string) history.Op {
	return history.Op{Do: history.Assign, Key: key, Type: "register-lww", Arg: &history.Value{Text: value}}
}

// TestWhatCanNotBeJudgedIsUnknown: a value written twice says nothing of its writer, and a reset
// nothing of its place among others; both are named.
func TestWhatCanNotBeJudgedIsUnknown(t *testing.T) {
	twice := at([]history.Op{set("x", "1")}, []history.Op{set("x", "1")}, []history.Op{get("y", "")})
	r := Transactions(Serializable, "").Check(twice, checker.Options{})
	require.Equal(t, checker.Unknown, r.Verdict)
	require.Contains(t, r.Note, `x:register-lww ("1" is written twice)`)
	require.Equal(t, 1, r.Counts["registers left out"])

	field := get("m", "")
	field.Type, field.Path = "map", []history.Step{{Name: "f", Type: "register-lww"}}
	reset := at([]history.Op{{Do: history.Reset, Key: "m", Type: "map"}}, []history.Op{field})
	r = Transactions(Serializable, "").Check(reset, checker.Options{})
	require.Equal(t, checker.Unknown, r.Verdict)
	require.Contains(t, r.Note, "a map that it is in is reset")
	r = Linearizable("").Check(reset, checker.Options{})
	require.Equal(t, 1, r.Counts["places left out"])
	require.Contains(t, r.Note, "left out")
}

// TestBlindWritesAreInNoOrder: what the history does not show is told, not made up.
func TestBlindWritesAreInNoOrder(t *testing.T) {
	h := at([]history.Op{set("x", "1"), set("y", "1")}, []history.Op{set("x", "2"), set("y", "2")},
		[]history.Op{get("x", "1"), get("y", "2")})
	r := Transactions(Serializable, "").Check(h, checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict)
	require.Equal(t, 4, r.Counts["writes of unknown order"])
	require.Contains(t, r.Note, "4 writes are in no known order")
}

// TestAnEmptyBudgetIsUnknown: no verdict is better than a wrong one.
func TestAnEmptyBudgetIsUnknown(t *testing.T) {
	h := at([]history.Op{set("x", "1")}, []history.Op{get("x", "1")}, []history.Op{get("x", "")})
	r := Linearizable("").Check(h, checker.Options{Budget: 2})
	require.Equal(t, checker.Unknown, r.Verdict)
	require.Equal(t, "not decided: x:register-lww", r.Note)
	require.Equal(t, checker.Valid, Linearizable("").Check(h, checker.Options{}).Verdict)

	stale := makeHistory(3, replicas, 200, 10, 2)
	r = Transactions(Causal, "").Check(stale, checker.Options{Budget: 1})
	require.Equal(t, checker.Unknown, r.Verdict)
	r = Transactions(StrictSerializable, "").Check(stale, checker.Options{Budget: 1})
	require.Equal(t, checker.Invalid, r.Verdict, "that there is a cycle needs no search")
}

// TestAPlaceOfTooManyCallsIsUnknown: its search would need more memory than there may be.
func TestAPlaceOfTooManyCallsIsUnknown(t *testing.T) {
	r := Linearizable("").Check(makeHistory(1, atOnce, 25_000, 5, 1), checker.Options{})
	require.Equal(t, checker.Unknown, r.Verdict)
	require.Equal(t, 1, r.Counts["places undecided"])
}

// TestOtherLevelsAreNotJudged: only the transactions of the level that is asked for are held to it.
func TestOtherLevelsAreNotJudged(t *testing.T) {
	h := at([]history.Op{get("x", ""), get("y", ""), set("x", "1")}, []history.Op{get("x", ""), get("y", ""), set("y", "1")})
	require.Equal(t, checker.Invalid, Transactions(Serializable, "strong").Check(h, checker.Options{}).Verdict)
	h.Txns[0].Level = "causal"
	r := Transactions(Serializable, "strong").Check(h, checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict)
	require.Equal(t, 1, r.Counts["transactions"])
	require.Equal(t, 1, Linearizable("strong").Check(h, checker.Options{}).Counts["places left out"])
}

// TestManyReadersOfOneVersion: anti-dependencies of a version that many read and many replaced are
// found, at every level, and told as if there were no hub.
func TestManyReadersOfOneVersion(t *testing.T) {
	var txns [][]history.Op
	for i := range 30 {
		txns = append(txns, []history.Op{set("x", fmt.Sprint(i)), set("y", fmt.Sprint(i))}, []history.Op{get("x", "")})
	}
	require.Equal(t, checker.Valid, Transactions(StrictSerializable, "").Check(at(txns...), checker.Options{}).Verdict)
	txns = append(txns, []history.Op{get("y", "7"), get("x", "")})
	for l := ReadAtomic; l <= StrictSerializable; l++ {
		r := Transactions(l, "").Check(at(txns...), checker.Options{})
		require.Len(t, r.Anomalies, 1)
		require.Equal(t, "read skew (G-single, fractured read)", r.Anomalies[0].Name)
		require.Equal(t, []int{15, 61}, r.Anomalies[0].Txns)
		require.Contains(t, r.Anomalies[0].Text, `T61 is before T15 because it read x:register-lww = nothing, which T15 replaced with "7"`)
	}
}

// TestManyForksAreCountedWhereTheyAreAllowed: what is left out at level Causal is told.
func TestManyForksAreCountedWhereTheyAreAllowed(t *testing.T) {
	var txns [][]history.Op
	for i := range 20 {
		txns = append(txns, []history.Op{get("x", ""), set("x", fmt.Sprint(i))})
	}
	r := Transactions(Causal, "").Check(at(txns...), checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict)
	require.Contains(t, r.Note, "240 anti-dependencies left out")
	r = Transactions(SnapshotIsolation, "").Check(at(txns...), checker.Options{})
	require.Len(t, r.Anomalies, 1)
	require.Contains(t, r.Anomalies[0].Text, "and so did 18 more")
}

// TestMalformedBoundsAreRefused: a bound misspelt would be none.
func TestMalformedBoundsAreRefused(t *testing.T) {
	h := at([]history.Op{{Do: history.Add, Key: "c", Type: "counter", Arg: &history.Value{Int: -5}}})
	for _, text := range []string{"{}", "[", `[{"lowre":0}]`} {
		h.Header.Notes = map[string]string{BoundsNote: text}
		r := Bounds().Check(h, checker.Options{})
		require.Equal(t, checker.Unknown, r.Verdict)
		require.Contains(t, r.Note, `the header's note "bounds" is malformed`)
	}
	h.Header.Notes[BoundsNote] = `[{"key":"other","lower":0}]`
	require.Equal(t, 0, Bounds().Check(h, checker.Options{}).Counts["bounded counters"])
	h.Header.Notes[BoundsNote] = `[{"lower":0},{"key":"c","lower":-9}]`
	require.Equal(t, checker.Valid, Bounds().Check(h, checker.Options{}).Verdict, "the counter's own bound counts")
}

// TestWhatWasLookedAtIsCounted: a run that exercised nothing shows.
func TestWhatWasLookedAtIsCounted(t *testing.T) {
	counts := Transactions(StrictSerializable, "").Check(makeHistory(1, atOnce, 1000, 5, 20), checker.Options{}).Counts
	for _, what := range []string{"transactions", "transactions left out", "registers", "reads", "writes", "write dependencies",
		"read dependencies", "anti-dependencies", "session edges", "real-time edges"} {
		require.Positive(t, counts[what], what)
	}
	for name, c := range checkers() {
		require.NotEmpty(t, c.Proves())
		require.Equal(t, name, c.Name())
	}
}

// TestCausalSearchAgreesWithReachability: 64 goals at a time find what a search for each would.
func TestCausalSearchAgreesWithReachability(t *testing.T) {
	verdicts := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		h := draw(t, replicas)
		plantStale(h)
		x := newIndex(h, "")
		x.collect()
		x.resolve()
		x.decideUnknown()
		x.order(Causal)
		g := x.graph(Causal)
		s := newSearcher(x, g, checker.Options{})
		s.single()
		want := false
		v := view{g, dependencies | onward, false}
		p := newPaths(v, nil, &s.left)
		for _, e := range g.edges {
			want = want || e.kind == rw && p.find(e.to, e.from, 1<<30) != nil
		}
		verdicts[want]++
		require.Equal(t, want, len(s.anomalies) > 0)
	})
	require.Len(t, verdicts, 2)
}

// TestAnAbortedReadIsFound: one answer is replaced with what a failed transaction wrote.
func TestAnAbortedReadIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := draw(t, atOnce)
		n := len(h.Txns)
		h.Txns = append(h.Txns, history.Txn{ID: n + 1, Process: 1000, Region: "eu", Level: "strong", Start: 1 << 40, End: 1<<40 + 1,
			Outcome: history.Fail, Ops: []history.Op{set("k0", "never")}},
			history.Txn{ID: n + 2, Process: 1001, Region: "eu", Level: "strong", Start: 1 << 41, End: 1<<41 + 1,
				Outcome: history.OK, Ops: []history.Op{get("k0", "never")}})
		for l := ReadAtomic; l <= StrictSerializable; l++ {
			r := Transactions(l, "").Check(h, checker.Options{})
			require.Len(t, r.Anomalies, 1)
			require.Equal(t, "aborted read (G1a)", r.Anomalies[0].Name)
		}
		require.Equal(t, checker.Invalid, Linearizable("").Check(h, checker.Options{}).Verdict)
	})
}
