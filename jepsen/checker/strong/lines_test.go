package strong

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// thing is a register, counter, set or flag, and does what it says.
type thing struct {
	text  string
	there bool
	n     int64
	on    bool
	set   map[string]bool
}

// linesUp reports whether some order of the transactions, each at one instant within its call, gives all answers.
// Those of unknown outcome may be left out.
func linesUp(h *history.History, at thing, used []bool) bool {
	done := true
	for i := range h.Txns {
		t := &h.Txns[i]
		if used[i] || t.Outcome == history.Fail {
			continue
		}
		done = done && t.Outcome != history.OK
		if overdue(h, used, t) {
			continue
		}
		if after, ok := at.run(t); ok {
			used[i] = true
			if linesUp(h, after, used) {
				return true
			}
			used[i] = false
		}
	}
	return done
}

// firstWrong is when the first answer comes with which no order is left: calls under way then may have taken effect.
func firstWrong(h *history.History) int64 {
	var ends []int64
	for i := range h.Txns {
		if h.Txns[i].Outcome == history.OK {
			ends = append(ends, h.Txns[i].End)
		}
	}
	slices.Sort(ends)
	for _, end := range ends {
		cut := &history.History{}
		for _, t := range h.Txns {
			if t.End > end && t.Outcome == history.OK {
				t.Outcome = history.Unknown
			}
			if t.Start <= end {
				cut.Txns = append(cut.Txns, t)
			}
		}
		if !linesUp(cut, thing{set: map[string]bool{}}, make([]bool, len(cut.Txns))) {
			return end
		}
	}
	return -1
}

// overdue reports whether a transaction that is not yet in the order ended before t began.
func overdue(h *history.History, used []bool, t *history.Txn) bool {
	for i := range h.Txns {
		if o := &h.Txns[i]; !used[i] && o.Outcome == history.OK && o.End < t.Start {
			return true
		}
	}
	return false
}

// run applies a transaction, and reports whether it could have been given its answers.
func (at thing) run(t *history.Txn) (thing, bool) {
	at.set = maps.Clone(at.set)
	for i := range t.Ops {
		o := &t.Ops[i]
		if o.Got != nil && !at.has(o, o.Got) || o.Expect != nil && !at.has(o, o.Expect) {
			return at, false
		}
		at.do(o)
	}
	return at, true
}

func (at *thing) do(o *history.Op) {
	switch o.Do {
	case history.Add:
		at.n += o.Arg.Int
	case history.Assign:
		at.text, at.there = o.Arg.Text, true
	case history.Insert:
		at.set[o.Element] = true
	case history.Remove:
		delete(at.set, o.Element)
	case history.Enable, history.Disable:
		at.on = o.Do == history.Enable
	case history.Reset:
		*at = thing{set: map[string]bool{}}
	}
}

func (at *thing) has(o *history.Op, v *history.Value) bool {
	switch {
	case o.Do == history.Contains:
		return at.set[o.Element] == v.Flag
	case o.Type == "counter":
		return at.n == v.Int
	case strings.HasPrefix(o.Type, "flag"):
		return at.on == v.Flag
	case strings.HasPrefix(o.Type, "set"):
		return slices.Equal(slices.Sorted(maps.Keys(at.set)), v.List)
	case o.Type == "register-mv":
		return at.there && slices.Equal(v.List, []string{at.text}) || !at.there && len(v.List) == 0
	}
	return at.there != v.Absent && at.text == v.Text
}

var kinds = []string{"register-lww", "register-mv", "counter", "set-aw", "set-rw", "flag-ew", "flag-dw"}

// anyCalls draws calls on one place with any answers: often those that an order of the calls would give.
func anyCalls(rng *rand.Rand, kind string, calls int) *history.History {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "any", Regions: regions}}
	at := thing{set: map[string]bool{}}
	now := int64(0)
	for i := range calls {
		now += rng.Int64N(20)
		t := history.Txn{ID: i + 1, Process: i + 1, Region: "eu", Level: "strong", Outcome: history.OK,
			Start: max(0, now-rng.Int64N(30)), End: now + rng.Int64N(30)}
		switch rng.IntN(10) {
		case 0:
			t.Outcome = history.Fail
		case 1, 2:
			t.Outcome = history.Unknown
		}
		before := at
		before.set = maps.Clone(at.set)
		for range 1 + max(0, rng.IntN(4)-1) {
			o := anyCall(rng, kind, &at, i)
			at.do(&o)
			t.Ops = append(t.Ops, o)
		}
		if t.Outcome != history.OK && (t.Outcome == history.Fail || rng.IntN(2) == 0) {
			at = before
		}
		h.Txns = append(h.Txns, t)
	}
	return h
}

func anyCall(rng *rand.Rand, kind string, at *thing, i int) history.Op {
	o := history.Op{Do: history.Get, Key: "x", Type: kind, Element: ""}
	if rng.IntN(2) == 0 {
		o.Got = at.answer(rng, &o, rng.IntN(8) == 0)
		return o
	}
	if rng.IntN(12) == 0 {
		o.Do = history.Reset
		return o
	}
	switch {
	case kind == "counter":
		o.Do, o.Arg = history.Add, &history.Value{Int: []int64{1, 1, 2, -1, -2, 3}[rng.IntN(6)]}
	case strings.HasPrefix(kind, "flag"):
		o.Do = []history.Do{history.Enable, history.Disable}[rng.IntN(2)]
	case strings.HasPrefix(kind, "set"):
		o.Element = fmt.Sprint("e", rng.IntN(3))
		if o.Do = []history.Do{history.Insert, history.Remove, history.Contains}[rng.IntN(3)]; o.Do == history.Contains {
			o.Got = &history.Value{Flag: at.set[o.Element] != (rng.IntN(6) == 0)}
		}
	default:
		o.Do, o.Arg = history.Assign, &history.Value{Text: fmt.Sprint(rng.IntN(i + 2))}
		if rng.IntN(3) == 0 {
			o.Expect = at.answer(rng, &o, rng.IntN(8) == 0)
		}
	}
	return o
}

// answerRight is what the place holds.
func (at *thing) answerRight(o *history.Op) *history.Value {
	return at.answer(rand.New(rand.NewPCG(0, 0)), o, false)
}

// answer is what the place holds, or something else.
func (at *thing) answer(rng *rand.Rand, o *history.Op, wrong bool) *history.Value {
	switch {
	case o.Type == "counter":
		if wrong {
			return &history.Value{Int: at.n + rng.Int64N(5) - 2}
		}
		return &history.Value{Int: at.n}
	case strings.HasPrefix(o.Type, "flag"):
		return &history.Value{Flag: at.on != wrong}
	case strings.HasPrefix(o.Type, "set"):
		set := maps.Clone(at.set)
		if wrong {
			set[fmt.Sprint("e", rng.IntN(3))] = true
		}
		return &history.Value{List: slices.Sorted(maps.Keys(set))}
	}
	text, there := at.text, at.there
	if wrong {
		text, there = fmt.Sprint(rng.IntN(4)), rng.IntN(3) > 0
	}
	switch {
	case o.Type == "register-mv" && there:
		return &history.Value{List: []string{text}}
	case there:
		return &history.Value{Text: text}
	}
	return &history.Value{Absent: true}
}

// TestAgainstEveryLine: calls on one place are linearizable exactly if trying every order finds one that is.
// STRONG_HISTORIES says how many are tried, STRONG_SEED which is the first.
func TestAgainstEveryLine(t *testing.T) {
	first, most := setting(t, "STRONG_SEED", 1), setting(t, "STRONG_HISTORIES", usualHistories)
	verdicts := map[string]int{}
	for seed := first; seed < first+most; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		kind := kinds[seed%uint64(len(kinds))]
		h := anyCalls(rng, kind, 2+rng.IntN(6))
		want := checker.Invalid
		if linesUp(h, thing{set: map[string]bool{}}, make([]bool, len(h.Txns))) {
			want = checker.Valid
		}
		got := Linearizable("").Check(h, checker.Options{})
		require.Equal(t, want, got.Verdict, "STRONG_SEED=%d STRONG_HISTORIES=1 go test -run TestAgainstEveryLine%s%v", seed, lines(h), got.Anomalies)
		verdicts[fmt.Sprint(kind, " ", want)]++
		if want == checker.Invalid {
			told := fmt.Sprintf("before %d can be put into an order", firstWrong(h))
			require.Contains(t, got.Anomalies[0].Text, told, "STRONG_SEED=%d STRONG_HISTORIES=1 go test -run TestAgainstEveryLine%s", seed, lines(h))
		}
	}
	if most < usualHistories {
		return
	}
	for _, kind := range kinds {
		for _, v := range []checker.Verdict{checker.Valid, checker.Invalid} {
			require.Greater(t, verdicts[fmt.Sprint(kind, " ", v)], 200, "%s %s", kind, v)
		}
	}
}
