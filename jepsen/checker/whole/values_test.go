package whole

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// answered is a history in which two regions answered one question in the end.
func answered(kind string, a, b *history.Value) *history.History {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "w", Regions: []string{"eu", "us"}}}
	for i, v := range []*history.Value{a, b} {
		h.Txns = append(h.Txns, history.Txn{ID: i + 1, Process: i + 1, Region: h.Header.Regions[i], Level: "causal", Start: 1, End: 2,
			Outcome: history.OK, Final: true, Ops: []history.Op{{Do: history.Get, Key: "k", Type: kind, Got: v}}})
	}
	return h
}

func field(name, kind string, n int64) history.Field {
	return history.Field{Name: name, Type: kind, Value: history.Value{Int: n}}
}

// TestEveryDifferenceOfTwoAnswersIsTold: whatever part of a value it is in, and however far behind.
func TestEveryDifferenceOfTwoAnswersIsTold(t *testing.T) {
	two := []history.Field{field("a", "counter", 1), field("b", "counter", 1)}
	for i, c := range []struct {
		kind string
		a, b history.Value
	}{
		{"counter", history.Value{Int: 1}, history.Value{Int: 2}},
		{"counter", history.Value{}, history.Value{Absent: true}},
		{"flag-ew", history.Value{Flag: true}, history.Value{}},
		{"register-lww", history.Value{Text: "a"}, history.Value{Text: "b"}},
		{"set-aw", history.Value{List: []string{"a"}}, history.Value{List: []string{"a", "b"}}},
		{"set-aw", history.Value{List: []string{"a", "b"}}, history.Value{List: []string{"a"}}},
		{"set-aw", history.Value{List: []string{"a", "b"}}, history.Value{List: []string{"a", "c"}}},
		{"set-aw", history.Value{List: []string{"a", "c"}}, history.Value{List: []string{"b", "c"}}},
		{"map", history.Value{Fields: two[:1]}, history.Value{Fields: two}},
		{"map", history.Value{Fields: two}, history.Value{Fields: two[:1]}},
		{"map", history.Value{Fields: two}, history.Value{Fields: []history.Field{two[0], field("b", "counter", 2)}}},
		{"map", history.Value{Fields: two}, history.Value{Fields: []history.Field{field("a", "counter", 2), two[1]}}},
		{"map", history.Value{Fields: two}, history.Value{Fields: []history.Field{two[0], field("c", "counter", 1)}}},
		{"map", history.Value{Fields: two}, history.Value{Fields: []history.Field{two[0], field("b", "map", 1)}}},
	} {
		r := Convergence().Check(answered(c.kind, &c.a, &c.b), checker.Options{})
		require.Len(t, r.Anomalies, 1, fmt.Sprint(i))
		require.Equal(t, "divergence", r.Anomalies[0].Name)
		for _, v := range []*history.Value{&c.a, &c.b} {
			r := Convergence().Check(answered(c.kind, v, v), checker.Options{})
			require.Equal(t, checker.Valid, r.Verdict, fmt.Sprint(i))
		}
	}
	r := Convergence().Check(answered("set-aw", &history.Value{List: []string{}}, &history.Value{}), checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict, "a missing list is an empty one")
}
