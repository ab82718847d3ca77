package semantics

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// TestWhatTheModelDoesIsValid: histories of a model that does what the types are specified to do are
// valid, with calls of unknown outcome and without.
func TestWhatTheModelDoesIsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, unknown := rapid.Uint64().Draw(t, "seed"), rapid.SampledFrom([]int{0, 5, 30}).Draw(t, "unknown")
		h := newModel(seed, unknown).run(rapid.IntRange(1, 250).Draw(t, "steps"))
		requireReadable(t, h)
		r := Checker{}.Check(h, checker.Options{})
		require.Equal(t, checker.Valid, r.Verdict, "%v", r.Anomalies)
		again := Checker{}.Check(h, checker.Options{})
		require.Equal(t, r, again)
	})
}

// requireReadable makes sure that a history is one that a file could hold.
func requireReadable(t require.TestingT, h *history.History) {
	var b bytes.Buffer
	require.NoError(t, h.Write(&b))
	_, err := history.Read(&b)
	require.NoError(t, err)
}

// TestOneWrongAnswerIsFound: of a correct history without unknown outcomes, one changed answer or report
// is always found.
func TestOneWrongAnswerIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newModel(rapid.Uint64().Draw(t, "seed"), 0).run(rapid.IntRange(40, 150).Draw(t, "steps"))
		what := plantFault(t, h)
		r := Checker{}.Check(h, checker.Options{})
		require.Equal(t, checker.Invalid, r.Verdict, "not found: %s", what)
	})
}

// TestAValueFarOffIsFoundBesideUnknownOutcomes: no choice of what may have been written explains a value
// that nobody wrote, or a sum beyond all that was tried.
func TestAValueFarOffIsFoundBesideUnknownOutcomes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newModel(rapid.Uint64().Draw(t, "seed"), 30).run(rapid.IntRange(40, 150).Draw(t, "steps"))
		o := rapid.SampledFrom(answers(h, func(o *history.Op) bool {
			return slices.Contains([]string{"counter", "register-lww", "register-mv"}, o.Leaf())
		})).Draw(t, "read")
		*o.Got = history.Value{Int: o.Got.Int + 1_000_000, Text: "nobody's", List: []string{"nobody's"}}
		r := Checker{}.Check(h, checker.Options{})
		require.Equal(t, checker.Invalid, r.Verdict, "not found: %s", checker.DescribeOp(o))
	})
}

// answers are the reads that a fault can be planted into.
func answers(h *history.History, fits func(*history.Op) bool) (out []*history.Op) {
	for i := range h.Txns {
		for k := range h.Txns[i].Ops {
			if o := &h.Txns[i].Ops[k]; o.Got != nil && fits(o) {
				out = append(out, o)
			}
		}
	}
	return out
}

// plantFault changes one thing, and says what.
func plantFault(t *rapid.T, h *history.History) string {
	if rapid.IntRange(0, 3).Draw(t, "where") == 0 {
		return plantReport(t, h)
	}
	o := rapid.SampledFrom(answers(h, func(*history.Op) bool { return true })).Draw(t, "read")
	was := checker.DescribeOp(o)
	v := *o.Got
	switch kind := o.Leaf(); {
	case o.Do == history.Contains, kind == "flag-ew", kind == "flag-dw":
		v.Flag = !v.Flag
	case kind == "counter":
		v.Int += int64(rapid.SampledFrom([]int{-3, -1, 1, 2}).Draw(t, "by"))
		v.Absent = false
	case kind == "register-lww" && v.Absent:
		v = history.Value{Text: "v1"}
	case kind == "register-lww":
		v = history.Value{Absent: true}
	case isMap(kind) && len(v.Fields) > 0:
		v.Fields = v.Fields[1:]
	case isMap(kind):
		v.Fields = []history.Field{{Name: "n", Type: "counter"}}
	case len(v.List) > 0:
		v.List = v.List[1:]
	default:
		v.List = []string{"a"}
	}
	o.Got = &v
	return was + " became " + checker.DescribeOp(o)
}

// plantReport changes a stamp, a snapshot or a token.
func plantReport(t *rapid.T, h *history.History) string {
	var reported []*history.Txn
	for i := range h.Txns {
		if x := &h.Txns[i]; x.Commit != nil && x.Snapshot[x.Commit.Region] > 0 {
			reported = append(reported, x)
		}
	}
	if len(reported) == 0 {
		x := &h.Txns[len(h.Txns)-1]
		x.TokenBefore = with(x.Snapshot, 1, x.Snapshot[1]+1)
		return fmt.Sprintf("token before T%d", x.ID)
	}
	x := rapid.SampledFrom(reported).Draw(t, "transaction")
	own := x.Commit.Region
	switch rapid.IntRange(0, 2).Draw(t, "what") {
	case 0:
		x.Commit = &history.Stamp{Region: own, Time: x.Snapshot[own]}
		return fmt.Sprintf("stamp of T%d", x.ID)
	case 1:
		x.TokenBefore = with(x.Snapshot, own, x.Snapshot[own]+1)
		return fmt.Sprintf("token before T%d", x.ID)
	}
	x.TokenAfter = with(x.TokenAfter, own, 0)
	x.TokenAfter[own] = x.Commit.Time - 1
	return fmt.Sprintf("token after T%d", x.ID)
}

// TestBudgetUsedUpIsUnknown: a search that is given up is told as that, with the object.
func TestBudgetUsedUpIsUnknown(t *testing.T) {
	h, err := history.ReadFile("testdata/ok-unknown-appears-late.jsonl")
	require.NoError(t, err)
	r := Checker{}.Check(h, checker.Options{Budget: 1})
	require.Equal(t, checker.Unknown, r.Verdict)
	require.Contains(t, r.Note, "gave up on 1 objects, beginning with c:counter")
	require.Equal(t, checker.Valid, Checker{}.Check(h, checker.Options{}).Verdict)
}

// TestCountsTellWhatWasLookedAt: a run that exercised nothing can be told from one that did.
func TestCountsTellWhatWasLookedAt(t *testing.T) {
	h, err := history.ReadFile("testdata/ok-unknown-appears-late.jsonl")
	require.NoError(t, err)
	r := Checker{}.Check(h, checker.Options{})
	require.Equal(t, map[string]int{
		"transactions": 4, "commits that may be or not": 1, "snapshots": 3, "reads": 3, "values": 3, "bounds": 3,
		CountBeside: 3, CountJudged: 3, "anomalies": 0,
	}, r.Counts)
	require.Equal(t, "of the values read, judged 100.0% beside unknown outcomes", r.Note)
	for i := range h.Txns {
		h.Txns[i].Snapshot = nil
	}
	r = Checker{}.Check(h, checker.Options{})
	require.Zero(t, r.Counts[CountJudged])
	require.Equal(t, 3, r.Counts[CountUnseen])
	require.Equal(t, "of the values read, judged 100.0% by bounds alone", r.Note)
	empty := Checker{}.Check(&history.History{Header: history.Header{Regions: []string{"eu"}}}, checker.Options{})
	require.Equal(t, checker.Valid, empty.Verdict)
	require.Equal(t, checker.NothingJudged, empty.Note)
	empty.Exercised(map[string]int{"values": 1})
	require.Equal(t, checker.Invalid, empty.Verdict)
}

// TestNoMoreAnomaliesThanAskedFor: and they are the smallest, but all are counted.
func TestNoMoreAnomaliesThanAskedFor(t *testing.T) {
	h, err := history.ReadFile("testdata/token-not-honoured.jsonl")
	require.NoError(t, err)
	r := Checker{}.Check(h, checker.Options{Anomalies: 1})
	require.Len(t, r.Anomalies, 1)
	require.Equal(t, "token not honoured", r.Anomalies[0].Name)
	require.Equal(t, 3, r.Counts["anomalies"])
}

// TestManySumsAreBounded: where more sums are possible than a search may visit, a counter's bounds are
// judged, the search ends soon, and what is beyond the bounds is found.
func TestManySumsAreBounded(t *testing.T) {
	h := counters(1500, 1, 1<<40)
	r := Checker{}.Check(h, checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict, "%v", r.Anomalies)
	require.Positive(t, r.Counts["values that only bounds judge"])
	require.LessOrEqual(t, r.Counts["values that only bounds judge"], r.Counts["values beside unknown outcomes"])
	reads := answers(h, func(o *history.Op) bool { return o.Got.Int > 0 })
	reads[len(reads)-1].Got.Int += 1 << 50
	require.Equal(t, checker.Invalid, Checker{}.Check(h, checker.Options{}).Verdict)
}
