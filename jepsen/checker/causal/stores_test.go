package causal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// stores tries every way in which a store could have answered: every order of the transactions in which
// the last write wins, with and without each of unknown outcome, and for each transaction every set of earlier
// ones that it may have seen, closed under what those have seen. It infers nothing and knows of no paper:
// it runs the store. Values may even be written twice.
type stores struct {
	h     *history.History
	order []int               // transactions in the order in which their writes win
	saw   []uint              // by transaction: a bit for each that it saw
	in    []bool              // by transaction: it is in the order
	final []map[string]string // by transaction: what it leaves behind
}

// possible reports whether any store could have given these answers.
func possible(h *history.History) bool {
	s := &stores{h: h, saw: make([]uint, len(h.Txns)), in: make([]bool, len(h.Txns))}
	for i := range h.Txns {
		left := map[string]string{}
		for _, o := range h.Txns[i].Ops {
			if o.Writes() {
				left[o.Key] = o.Arg.Text
			}
		}
		s.final = append(s.final, left)
	}
	return s.extend()
}

// extend reports whether any transactions can come next so that all that must have happened has.
func (s *stores) extend() bool {
	done := true
	for i := range s.h.Txns {
		t := &s.h.Txns[i]
		done = done && (s.in[i] || t.Outcome != history.OK)
		if s.in[i] || t.Outcome == history.Fail {
			continue
		}
		s.in[i], s.order = true, append(s.order, i)
		if s.sees(i) {
			return true
		}
		s.in[i], s.order = false, s.order[:len(s.order)-1]
	}
	return done && s.eventual()
}

// sees tries what transaction i, the last of the order so far, may have seen.
func (s *stores) sees(i int) bool {
	t := &s.h.Txns[i]
	least, ok := s.least(i)
	if !ok {
		return false
	}
	var earlier []int
	for _, j := range s.order[:len(s.order)-1] {
		if least&(1<<j) == 0 {
			earlier = append(earlier, j)
		}
	}
	if t.Level == "eventual" || !asks(t) {
		earlier = nil // eventual reads are looked at when all are in the order; who asks nothing need not have seen anything
	}
	for choice := range uint(1) << len(earlier) {
		saw := least
		for k, j := range earlier {
			if choice&(1<<k) != 0 {
				saw |= 1<<j | s.saw[j]
			}
		}
		s.saw[i] = saw
		if (t.Level == "eventual" || s.answers(t, saw)) && s.extend() {
			return true
		}
	}
	return false
}

// asks reports whether a transaction was told anything.
func asks(t *history.Txn) bool {
	return slices.ContainsFunc(t.Ops, func(o history.Op) bool { return o.Got != nil })
}

// least is what a transaction must have seen: what its session was told before, if that is there.
func (s *stores) least(i int) (uint, bool) {
	t := &s.h.Txns[i]
	saw := uint(0)
	for j := range s.h.Txns {
		o := &s.h.Txns[j]
		if t.Level == "eventual" || t.Session == 0 || o.Session != t.Session || o.Start >= t.Start || o.Outcome != history.OK {
			continue
		}
		if !s.in[j] {
			return 0, false
		}
		saw |= 1<<j | s.saw[j]
	}
	return saw, true
}

// answers runs a transaction on what it saw.
func (s *stores) answers(t *history.Txn, saw uint) bool {
	data := map[string]string{}
	for _, j := range s.order {
		if saw&(1<<j) != 0 {
			for key, text := range s.final[j] {
				if data[key] = text; s.reads(t, key, text) && t.End >= 0 && t.End < s.h.Txns[j].Start {
					return false // nobody knows of a write before it begins
				}
			}
		}
	}
	for _, o := range t.Ops {
		text, there := data[o.Key]
		if o.Writes() {
			data[o.Key] = o.Arg.Text
		} else if o.Got != nil && (o.Got.Absent == there || o.Got.Text != text) {
			return false
		}
	}
	return true
}

// reads reports whether a transaction reads a value before it writes the key itself.
func (s *stores) reads(t *history.Txn, key, text string) bool {
	for _, o := range t.Ops {
		switch {
		case o.Key != key:
		case o.Writes():
			return false
		case o.Got != nil && !o.Got.Absent && o.Got.Text == text:
			return true
		}
	}
	return false
}

// eventual reports whether each read of an eventual transaction is of what one in the order leaves, or of nothing.
func (s *stores) eventual() bool {
	for i := range s.h.Txns {
		if t := &s.h.Txns[i]; s.in[i] && t.Level == "eventual" && !s.answersEventually(i, t) {
			return false
		}
	}
	return true
}

func (s *stores) answersEventually(i int, t *history.Txn) bool {
	own := map[string]string{}
	for _, o := range t.Ops {
		text, there := own[o.Key]
		switch {
		case o.Writes():
			own[o.Key] = o.Arg.Text
		case o.Got == nil:
		case there && (o.Got.Absent || o.Got.Text != text), !there && !o.Got.Absent && !s.left(i, t, &o):
			return false
		}
	}
	return true
}

func (s *stores) left(i int, t *history.Txn, o *history.Op) bool {
	for _, j := range s.order {
		text, ok := s.final[j][o.Key]
		if j != i && ok && text == o.Got.Text && (t.End < 0 || t.End >= s.h.Txns[j].Start) {
			return true
		}
	}
	return false
}

// anyHistory draws a history of a few transactions in which a read may have any answer. Tame: only such answers
// as are wrong, if at all, together with others: what a transaction that had begun left behind, or nothing.
func anyHistory(rng *rand.Rand, txns int, tame bool) *history.History {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "any", Regions: []string{"r1"}}}
	keys, sessions := 1+rng.IntN(3), 1+rng.IntN(4)
	ready := map[int]int64{} // when a session goes on
	for i := range txns {
		t := history.Txn{ID: i + 1, Process: i + 1, Session: rng.IntN(sessions + 1), Region: "r1", Level: "causal", Outcome: history.OK}
		t.Start = ready[t.Session] + rng.Int64N(10)
		if t.End = t.Start + rng.Int64N(60); t.Session != 0 {
			ready[t.Session] = t.End + 1
		}
		drawKind(rng, &t)
		for j := range 1 + rng.IntN(4) {
			o := history.Op{Do: history.Get, Key: fmt.Sprint("k", rng.IntN(keys)), Type: "register-lww"}
			if rng.IntN(2) == 0 {
				o.Do, o.Arg = history.Assign, &history.Value{Text: fmt.Sprintf("%d.%d", i+1, j)}
			}
			t.Ops = append(t.Ops, o)
		}
		h.Txns = append(h.Txns, t)
	}
	for i := range h.Txns {
		drawAnswers(rng, h, &h.Txns[i], tame)
	}
	return h
}

// drawKind decides outcome and level.
func drawKind(rng *rand.Rand, t *history.Txn) {
	switch rng.IntN(12) {
	case 0:
		t.Outcome = history.Fail
	case 1, 2:
		if t.Outcome = history.Unknown; rng.IntN(2) == 0 {
			t.End = -1
		}
	}
	if rng.IntN(8) == 0 {
		t.Level = "eventual"
	}
}

// drawAnswers answers reads: mostly with what the transaction wrote or read itself before, so that not every
// history fails by that.
func drawAnswers(rng *rand.Rand, h *history.History, t *history.Txn, tame bool) {
	own := map[string]*history.Value{}
	for j := range t.Ops {
		o := &t.Ops[j]
		if o.Writes() {
			own[o.Key] = o.Arg
			continue
		}
		if o.Got = own[o.Key]; o.Got == nil || !tame && rng.IntN(20) == 0 {
			o.Got = &history.Value{Absent: true}
			if all := readable(h, t, o.Key, tame); len(all) > 0 && rng.IntN(5) > 0 {
				o.Got = all[rng.IntN(len(all))]
			}
		}
		if own[o.Key] = o.Got; t.Outcome == history.Unknown && rng.IntN(4) == 0 {
			o.Got = nil
		}
	}
}

// readable returns the values that a read may have.
func readable(h *history.History, t *history.Txn, key string, tame bool) []*history.Value {
	var all []*history.Value
	for i := range h.Txns {
		w := &h.Txns[i]
		if tame && (w.ID == t.ID || w.Outcome == history.Fail || t.Ended() && t.End < w.Start) {
			continue
		}
		n := len(all)
		for j := range w.Ops {
			if w.Ops[j].Writes() && w.Ops[j].Key == key {
				all = append(all, w.Ops[j].Arg)
			}
		}
		if tame && len(all) > n {
			all = append(all[:n], all[len(all)-1])
		}
	}
	return all
}

// TestAgainstEveryStore: small histories with any answers are valid exactly if some store could have given
// these. CAUSAL_HISTORIES says how many are tried, CAUSAL_SEED which is the first.
func TestAgainstEveryStore(t *testing.T) {
	first, most := number(t, "CAUSAL_SEED", 1), number(t, "CAUSAL_HISTORIES", 20_000)
	verdicts := map[checker.Verdict]int{}
	told := map[string]int{}
	for seed := first; seed < first+most; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		h := anyHistory(rng, 2+rng.IntN(5), seed%4 != 0)
		want := checker.Invalid
		if possible(h) {
			want = checker.Valid
		}
		got := Checker{}.Check(h, checker.Options{})
		require.Equal(t, want, got.Verdict, "CAUSAL_SEED=%d CAUSAL_HISTORIES=1 go test -run TestAgainstEveryStore\n%s%v", seed, lines(h), got.Anomalies)
		verdicts[want]++
		for _, a := range got.Anomalies {
			told[a.Name]++
		}
	}
	if most < 20_000 {
		return
	}
	require.Greater(t, verdicts[checker.Valid], 1000)
	require.Greater(t, verdicts[checker.Invalid], 1000)
	for _, name := range all {
		rare := name == ThinAirRead || name == WritesFollowReads
		require.True(t, rare || told[name] > 0, "no history shows: %s", name)
	}
}

func number(t *testing.T, name string, usual uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n
}

func lines(h *history.History) string {
	var text string
	for i := range h.Txns {
		t := &h.Txns[i]
		text += fmt.Sprintf("%s, %d to %d: %s\n", t.Level, t.Start, t.End, checker.Describe(t))
	}
	return text
}
