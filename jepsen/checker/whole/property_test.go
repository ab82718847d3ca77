package whole

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// seeded chooses from a seed.
type seeded struct{ *rand.Rand }

func (s seeded) below(n int) int { return s.IntN(n) }

func chosen(t *rapid.T) seeded {
	return seeded{rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))}
}

// TestCorrectHistoriesAreValid: soundness, on histories of a model that is correct by construction.
func TestCorrectHistoriesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newModel(chosen(t)).run(rapid.IntRange(0, 150).Draw(t, "transactions"))
		var text bytes.Buffer
		require.NoError(t, h.Write(&text))
		_, err := history.Read(&text)
		require.NoError(t, err, "the model keeps the invariants of histories")
		for _, c := range checkers {
			r := c.Check(h, checker.Options{})
			require.Equal(t, checker.Valid, r.Verdict, "%s: %v %s", c.Name(), r.Anomalies, r.Note)
		}
	})
}

// plants change one answer of a correct history into one that must not be, and report whether there
// was such an answer.
var plants = []struct {
	name, checker string
	plant         func(h *history.History) bool
}{
	{"an acknowledged element is missing in the end", "lost-writes", loseElement},
	{"an acknowledged increment is missing in the end", "lost-writes", func(h *history.History) bool {
		return inFinal(h, "keep:counter", func(o *history.Op) bool { o.Got.Int = -1; return true })
	}},
	{"a value that nobody wrote is there in the end", "lost-writes", func(h *history.History) bool {
		return inFinal(h, "any:register-lww", func(o *history.Op) bool { o.Got = &history.Value{Text: "nobody's"}; return true })
	}},
	{"one region differs in the end", "convergence", func(h *history.History) bool {
		return inFinal(h, "keep:counter", func(o *history.Op) bool { o.Got.Int++; return true })
	}},
	{"a reader misses half of a mark", "half-transactions", func(h *history.History) bool {
		return inReads(h, "py:register-lww", func(t *history.Txn, o *history.Op) bool {
			was := o.Got
			o.Got = &history.Value{Absent: true}
			return !was.Absent && t.Ops[0].Got.Text == was.Text
		})
	}},
	{"a reader misses half of a mark in a set", "half-transactions", func(h *history.History) bool {
		return inReads(h, "sy:set-rw", func(_ *history.Txn, o *history.Op) bool { return drop(o) })
	}},
	{"a snapshot's total is one less", "bank", func(h *history.History) bool {
		return inReads(h, "a2:counter", func(t *history.Txn, o *history.Op) bool { o.Got.Int--; return len(t.Ops) == 3 && !t.Writes() })
	}},
	{"a session's counter falls", "session", func(h *history.History) bool {
		known := map[int]bool{}
		return inReads(h, "keep:counter", func(t *history.Txn, o *history.Op) bool {
			fell := known[t.Session] && t.Level == "causal" && t.Session != 0
			known[t.Session] = known[t.Session] || o.Got.Int > 0
			if fell {
				o.Got.Int = 0
			}
			return fell
		})
	}},
	{"a session's element vanishes", "session", func(h *history.History) bool {
		known := map[int]bool{}
		return inReads(h, "keep:set-go", func(t *history.Txn, o *history.Op) bool {
			vanishes := known[t.Session] && t.Level == "causal" && t.Session != 0
			known[t.Session] = known[t.Session] || len(o.Got.List) > 0
			if vanishes {
				o.Got.List = nil
			}
			return vanishes
		})
	}},
	{"a prescription is not there", "causal-pair", losePrescription},
}

// inReads calls change with the reads of a place, in the order of their starts, until it reports that
// it planted a fault. What it changes in vain is put back.
func inReads(h *history.History, place string, change func(t *history.Txn, o *history.Op) bool) bool {
	order := make([]*history.Txn, len(h.Txns))
	for i := range h.Txns {
		order[i] = &h.Txns[i]
	}
	slices.SortStableFunc(order, func(a, b *history.Txn) int { return cmp.Compare(a.Start, b.Start) })
	for _, t := range order {
		for j := range t.Ops {
			o := &t.Ops[j]
			if o.Got == nil || t.Final || checker.Place(o) != place {
				continue
			}
			was := *o.Got
			if change(t, o) {
				return true
			}
			o.Got = &was
		}
	}
	return false
}

// inFinal calls change with the last final read of a place.
func inFinal(h *history.History, place string, change func(o *history.Op) bool) bool {
	t := &h.Txns[len(h.Txns)-1]
	for j := range t.Ops {
		if checker.Place(&t.Ops[j]) == place {
			return change(&t.Ops[j])
		}
	}
	return false
}

// drop takes the last element out of what was read.
func drop(o *history.Op) bool {
	n := len(o.Got.List)
	o.Got.List = o.Got.List[:max(n-1, 0)]
	return n > 0
}

func loseElement(h *history.History) bool {
	for i := range h.Txns {
		t := &h.Txns[i]
		if o := &t.Ops[0]; t.Outcome == history.OK && o.Do == history.Insert && o.Key == "keep" {
			return inFinal(h, "keep:set-go", func(f *history.Op) bool {
				f.Got.List = slices.DeleteFunc(f.Got.List, func(e string) bool { return e == o.Element })
				return true
			})
		}
	}
	return false
}

// losePrescription blanks a prescription that was read together with its pointer, which somebody
// wrote who had the session's guarantees.
func losePrescription(h *history.History) bool {
	ordered := map[string]bool{}
	for i := range h.Txns {
		t := &h.Txns[i]
		if o := &t.Ops[0]; strings.HasPrefix(o.Key, "ptr-") && o.Do == history.Assign {
			ordered[o.Key] = t.Level == "causal"
		}
	}
	for i := range h.Txns {
		t := &h.Txns[i]
		o := &t.Ops[0]
		if len(t.Ops) == 2 && o.Got != nil && strings.HasPrefix(o.Key, "rx-") && t.Ops[1].Got.Text != "" && ordered[t.Ops[1].Key] {
			o.Got = &history.Value{Absent: true}
			return true
		}
	}
	return false
}

// TestPlantedFaultsAreFound: each fault that is planted in a correct history is found.
func TestPlantedFaultsAreFound(t *testing.T) {
	planted := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		c := chosen(t)
		h := newModel(c).run(150)
		p := plants[c.below(len(plants))]
		if !p.plant(h) {
			return
		}
		planted[p.name]++
		for _, c := range checkers {
			if c.Name() == p.checker {
				require.Equal(t, checker.Invalid, c.Check(h, checker.Options{}).Verdict, p.name)
			}
		}
	})
	if !t.Failed() {
		c := seeded{rand.New(rand.NewPCG(1, 1))}
		for _, p := range plants {
			for tries := 0; planted[p.name] == 0; tries++ {
				require.Less(t, tries, 100, "no history had a place for: %s", p.name)
				if p.plant(newModel(c).run(150)) {
					planted[p.name]++
				}
			}
		}
	}
}
