package causal

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/causal/model"
	"github.com/theriac-db/theriac/jepsen/history"
)

// drawn makes a correct history from a seed that rapid draws and prints: rapid's own numbers are mostly
// small, and so are the histories that they make, too small for more than one chain of causes.
func drawn(t *rapid.T) *history.History {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	return model.History(rng.IntN, model.Shape{Regions: 3, Keys: 2 + rng.IntN(4), Callers: 6, Ops: 4}, rng.IntN(60))
}

// TestCorrectHistoriesAreValid: whatever a causally consistent database answers is valid.
func TestCorrectHistoriesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawn(t)
		require.True(t, correct(h), "the model is wrong")
		got := Checker{}.Check(h, checker.Options{})
		require.Equal(t, checker.Valid, got.Verdict, "%v", got.Anomalies)
	})
}

// TestVerdictIsThatOfTheDefinition: a correct history of which some answers were changed is valid exactly
// if the definition, read word by word, says so.
func TestVerdictIsThatOfTheDefinition(t *testing.T) {
	verdicts := map[checker.Verdict]int{}
	rapid.Check(t, func(t *rapid.T) {
		h := drawn(t)
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			changeAnswer(t, h)
		}
		want := checker.Invalid
		if correct(h) {
			want = checker.Valid
		}
		got := Checker{}.Check(h, checker.Options{})
		require.Equal(t, want, got.Verdict, "%v", got.Anomalies)
		require.Equal(t, want == checker.Invalid, len(got.Anomalies) > 0)
		verdicts[want]++
	})
	if testing.Short() {
		return // too few were drawn to expect some of either
	}
	require.Greater(t, verdicts[checker.Valid], 5, "hardly any change left the history correct")
	require.Greater(t, verdicts[checker.Invalid], 5, "hardly any change made the history wrong")
}

// changeAnswer makes a read answer with another value of the same register, or with nothing.
func changeAnswer(t *rapid.T, h *history.History) {
	var reads []*history.Op
	values := map[string][]history.Value{}
	for i := range h.Txns {
		for j := range h.Txns[i].Ops {
			switch o := &h.Txns[i].Ops[j]; {
			case o.Writes():
				values[o.Key] = append(values[o.Key], *o.Arg)
			default:
				reads = append(reads, o)
			}
		}
	}
	if len(reads) == 0 {
		return
	}
	o := rapid.SampledFrom(reads).Draw(t, "read")
	v := rapid.SampledFrom(append(values[o.Key], history.Value{Absent: true})).Draw(t, "value")
	o.Got = &v
}

// TestPlantedFaultIsFound: a correct history into which a wrong one is mixed shows exactly the anomalies
// of the wrong one.
func TestPlantedFaultIsFound(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.jsonl")
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.SampledFrom(files).Draw(t, "fault")
		wrong, err := history.ReadFile(file)
		require.NoError(t, err)
		alone := Checker{}.Check(wrong, checker.Options{})
		got := Checker{}.Check(mix(drawn(t), wrong), checker.Options{})
		require.Equal(t, checker.Invalid, got.Verdict)
		require.Equal(t, names(alone), names(got))
	})
}

func names(r checker.Result) []string {
	var names []string
	for _, a := range r.Anomalies {
		names = append(names, fmt.Sprint(a.Name, " by ", len(a.Txns)))
	}
	return names
}

// mix adds the transactions of one history to another, in sessions and on registers of their own.
func mix(h, more *history.History) *history.History {
	n := len(h.Txns)
	for _, t := range more.Txns {
		t.ID += n
		t.Process += 1000
		if t.Session != 0 {
			t.Session += 1000
		}
		t.Start += 10_000
		if t.Ended() {
			t.End += 10_000
		}
		h.Txns = append(h.Txns, t)
	}
	return h
}

func TestEmptyHistoryIsValid(t *testing.T) {
	got := Checker{}.Check(&history.History{}, checker.Options{})
	require.Equal(t, checker.Valid, got.Verdict)
	require.Zero(t, got.Counts[countReads])
	got.Exercised(map[string]int{countReads: 1})
	require.Equal(t, checker.Invalid, got.Verdict, "a run that read nothing proves nothing")
}

// TestHistoryThatIsWrongAllOver: the verdict comes soon, with no more anomalies than asked for, and the
// same ones each time.
func TestHistoryThatIsWrongAllOver(t *testing.T) {
	h := large(7, 3000, 20, false)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range h.Txns {
		for j := range h.Txns[i].Ops {
			if o := &h.Txns[i].Ops[j]; o.Do == history.Get && rng.IntN(2) == 0 {
				o.Got = &history.Value{Absent: true}
			}
		}
	}
	first := Checker{}.Check(h, checker.Options{Anomalies: 3})
	require.Equal(t, checker.Invalid, first.Verdict)
	require.Len(t, first.Anomalies, 3)
	require.Equal(t, first, Checker{}.Check(h, checker.Options{Anomalies: 3}))
}

// TestClockPagesAreSharedAndCorrect: clocks hold what plain vectors hold.
func TestClockPagesAreSharedAndCorrect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var clocks []clock
		var plain []map[int32]int32
		chains := rapid.SampledFrom([]int32{3, 40, 1025, 4000})
		for owner := range rapid.Int32Range(1, 30).Draw(t, "clocks") {
			var c clock
			p := map[int32]int32{}
			for range rapid.IntRange(0, min(3, len(clocks))).Draw(t, "joins") {
				i := rapid.IntRange(0, len(clocks)-1).Draw(t, "other")
				c = c.join(owner, clocks[i])
				for k, v := range plain[i] {
					p[k] = max(p[k], v)
				}
			}
			k := rapid.Int32Range(0, chains.Draw(t, "chains")).Draw(t, "chain")
			p[k] = p[k] + owner + 1
			c = c.set(owner, k, p[k])
			clocks, plain = append(clocks, c), append(plain, p)
		}
		for i, c := range clocks {
			for k := range int32(4001) {
				require.Equal(t, plain[i][k], c.get(k))
			}
		}
	})
}

// large makes a correct history from a seed.
func large(seed uint64, txns, keys int, plain bool) *history.History {
	rng := rand.New(rand.NewPCG(seed, 0))
	return model.History(rng.IntN, model.Shape{Regions: 5, Keys: keys, Callers: 50, Ops: 8, Plain: plain}, txns)
}

// BenchmarkCheck takes histories as a run makes them: 50 callers in 5 regions, 4.5 operations a transaction, 5%
// of unknown outcome, half of the callers beginning a new session after that; with few registers that all
// write, and with many. In mixed ones an eighth of the callers have no session and 5% of the calls are
// at eventual level, which follow from nothing and so make chains of their own.
func BenchmarkCheck(b *testing.B) {
	for _, kind := range []string{"sessions", "mixed"} {
		for _, keys := range []int{20, 1000} {
			for _, txns := range []int{1_000, 10_000, 100_000, 222_000} {
				b.Run(fmt.Sprintf("%s/registers=%d/txns=%d", kind, keys, txns), func(b *testing.B) {
					benchmark(b, large(1, txns, keys, kind == "sessions"))
				})
			}
		}
	}
}

func benchmark(b *testing.B, h *history.History) {
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		if got := (Checker{}).Check(h, checker.Options{}); got.Verdict != checker.Valid {
			b.Fatal(strings.Join(names(got), "; "))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(h.Txns)), "ns/txn")
}
