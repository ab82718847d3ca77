package strong

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// gets is a read of a whole set.
func gets(key string, elements ...string) history.Op {
	return history.Op{Do: history.Get, Key: key, Type: "set-aw", Got: &history.Value{List: elements}}
}

func puts(key, element string) history.Op {
	return history.Op{Do: history.Insert, Key: key, Type: "set-aw", Element: element}
}

// leveled gives all transactions a level.
func leveled(h *history.History, levels ...string) *history.History {
	for i := range h.Txns {
		h.Txns[i].Level = levels[i%len(levels)]
	}
	return h
}

func TestWriteSkewIsFoundWhereItIsForbidden(t *testing.T) {
	skewed := func() *history.History {
		return at([]history.Op{get("a", ""), get("b", ""), set("a", "1")}, []history.Op{get("a", ""), get("b", ""), set("b", "2")})
	}
	for name, c := range map[string]struct {
		h       *history.History
		verdict checker.Verdict
		skews   int
	}{
		"both strong":            {skewed(), checker.Invalid, 1},
		"both causal":            {leveled(skewed(), "causal"), checker.Valid, 1},
		"one of each":            {leveled(skewed(), "causal", "strong"), checker.Valid, 1},
		"one saw the other":      {at([]history.Op{get("a", ""), get("b", ""), set("a", "1")}, []history.Op{get("a", "1"), get("b", ""), set("b", "2")}), checker.Valid, 0},
		"a lost update is none":  {at([]history.Op{get("a", ""), set("a", "1")}, []history.Op{get("a", ""), set("a", "2")}), checker.Valid, 0},
		"one had only read":      {at([]history.Op{get("a", ""), get("b", ""), set("a", "1")}, []history.Op{get("a", ""), get("b", "")}), checker.Valid, 0},
		"of failed ones nothing": {failed(skewed(), 1), checker.Valid, 0},
	} {
		r := WriteSkew("strong").Check(c.h, checker.Options{})
		require.Equal(t, c.verdict, r.Verdict, name)
		require.Equal(t, c.skews, r.Counts["write skews"], name)
		if c.verdict == checker.Invalid {
			require.Equal(t, "write skew", r.Anomalies[0].Name)
			require.Equal(t, []int{1, 2}, r.Anomalies[0].Txns)
		}
	}
}

// failed makes some transactions, by position, ones that failed.
func failed(h *history.History, which ...int) *history.History {
	for _, i := range which {
		h.Txns[i].Outcome = history.Fail
	}
	return h
}

func TestPhantomsAreFoundWhereTheyAreForbidden(t *testing.T) {
	phantom := func() *history.History {
		return at([]history.Op{gets("s"), puts("s", "1")}, []history.Op{gets("s"), puts("s", "2")})
	}
	taken := phantom()
	taken.Txns = append(taken.Txns, at(nil, nil, []history.Op{{Do: history.Remove, Key: "s", Type: "set-aw", Element: "9"}}).Txns[2])
	for name, c := range map[string]struct {
		h        *history.History
		verdict  checker.Verdict
		phantoms int
	}{
		"both strong":            {phantom(), checker.Invalid, 1},
		"both causal":            {leveled(phantom(), "causal"), checker.Valid, 1},
		"one saw the other":      {at([]history.Op{gets("s"), puts("s", "1")}, []history.Op{gets("s", "1"), puts("s", "2")}), checker.Valid, 0},
		"one put nothing in":     {at([]history.Op{gets("s"), puts("s", "1")}, []history.Op{gets("s")}), checker.Valid, 0},
		"one put in blindly":     {at([]history.Op{gets("s"), puts("s", "1")}, []history.Op{puts("s", "2"), gets("s", "2")}), checker.Valid, 0},
		"of failed ones nothing": {failed(phantom(), 0), checker.Valid, 0},
		"of a set that shrank":   {taken, checker.Valid, 0},
	} {
		r := Phantoms("strong").Check(c.h, checker.Options{})
		require.Equal(t, c.verdict, r.Verdict, name)
		require.Equal(t, c.phantoms, r.Counts["phantoms"], name)
	}
}

// TestListsShowTheOrderOfAppends: each of the two anomalies, and that what overlaps may come in any order.
func TestListsShowTheOrderOfAppends(t *testing.T) {
	grow := []history.Op{get("l", "1"), set("l", "1 2")}
	later := at([]history.Op{get("l", ""), set("l", "1")}, []history.Op{get("l", "")})
	later.Txns[1].Start, later.Txns[1].End = 101, 200
	for name, c := range map[string]struct {
		h    *history.History
		want string // anomaly; empty: valid
	}{
		"one after the other":        {at([]history.Op{get("l", ""), set("l", "1")}, grow, []history.Op{get("l", "1 2")}), ""},
		"two orders":                 {at(grow, []history.Op{get("l", "2 1")}), "incompatible orders"},
		"an element that another is": {at([]history.Op{get("l", "1")}, []history.Op{get("l", "12 3")}), "incompatible orders"},
		"an acknowledged one missed": {later, "stale list"},
		"while it is under way":      {at([]history.Op{get("l", ""), set("l", "1")}, []history.Op{get("l", "")}), ""},
		"of another level":           {leveled(at(grow, []history.Op{get("l", "2 1")}), "causal"), ""},
	} {
		r := Lists("strong").Check(c.h, checker.Options{})
		if c.want == "" {
			require.Equal(t, checker.Valid, r.Verdict, name)
			continue
		}
		require.Equal(t, checker.Invalid, r.Verdict, name)
		require.Equal(t, c.want, r.Anomalies[0].Name, name)
	}
	require.Equal(t, checker.NothingJudged, Lists("strong").Check(at(), checker.Options{}).Note)
	require.Equal(t, checker.NothingJudged, WriteSkew().Check(at(), checker.Options{}).Note)
}
