package report

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

func TestNumbersHaveUnits(t *testing.T) {
	for ns, want := range map[int64]string{
		-1: "never", 0: "0 ns", 999: "999 ns", 1_000: "1 µs", 1_234: "1.23 µs", 12_340: "12.3 µs", 999_499: "999 µs", 999_600: "1 ms",
		12_000_000: "12 ms", 123_456_789: "123 ms", 1_500_000_000: "1.5 s", 59_990_000_000: "60 s", 3_600_000_000_000: "1h0m0s",
	} {
		require.Equal(t, want, duration(ns), "%d", ns)
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 100000: "100,000"} {
		require.Equal(t, want, count(n))
	}
	require.Equal(t, "0.25/s", perSecond(0.25))
	require.Equal(t, "1,234/s", perSecond(1234.4))
	require.Equal(t, "0%", percent(0, 0))
	require.Equal(t, "33.3%", percent(1, 3))
	require.Equal(t, "ab…", short("abcd", 3))
	require.Equal(t, "ab…efg", squeezed("abcdefg", 6))
	require.Equal(t, "abcdefg", squeezed("abcdefg", 7))
}

// TestDrawingsKeepTheOrderOfTimes: what ended before another began stands wholly left of it, what began
// earlier begins further left, and no lane holds two in one place.
func TestDrawingsKeepTheOrderOfTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var boxes []*placed
		for i := range rapid.IntRange(1, 10).Draw(t, "transactions") {
			start := rapid.Int64Range(0, 20).Draw(t, "start")
			txn := &history.Txn{ID: i + 1, Process: i + 1, Session: i % 3, Start: start, End: start + rapid.Int64Range(0, 5).Draw(t, "took"), Outcome: history.OK}
			if rapid.IntRange(0, 9).Draw(t, "answered") == 0 {
				txn.End, txn.Outcome = -1, history.Unknown
			}
			boxes = append(boxes, &placed{txn: txn, w: rapid.Float64Range(20, 200).Draw(t, "width")})
		}
		layTimes(boxes, len(lanes(boxes)))
		for _, a := range boxes {
			for _, b := range boxes {
				if a.txn.Start < b.txn.Start {
					require.Less(t, a.x, b.x)
				}
				if a.txn.Ended() && a.txn.End <= b.txn.Start && a != b && (a.txn.End > a.txn.Start || a.txn.Start < b.txn.Start) {
					require.Less(t, a.right(), b.x)
				}
			}
		}
	})
}

// TestInferredOrder: without an order of the checker's, arrows follow sessions and values.
func TestInferredOrder(t *testing.T) {
	op := func(do history.Do, kind, element, arg string, got *history.Value) history.Op {
		o := history.Op{Do: do, Key: "k", Type: kind, Element: element, Got: got}
		if arg != "" {
			o.Arg = &history.Value{Text: arg}
		}
		return o
	}
	h := &history.History{Txns: []history.Txn{
		{ID: 1, Process: 1, Session: 1, Start: 1, End: 2, Ops: []history.Op{op(history.Assign, "register-lww", "", "a", nil), op(history.Insert, "set-aw", "e", "", nil)}},
		{ID: 2, Process: 2, Start: 3, End: 4, Ops: []history.Op{op(history.Get, "register-lww", "", "", &history.Value{Text: "a"})}},
		{ID: 3, Process: 3, Session: 1, Start: 5, End: 6, Ops: []history.Op{op(history.Get, "set-aw", "", "", &history.Value{List: []string{"e"}})}},
		{ID: 4, Process: 4, Start: 5, End: 6, Ops: []history.Op{op(history.Contains, "set-aw", "e", "", &history.Value{Flag: true})}},
		{ID: 5, Process: 5, Start: 5, End: 6, Ops: []history.Op{op(history.Contains, "set-aw", "e", "", &history.Value{}), op(history.Get, "register-lww", "", "", &history.Value{Absent: true})}},
		{ID: 6, Process: 6, Start: 7, End: 8, Ops: []history.Op{op(history.Assign, "register-mv", "", "m", nil)}},
		{ID: 7, Process: 7, Start: 9, End: 9, Ops: []history.Op{op(history.Get, "register-mv", "", "", &history.Value{List: []string{"m"}})}},
	}}
	got := newAnomaly(h, "c", &checker.Anomaly{Txns: []int{1, 2, 3, 4, 5, 6, 400, -1}, Text: "T6 was seen by T7, and not by T900"})
	require.True(t, got.Inferred)
	var told []string
	for _, o := range got.Order {
		told = append(told, o.Text)
	}
	require.ElementsMatch(t, []string{
		`T2 read what T1 wrote: wrote k:register-lww = "a"`,
		"T3 came after T1 in session 1",
		`T3 read what T1 wrote: put "e" into k:set-aw`,
		`T4 read what T1 wrote: put "e" into k:set-aw`,
		`T7 read what T6 wrote: wrote k:register-mv = "m"`,
	}, told)
	require.Len(t, got.Drawing.Boxes, 7)
}

// TestToldOrderIsDrawn: a step that leads back in time is drawn as one.
func TestToldOrderIsDrawn(t *testing.T) {
	in := judged(t, "testdata/violation.jsonl")
	i := 0
	for len(in.Results[i].Anomalies) == 0 {
		i++
	}
	a := in.Results[i].Anomalies[0]
	got := newAnomaly(in.History, in.Results[i].Checker, &a)
	require.False(t, got.Inferred)
	require.Len(t, got.Drawing.Arrows, len(a.Order))
	require.Equal(t, "back", got.Drawing.Arrows[len(a.Order)-1].Class)
}

// TestScalesHoldWhatTheyAreFor: every value lies within the plot, at its tick.
func TestScalesHoldWhatTheyAreFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Int64Range(1, 1e12).Draw(t, "low")
		high := rapid.Int64Range(low, 1e13).Draw(t, "high")
		log := newLogScale(low, high)
		require.GreaterOrEqual(t, plotBottom+0.01, log.y(low))
		require.LessOrEqual(t, plotTop-0.01, log.y(high))
		require.GreaterOrEqual(t, len(log.ticks()), 2)
		most := rapid.Float64Range(0, 1e6).Draw(t, "most")
		linear := newLinearScale(most)
		require.LessOrEqual(t, plotTop-0.01, linear.y(most))
		require.GreaterOrEqual(t, len(linear.ticks()), 2)
		require.LessOrEqual(t, len(linear.ticks()), 6)
		r := newRun(&history.History{Txns: []history.Txn{{ID: 1, Process: 1, Start: 0, End: high, Outcome: history.OK}}})
		require.LessOrEqual(t, len(r.timeTicks()), 10)
		require.Equal(t, buckets-1, r.bucketOf(high))
	})
}
