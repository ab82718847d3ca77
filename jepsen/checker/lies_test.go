package checker_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/semantics"
	"github.com/theriac-db/theriac/jepsen/checker/whole"
	"github.com/theriac-db/theriac/jepsen/history"
)

// lie changes one thing in a history, as a database that is wrong would, and says what; empty: it found
// nothing to change.
type lie func(l *liar) string

// liar tells one lie about a run.
type liar struct {
	rng *rand.Rand
	h   *history.History
}

// lies that must be found wherever they are told, in a run without transactions of unknown outcome.
var lies = map[string]lie{
	"another value":   (*liar).value,
	"a field hidden":  (*liar).hideField,
	"a field made up": (*liar).inventField,
	"an element hidden": func(l *liar) string {
		return l.list(1, func(v []string, i int) []string { return slices.Delete(v, i, i+1) })
	},
	"an element made up": func(l *liar) string {
		return l.list(0, func(v []string, _ int) []string { return append(v, "~nobody's") })
	},
	"an element back":       (*liar).resurrect,
	"a present contains":    (*liar).contains,
	"a write dropped":       (*liar).drop,
	"a dot doubled":         (*liar).double,
	"half a transaction":    (*liar).half,
	"a stamp in its past":   (*liar).oldStamp,
	"a stamp of another":    (*liar).swapStamps,
	"a snapshot lowered":    (*liar).lowerSnapshot,
	"a snapshot raised":     (*liar).raiseSnapshot,
	"a token dropped":       (*liar).dropToken,
	"a reset of too much":   (*liar).resetOfMore,
	"a reset of too little": (*liar).resetOfLess,
}

// pick is one of a list.
func pick[T any](l *liar, list []T) (x T, ok bool) {
	if len(list) == 0 {
		return x, false
	}
	return list[l.rng.IntN(len(list))], true
}

// at is an operation in its transaction.
type at struct {
	t *history.Txn
	o *history.Op
}

func (p at) String() string { return fmt.Sprintf("T%d: %s", p.t.ID, checker.DescribeOp(p.o)) }

// ops are the operations of answered transactions that fit.
func (l *liar) ops(fits func(at) bool) (out []at) {
	for i := range l.h.Txns {
		t := &l.h.Txns[i]
		for k := range t.Ops {
			if p := (at{t, &t.Ops[k]}); t.Outcome == history.OK && fits(p) {
				out = append(out, p)
			}
		}
	}
	return out
}

func (l *liar) reads(fits func(at) bool) []at {
	return l.ops(func(p at) bool { return p.o.Do == history.Get && fits(p) })
}

// value changes a leaf that was read.
func (l *liar) value() string {
	p, ok := pick(l, l.reads(func(p at) bool {
		return !slices.Contains([]string{"map", "map-go", "set-aw", "set-rw", "set-go"}, p.o.Leaf())
	}))
	if !ok {
		return ""
	}
	v := p.o.Got
	switch p.o.Leaf() {
	case "counter":
		*v = history.Value{Int: v.Int + 1}
	case "flag-ew", "flag-dw":
		*v = history.Value{Flag: !v.Flag, Absent: v.Flag}
	case "register-lww":
		*v = history.Value{Text: v.Text + "x"}
	default:
		*v = history.Value{List: append(slices.Clone(v.List), "~nobody's")}
	}
	return p.String()
}

func (l *liar) maps(full bool) (at, bool) {
	return pick(l, l.reads(func(p at) bool {
		return (p.o.Leaf() == "map" || p.o.Leaf() == "map-go") && (!full || len(p.o.Got.Fields) > 0)
	}))
}

func (l *liar) hideField() string {
	p, ok := l.maps(true)
	if !ok {
		return ""
	}
	i := l.rng.IntN(len(p.o.Got.Fields))
	p.o.Got.Fields = slices.Delete(slices.Clone(p.o.Got.Fields), i, i+1)
	return fmt.Sprint(p, i)
}

func (l *liar) inventField() string {
	p, ok := l.maps(false)
	if !ok {
		return ""
	}
	p.o.Got.Fields = append(slices.Clone(p.o.Got.Fields), history.Field{Name: "~nobody's", Type: "counter"})
	return p.String()
}

// list changes the elements of a set or the values of a register-mv.
func (l *liar) list(least int, change func([]string, int) []string) string {
	p, ok := pick(l, l.reads(func(p at) bool {
		return slices.Contains([]string{"set-aw", "set-rw", "set-go", "register-mv"}, p.o.Leaf()) && len(p.o.Got.List) >= least
	}))
	if !ok {
		return ""
	}
	p.o.Got.List = change(slices.Clone(p.o.Got.List), l.rng.IntN(max(len(p.o.Got.List), 1)))
	p.o.Got.Absent = false
	return p.String()
}

// resurrect puts back an element that somebody had put there once.
func (l *liar) resurrect() string {
	p, ok := pick(l, l.reads(func(p at) bool { return len(l.gone(p)) > 0 }))
	if !ok {
		return ""
	}
	p.o.Got.List = slices.Sorted(slices.Values(append(slices.Clone(p.o.Got.List), l.gone(p)[0])))
	p.o.Got.Absent = false
	return p.String()
}

func (l *liar) gone(p at) (out []string) {
	if !slices.Contains([]string{"set-aw", "set-rw"}, p.o.Leaf()) {
		return nil
	}
	for _, w := range l.ops(func(w at) bool {
		return w.o.Do == history.Insert && checker.Place(w.o) == checker.Place(p.o) && w.t.End < p.t.Start && !slices.Contains(p.o.Got.List, w.o.Element)
	}) {
		out = append(out, w.o.Element)
	}
	return out
}

func (l *liar) contains() string {
	p, ok := pick(l, l.ops(func(p at) bool { return p.o.Do == history.Contains }))
	if !ok {
		return ""
	}
	p.o.Got = &history.Value{Flag: !p.o.Got.Flag}
	return p.String()
}

// counted are increments, of counters that are objects, that matter to a final read: nobody ever reset it.
func (l *liar) counted() []at {
	return l.ops(func(p at) bool {
		return p.o.Do == history.Add && p.o.Arg.Int != 0 && p.o.Key == "sum"
	})
}

// drop has all later reads of a counter lack one acknowledged increment.
func (l *liar) drop() string { return l.shift(-1) }

// double has them count it twice.
func (l *liar) double() string { return l.shift(1) }

func (l *liar) shift(times int64) string {
	w, ok := pick(l, l.counted())
	if !ok {
		return ""
	}
	for _, p := range l.reads(func(p at) bool {
		return checker.Place(p.o) == checker.Place(w.o) && p.t != w.t && p.t.Snapshot[w.t.Commit.Region] >= w.t.Commit.Time
	}) {
		p.o.Got = &history.Value{Int: p.o.Got.Int + times*w.o.Arg.Int}
	}
	return w.String()
}

// half hides one of a pair of counters that are always written together.
func (l *liar) half() string {
	p, ok := pick(l, l.reads(func(p at) bool { return p.o.Key == "left" && p.o.Got.Int != 0 }))
	if !ok {
		return ""
	}
	p.o.Got = &history.Value{Int: p.o.Got.Int - 1}
	return p.String()
}

// stamped are transactions that wrote and read.
func (l *liar) stamped() (out []*history.Txn) {
	for i := range l.h.Txns {
		if t := &l.h.Txns[i]; t.Commit != nil {
			out = append(out, t)
		}
	}
	return out
}

func (l *liar) oldStamp() string {
	t, ok := pick(l, slices.DeleteFunc(l.stamped(), func(t *history.Txn) bool { return t.Snapshot[t.Commit.Region] == 0 }))
	if !ok {
		return ""
	}
	t.Commit = &history.Stamp{Region: t.Commit.Region, Time: t.Snapshot[t.Commit.Region]}
	return checker.Describe(t)
}

// swapStamps exchanges the stamps of two writes of a region, one after the other.
func (l *liar) swapStamps() string {
	a, ok := pick(l, l.stamped())
	if !ok {
		return ""
	}
	b, ok := pick(l, slices.DeleteFunc(l.stamped(), func(b *history.Txn) bool { return b.Commit.Region != a.Commit.Region || b.Start <= a.End }))
	if !ok {
		return ""
	}
	a.Commit, b.Commit = b.Commit, a.Commit
	return checker.Describe(a) + " and " + checker.Describe(b)
}

// session are transactions that had to wait for what their session had seen or written.
func (l *liar) session() (out []*history.Txn) {
	for i := range l.h.Txns {
		if t := &l.h.Txns[i]; t.Outcome == history.OK && t.Level == "causal" && len(t.TokenBefore) > 0 {
			out = append(out, t)
		}
	}
	return out
}

// lowerSnapshot has a session read below its token.
func (l *liar) lowerSnapshot() string {
	t, ok := pick(l, l.session())
	if !ok {
		return ""
	}
	region, _ := pick(l, slices.Sorted(maps.Keys(t.TokenBefore)))
	t.Snapshot = with(t.Snapshot)
	t.Snapshot[region] = t.TokenBefore[region] - 1
	return checker.Describe(t)
}

// raiseSnapshot has a transaction claim that it saw what began only after it had ended.
func (l *liar) raiseSnapshot() string {
	w, ok := pick(l, l.stamped())
	if !ok {
		return ""
	}
	var before []*history.Txn
	for i := range l.h.Txns {
		if t := &l.h.Txns[i]; t.Outcome == history.OK && t.End < w.Start {
			before = append(before, t)
		}
	}
	t, ok := pick(l, before)
	if !ok {
		return ""
	}
	t.Snapshot = with(t.Snapshot)
	t.Snapshot[w.Commit.Region] = w.Commit.Time
	return checker.Describe(t)
}

// dropToken has an answer forget what its transaction read and wrote.
func (l *liar) dropToken() string {
	t, ok := pick(l, slices.DeleteFunc(l.session(), func(t *history.Txn) bool { return t.Commit == nil }))
	if !ok {
		return ""
	}
	t.TokenAfter = history.Vector{}
	return checker.Describe(t)
}

// resetOfMore hides from all later reads what was added, in another region and unseen, while a reset was made.
func (l *liar) resetOfMore() string {
	for _, k := range l.rng.Perm(len(l.h.Txns)) {
		r := &l.h.Txns[k]
		if r.Commit == nil || r.Ops[len(r.Ops)-1].Do != history.Reset || r.Ops[len(r.Ops)-1].Key != "often reset" {
			continue
		}
		for _, w := range l.ops(func(p at) bool { return p.o.Do == history.Add && p.o.Key == "often reset" && p.o.Arg.Int != 0 }) {
			if w.t.Commit == nil || w.t == r || r.Snapshot[w.t.Commit.Region] >= w.t.Commit.Time {
				continue
			}
			if l.seen(r, w, -w.o.Arg.Int) {
				return fmt.Sprintf("%s takes %s", checker.Describe(r), w)
			}
		}
	}
	return ""
}

// resetOfLess shows to all later reads what a reset took away.
func (l *liar) resetOfLess() string {
	for _, k := range l.rng.Perm(len(l.h.Txns)) {
		r := &l.h.Txns[k]
		if r.Commit == nil || r.Ops[len(r.Ops)-1].Do != history.Reset || r.Ops[len(r.Ops)-1].Key != "often reset" {
			continue
		}
		for _, w := range l.ops(func(p at) bool { return p.o.Do == history.Add && p.o.Key == "often reset" && p.o.Arg.Int != 0 }) {
			if w.t.Commit != nil && w.t != r && r.Snapshot[w.t.Commit.Region] >= w.t.Commit.Time && l.seen(r, w, w.o.Arg.Int) {
				return fmt.Sprintf("%s leaves %s", checker.Describe(r), w)
			}
		}
	}
	return ""
}

// seen changes the first read that has both a reset and an increment in its snapshot. It reports whether there is one.
func (l *liar) seen(r *history.Txn, w at, by int64) bool {
	for _, p := range l.reads(func(p at) bool { return p.o.Key == "often reset" && p.t != r && p.t != w.t }) {
		if p.t.Snapshot[r.Commit.Region] >= r.Commit.Time && p.t.Snapshot[w.t.Commit.Region] >= w.t.Commit.Time {
			p.o.Got = &history.Value{Int: p.o.Got.Int + by}
			return true
		}
	}
	return false
}

// with is a copy of a vector, to be changed.
func with(v history.Vector) history.Vector {
	out := history.Vector{}
	maps.Copy(out, v)
	return out
}

// copied is a history that can be changed without changing the first.
func copied(t *testing.T, h *history.History) *history.History {
	var file bytes.Buffer
	require.NoError(t, h.Write(&file))
	out, err := history.Read(&file)
	require.NoError(t, err)
	return out
}

// found are the checkers that call a history invalid.
func found(h *history.History, judges ...checker.Checker) (by []string) {
	for _, c := range judges {
		if c.Check(h, checker.Options{}).Verdict == checker.Invalid {
			by = append(by, c.Name())
		}
	}
	return by
}

// TestEveryLieIsFound: of a run of the database in which all calls were answered, one thing is told wrong.
func TestEveryLieIsFound(t *testing.T) {
	seed := seeded(t)
	h := recorded(t, seed, plan{rounds: 2, txns: 60, pairs: true})
	requireValid(t, h)
	for name, tell := range lies {
		t.Run(name, func(t *testing.T) {
			told := 0
			for i := range uint64(5) {
				l := &liar{rng: rand.New(rand.NewPCG(seed, i)), h: copied(t, h)}
				what := tell(l)
				if what == "" {
					continue
				}
				told++
				require.NotEmpty(t, found(l.h, semantics.Checker{}), "not found: %s", what)
			}
			require.Positive(t, told, "there was nothing to lie about")
		})
	}
}

// TestBoundsNeedNoStamps: what is lost or comes from nowhere is found when stamps, snapshots and tokens are
// all missing, or all false.
func TestBoundsNeedNoStamps(t *testing.T) {
	seed := seeded(t)
	h := recorded(t, seed, plan{rounds: 2, txns: 60, pairs: true})
	reports := map[string]func(*history.Txn, *rand.Rand){
		"none": func(x *history.Txn, _ *rand.Rand) {
			x.Snapshot, x.TokenBefore, x.TokenAfter, x.Commit = nil, nil, nil, nil
		},
	}
	for name, report := range reports {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			without := copied(t, h)
			for i := range without.Txns {
				report(&without.Txns[i], rng)
			}
			require.Empty(t, found(without, judges()...), "nothing is wrong yet")
			for i := range uint64(10) {
				for name, tell := range map[string]lie{"a write dropped": (*liar).drop, "a dot doubled": (*liar).double} {
					l := &liar{rng: rand.New(rand.NewPCG(seed, i)), h: copied(t, h)}
					what := tell(l)
					for i := range l.h.Txns {
						report(&l.h.Txns[i], rng)
					}
					require.NotEmpty(t, found(l.h, semantics.Checker{}, whole.LostWrites(checker.Losses{}), whole.Convergence()), "%s not found: %s", name, what)
				}
			}
		})
	}
}
