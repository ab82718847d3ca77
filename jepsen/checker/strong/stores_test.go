package strong

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

// stores tries every way in which a store that keeps a level could have answered: every order of commits, with
// and without each transaction of unknown outcome, and every snapshot that the level allows. It knows of no
// dependencies: it runs the store.
type stores struct {
	h     *history.History
	level Level
	order []int  // transactions in the order of their commits
	saw   []uint // by transaction: a bit for each that its snapshot held
	in    []bool // by transaction: it is in the order
}

// possible reports whether a store that keeps the level could have given these answers.
func possible(h *history.History, l Level) bool {
	s := &stores{h: h, level: l, saw: make([]uint, len(h.Txns)), in: make([]bool, len(h.Txns))}
	return s.extend()
}

func (s *stores) extend() bool {
	done := true
	for i := range s.h.Txns {
		t := &s.h.Txns[i]
		done = done && (s.in[i] || t.Outcome != history.OK)
		if s.in[i] || t.Outcome == history.Fail || !s.ready(t) {
			continue
		}
		s.in[i], s.order = true, append(s.order, i)
		if s.sees(i, t) {
			return true
		}
		s.in[i], s.order = false, s.order[:len(s.order)-1]
	}
	return done
}

// ready reports whether all that must come before a transaction is in the order.
func (s *stores) ready(t *history.Txn) bool {
	for j := range s.h.Txns {
		o := &s.h.Txns[j]
		session := s.level >= Causal && earlierInSession(o, t)
		time := s.level == StrictSerializable && o.End < t.Start && o.Outcome == history.OK
		if !s.in[j] && (session || time) {
			return false
		}
	}
	return true
}

func earlierInSession(o, t *history.Txn) bool {
	return t.Session != 0 && o.Session == t.Session && o.Start < t.Start && o.Outcome == history.OK
}

// sees tries each snapshot that a transaction, the last in the order so far, may have had.
func (s *stores) sees(i int, t *history.Txn) bool {
	earlier := s.order[:len(s.order)-1]
	for _, saw := range s.snapshots(earlier) {
		if s.complete(saw, t) && answers(s.data(saw), t) && s.alone(saw, earlier, t) {
			if s.saw[i] = saw; s.extend() {
				return true
			}
		}
	}
	return false
}

// snapshots: all sets of transactions, those closed under what they saw, those before a commit, or the one of all.
func (s *stores) snapshots(earlier []int) []uint {
	var out []uint
	switch {
	case s.level <= Causal:
		for choice := range uint(1) << len(earlier) {
			saw := uint(0)
			for k, j := range earlier {
				if choice&(1<<k) != 0 {
					if saw |= 1 << j; s.level == Causal {
						saw |= s.saw[j]
					}
				}
			}
			out = append(out, saw)
		}
	default:
		saw := uint(0)
		out = append(out, saw)
		for _, j := range earlier {
			saw |= 1 << j
			out = append(out, saw)
		}
		if s.level >= Serializable {
			out = out[len(out)-1:]
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// complete reports whether a snapshot holds what the session had done.
func (s *stores) complete(saw uint, t *history.Txn) bool {
	for j := range s.h.Txns {
		if s.level >= Causal && earlierInSession(&s.h.Txns[j], t) && saw&(1<<j) == 0 {
			return false
		}
	}
	return true
}

// alone: from SnapshotIsolation on, nobody whom a transaction did not see has written what it writes.
func (s *stores) alone(saw uint, earlier []int, t *history.Txn) bool {
	for _, j := range earlier {
		if s.level >= SnapshotIsolation && saw&(1<<j) == 0 && writeTheSame(t, &s.h.Txns[j]) {
			return false
		}
	}
	return true
}

func writeTheSame(a, b *history.Txn) bool {
	for _, x := range a.Ops {
		for _, y := range b.Ops {
			if x.Writes() && y.Writes() && x.Key == y.Key {
				return true
			}
		}
	}
	return false
}

func (s *stores) data(saw uint) map[string]string {
	data := map[string]string{}
	for _, j := range s.order {
		for _, o := range s.h.Txns[j].Ops {
			if saw&(1<<j) != 0 && o.Writes() {
				data[o.Key] = o.Arg.Text
			}
		}
	}
	return data
}

// answers runs a transaction.
func answers(data map[string]string, t *history.Txn) bool {
	for _, o := range t.Ops {
		text, there := data[o.Key]
		for _, v := range []*history.Value{o.Got, o.Expect} {
			if v != nil && (v.Absent == there || v.Text != text) {
				return false
			}
		}
		if o.Writes() {
			data[o.Key] = o.Arg.Text
		}
	}
	return true
}

// anyHistory draws a history in which reads may have any answer. Tame: only what others left behind. Traced: who
// writes a register has read it first, so that the order of the writes shows.
func anyHistory(rng *rand.Rand, txns int, tame, traced bool) *history.History {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "any", Regions: regions}}
	keys, sessions := 1+rng.IntN(3), 1+rng.IntN(4)
	ready := map[int]int64{} // when a session goes on
	for i := range txns {
		t := history.Txn{ID: i + 1, Process: i + 1, Session: rng.IntN(sessions + 1), Region: "eu", Level: "strong", Outcome: history.OK}
		t.Start = ready[t.Session] + rng.Int64N(20)
		if t.End = t.Start + rng.Int64N(60); t.Session != 0 {
			ready[t.Session] = t.End + 1
		}
		switch rng.IntN(12) {
		case 0:
			t.Outcome = history.Fail
		case 1, 2:
			if t.Outcome = history.Unknown; rng.IntN(2) == 0 {
				t.End = -1
			}
		}
		for j := range 1 + rng.IntN(3) {
			drawAny(rng, &t, fmt.Sprint("k", rng.IntN(keys)), fmt.Sprintf("%d.%d", i+1, j), traced)
		}
		h.Txns = append(h.Txns, t)
	}
	for i := range h.Txns {
		answerAny(rng, h, &h.Txns[i], tame)
	}
	return h
}

// drawAny adds a read, a write or a compare-and-set.
func drawAny(rng *rand.Rand, t *history.Txn, key, text string, traced bool) {
	read := history.Op{Do: history.Get, Key: key, Type: "register-lww"}
	write := set(key, text)
	switch rng.IntN(4) {
	case 0:
		write.Expect = &history.Value{}
		t.Ops = append(t.Ops, write)
	case 1:
		if touched := slices.ContainsFunc(t.Ops, func(o history.Op) bool { return o.Key == key }); traced && !touched {
			t.Ops = append(t.Ops, read)
		}
		t.Ops = append(t.Ops, write)
	default:
		t.Ops = append(t.Ops, read)
	}
}

// answerAny answers reads and draws conditions: mostly what the transaction wrote or read itself before.
func answerAny(rng *rand.Rand, h *history.History, t *history.Txn, tame bool) {
	own := map[string]*history.Value{}
	for j := range t.Ops {
		o := &t.Ops[j]
		if o.Do == history.Get || o.Expect != nil {
			v := own[o.Key]
			if v == nil || !tame && rng.IntN(20) == 0 {
				v = &history.Value{Absent: true}
				if all := readable(h, t, o.Key, tame); len(all) > 0 && rng.IntN(4) > 0 {
					v = all[rng.IntN(len(all))]
				}
			}
			if own[o.Key] = v; o.Do == history.Get {
				o.Got = v
			} else {
				o.Expect = v
			}
		}
		if o.Writes() {
			own[o.Key] = o.Arg
		}
	}
}

// readable returns the values that a read may have.
func readable(h *history.History, t *history.Txn, key string, tame bool) []*history.Value {
	var all []*history.Value
	for i := range h.Txns {
		w := &h.Txns[i]
		if tame && (w.ID == t.ID || w.Outcome == history.Fail) {
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

// TestAgainstEveryStore: no history that some store of a level could have given is invalid at it; and of those
// in which the order of writes shows none else is valid, from SnapshotIsolation on. STRONG_HISTORIES says how many are
// tried, STRONG_SEED which is the first.
func TestAgainstEveryStore(t *testing.T) {
	first, most := setting(t, "STRONG_SEED", 1), setting(t, "STRONG_HISTORIES", usualHistories)
	verdicts := map[string]int{}
	for seed := first; seed < first+most; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		traced := seed%2 == 0
		h := anyHistory(rng, 2+rng.IntN(4), seed%4 < 3, traced)
		for l := ReadAtomic; l <= StrictSerializable; l++ {
			can := possible(h, l)
			got := Transactions(l, "").Check(h, checker.Options{})
			verdicts[fmt.Sprint(l, " ", traced, " ", can, " ", got.Verdict)]++
			replay := fmt.Sprintf("STRONG_SEED=%d STRONG_HISTORIES=1 go test -run TestAgainstEveryStore\n%s: %s%v", seed, l, lines(h), got.Anomalies)
			if can {
				require.Equal(t, checker.Valid, got.Verdict, replay)
			} else if traced && l >= SnapshotIsolation {
				require.Equal(t, checker.Invalid, got.Verdict, replay)
			}
		}
	}
	if most < usualHistories {
		return
	}
	for l := SnapshotIsolation; l <= StrictSerializable; l++ {
		for _, is := range []string{"true true valid", "true false invalid", "false true valid", "false false invalid"} {
			require.Greater(t, verdicts[fmt.Sprint(l, " ", is)], 1000, "%s %s", l, is)
		}
		missed := verdicts[fmt.Sprint(l, " false false valid")]
		require.Less(t, missed, usualHistories/100, "%s: of histories with blind writes, these wrong ones were not found", l)
	}
}

// usualHistories is how many are tried when nobody says.
const usualHistories = 10_000

func setting(t *testing.T, name string, usual uint64) uint64 {
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
		text += fmt.Sprintf("\n%d to %d: %s", t.Start, t.End, checker.Describe(t))
	}
	return text + "\n"
}
