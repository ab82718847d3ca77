package strong

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// TestBoundsAreToldInTheOrderOfNames: of one transaction that found several counters wrong, always in the same order.
func TestBoundsAreToldInTheOrderOfNames(t *testing.T) {
	var ops []history.Op
	for _, key := range []string{"f", "b", "d", "a", "c", "e"} {
		ops = append(ops, history.Op{Do: history.Get, Key: key, Type: "counter", Got: &history.Value{Int: 1}})
	}
	h := at(ops)
	h.Txns[0].Final = true
	for range 5 {
		r := Bounds().Check(h, checker.Options{})
		require.Len(t, r.Anomalies, 6)
		for i, a := range r.Anomalies {
			require.Contains(t, a.Text, fmt.Sprintf("make %c:counter between 0 and 0", 'a'+i))
		}
	}
}

// TestTheFirstOfTwoBoundsOfABucketCounts: nothing is added up.
func TestTheFirstOfTwoBoundsOfABucketCounts(t *testing.T) {
	h := at([]history.Op{{Do: history.Get, Key: "c", Type: "counter", Got: &history.Value{Int: -5}}})
	h.Header.Notes = map[string]string{BoundsNote: `[{"lower":0},{"lower":-9}]`}
	require.Equal(t, checker.Invalid, Bounds().Check(h, checker.Options{}).Verdict)
	h.Header.Notes[BoundsNote] = `[{"lower":-9},{"lower":0}]`
	require.Equal(t, checker.Valid, Bounds().Check(h, checker.Options{}).Verdict)
}

// TestACycleIsToldThoughTheBudgetEnds: the words are fewer, the verdict is the same.
func TestACycleIsToldThoughTheBudgetEnds(t *testing.T) {
	var txns [][]history.Op
	for i := range 8 {
		txns = append(txns, []history.Op{set(fmt.Sprint("k", i), "1"), get(fmt.Sprint("k", (i+1)%8), "1")})
	}
	for budget, says := range map[int]string{
		3:    "each of 8 transactions, these among them, has to be before itself; the budget ended before the shortest cycle was found",
		1000: "no order of them is possible",
	} {
		r := Transactions(ReadAtomic, "").Check(at(txns...), checker.Options{Budget: budget})
		require.Equal(t, checker.Invalid, r.Verdict)
		require.Len(t, r.Anomalies, 1)
		require.Contains(t, r.Anomalies[0].Text, says)
	}
	r := Transactions(ReadAtomic, "").Check(at(txns...), checker.Options{Budget: 3})
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, r.Anomalies[0].Txns, "as many as are shown")
}

// TestWhoReplacedWhatManyReadIsHeldToTheOthers: a version that many read and many replaced has a hub, which leads from
// none of those who did both back to itself, but to the others.
func TestWhoReplacedWhatManyReadIsHeldToTheOthers(t *testing.T) {
	var txns [][]history.Op
	for i := range 20 {
		ops := []history.Op{get("x", ""), set("x", fmt.Sprint(i))}
		switch i {
		case 6:
			ops = append(ops, set("y", "7"))
		case 8:
			ops = append(ops, get("y", "7"))
		}
		txns = append(txns, ops)
	}
	r := Transactions(ReadAtomic, "").Check(at(txns...), checker.Options{})
	require.Len(t, r.Anomalies, 1)
	require.Equal(t, "read skew (G-single, fractured read)", r.Anomalies[0].Name)
	require.Equal(t, []int{7, 9}, r.Anomalies[0].Txns)

	txns = [][]history.Op{{get("x", ""), set("x", "1")}, {get("x", ""), set("x", "2")}}
	for range 40 {
		txns = append(txns, []history.Op{get("x", "")})
	}
	r = Transactions(Causal, "").Check(at(txns...), checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict)
	require.NotContains(t, r.Note, "left out", "two forks are not too many")
}

// TestPlacesOfOtherLevelsAreLeftOut: one write is enough, whatever comes after it, and no other place is.
func TestPlacesOfOtherLevelsAreLeftOut(t *testing.T) {
	on := func(level string, ops ...history.Op) history.Txn {
		return history.Txn{Region: "eu", Level: level, Start: 0, End: 100, Outcome: history.OK, Ops: ops}
	}
	inMap := func(key string) history.Op {
		return history.Op{Do: history.Get, Key: key, Type: "map", Path: []history.Step{{Name: "f", Type: "counter"}}, Got: &history.Value{Int: 7}}
	}
	h := at()
	h.Txns = []history.Txn{
		on("causal", set("a", "1")), on("causal", get("a", "")), on("strong", get("a", "never")),
		on("causal", set("b", "1")),
		on("strong", history.Op{Do: history.Reset, Key: "m", Type: "map"}, history.Op{Do: history.Reset, Key: "n", Type: "map"}),
		on("strong", inMap("m"), inMap("n"), inMap("o")),
	}
	for i := range h.Txns {
		h.Txns[i].ID, h.Txns[i].Process = i+1, i+1
	}
	r := Linearizable("strong").Check(h, checker.Options{})
	require.Equal(t, 4, r.Counts["places left out"])
	require.Equal(t, 1, r.Counts["places"])
	require.Len(t, r.Anomalies, 1)
	require.Contains(t, r.Anomalies[0].Text, "o:map/f:counter")
	require.Equal(t, "4 places left out: written at other levels, or reset as part of a map", r.Note)
}
