package whole

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// busy is a history with a bit of everything.
const busy = `{"history":2,"workload":"w","regions":["eu","us"]}
{"txn":{"id":1,"process":1,"session":1,"region":"eu","level":"causal","durability":"local","start":10,"end":20,"outcome":"ok","commit":{"region":1,"time":7},"ops":[{"do":"add","key":"n","type":"counter","arg":{"int":1}},{"do":"insert","key":"a","type":"set-aw","element":"x"}]}}
{"txn":{"id":2,"process":1,"session":1,"region":"us","level":"causal","start":30,"end":40,"outcome":"ok","snapshot":{"1":7},"ops":[{"do":"get","key":"n","type":"counter","got":{"int":1}}]}}
{"txn":{"id":3,"process":1,"session":1,"region":"us","level":"eventual","start":50,"end":-1,"outcome":"unknown","ops":[{"do":"add","key":"n","type":"counter","arg":{"int":1}}]}}
{"txn":{"id":4,"process":2,"session":2,"region":"us","level":"causal","start":50,"end":60,"outcome":"fail","ops":[{"do":"add","key":"n","type":"counter","arg":{"int":1}}]}}
{"txn":{"id":5,"process":3,"region":"eu","level":"causal","start":70,"end":80,"outcome":"ok","final":true,"ops":[{"do":"get","key":"n","type":"counter","got":{"int":1}}]}}
{"fault":{"kind":"partition","targets":["eu"],"start":15,"end":35}}
{"fault":{"kind":"kill","targets":["us"],"start":1,"end":5}}
{"fault":{"kind":"pause","targets":["us"],"start":55,"end":-1}}
`

func TestExercisedCounts(t *testing.T) {
	h, err := history.Read(strings.NewReader(busy))
	require.NoError(t, err)
	want := map[string]int{
		"transactions": 5, "transactions that read": 2, "transactions that write": 1, "unknown writes": 1,
		"outcome ok": 3, "outcome fail": 1, "outcome unknown": 1, "level causal": 4, "level eventual": 1, "durability local": 1,
		"add counter": 1, "insert set-aw": 1, "get counter": 2,
		"acknowledged in eu": 2, "acknowledged in us": 1, "acknowledged in every region": 1, "final reads in eu": 1, "final reads in every region": 0,
		"sessions": 2, "hops": 1, "sessions that hopped": 1,
		"faults": 2, "fault partition": 1, "transactions during partition": 2, "fault pause": 1, "transactions during pause": 3, "reads of others' writes": 1,
	}
	r := Exercised(want).Check(h, checker.Options{})
	require.Equal(t, checker.Valid, r.Verdict, r.Anomalies)
	require.Equal(t, want, r.Counts)
}

// TestTooLittleIsInvalid: each count that is below its minimum is told, also one that never was.
func TestTooLittleIsInvalid(t *testing.T) {
	h, err := history.Read(strings.NewReader(busy))
	require.NoError(t, err)
	r := Exercised(map[string]int{"fault kill": 1, "final reads in every region": 1, "transactions": 5}).Check(h, checker.Options{})
	require.Equal(t, "not exercised: 0 fault kill, a verdict that means something needs 1 or more\n"+
		"not exercised: 0 final reads in every region, a verdict that means something needs 1 or more", summary(r))
	empty := &history.History{Header: history.Header{Regions: []string{"eu"}}}
	require.Equal(t, checker.Invalid, Exercised(map[string]int{"transactions": 1}).Check(empty, checker.Options{}).Verdict)
	require.Len(t, Exercised(map[string]int{"a": 1, "b": 1}).Check(empty, checker.Options{Anomalies: 1}).Anomalies, 1)
}

// edges is a history in which each count has something beside it that does not count.
const edges = `{"history":2,"workload":"w","regions":["ap","eu","us","zz"]}
{"txn":{"id":1,"process":1,"session":1,"region":"eu","level":"causal","start":10,"end":20,"outcome":"ok","commit":{"region":2,"time":9},"ops":[{"do":"get","key":"n","type":"counter","got":{}},{"do":"add","key":"n","type":"counter","arg":{"int":1}},{"do":"add","key":"m","type":"counter","arg":{"int":1}}]}}
{"txn":{"id":2,"process":2,"session":1,"region":"us","level":"causal","start":21,"end":25,"outcome":"fail","ops":[{"do":"get","key":"n","type":"counter"}]}}
{"txn":{"id":3,"process":3,"session":1,"region":"eu","level":"causal","start":26,"end":30,"outcome":"ok","commit":{"region":2,"time":7},"snapshot":{"2":9},"ops":[{"do":"get","key":"n","type":"counter","got":{"int":1}},{"do":"insert","key":"s","type":"set-aw","element":"x"},{"do":"add","key":"m","type":"counter","arg":{"int":1}}]}}
{"txn":{"id":4,"process":4,"region":"us","level":"causal","start":31,"end":-1,"outcome":"unknown","snapshot":{"2":9},"ops":[{"do":"get","key":"n","type":"counter"}]}}
{"txn":{"id":5,"process":5,"region":"us","level":"causal","start":40,"end":50,"outcome":"ok","snapshot":{"2":7},"ops":[{"do":"get","key":"k","type":"counter","got":{}},{"do":"get","key":"m","type":"counter","got":{"int":1}},{"do":"get","key":"n","type":"counter","got":{}}]}}
{"txn":{"id":6,"process":6,"region":"us","level":"causal","start":60,"end":65,"outcome":"ok","final":true,"snapshot":{"2":9},"ops":[{"do":"get","key":"n","type":"counter","got":{"int":1}}]}}
{"txn":{"id":7,"process":7,"region":"us","level":"causal","start":61,"end":64,"outcome":"ok","commit":{"region":3,"time":8},"snapshot":{"2":9},"ops":[{"do":"add","key":"m","type":"counter","arg":{"int":1}}]}}
{"fault":{"kind":"whole","start":0,"end":0}}
{"fault":{"kind":"touch","start":30,"end":31}}
{"fault":{"kind":"gap","start":51,"end":59}}
{"fault":{"kind":"kill","start":64,"end":66}}
`

// TestExercisedCountsNothingElse: what failed, what the own region wrote, and what only came close.
func TestExercisedCountsNothingElse(t *testing.T) {
	h, err := history.Read(strings.NewReader(edges))
	require.NoError(t, err)
	want := map[string]int{
		"transactions": 7, "transactions that read": 4, "transactions that write": 3,
		"outcome ok": 5, "outcome fail": 1, "outcome unknown": 1, "level causal": 7,
		"add counter": 4, "insert set-aw": 1, "get counter": 6,
		"acknowledged in ap": 0, "acknowledged in eu": 2, "acknowledged in us": 3, "acknowledged in zz": 0, "acknowledged in every region": 0,
		"final reads in us": 1, "final reads in every region": 0,
		"sessions": 1, "hops": 0,
		"faults": 3, "fault touch": 1, "transactions during touch": 2, "fault kill": 1, "transactions during kill": 3,
		"fault gap": 1, "transactions during gap": 1, "reads of others' writes": 1,
	}
	r := Exercised(nil).Check(h, checker.Options{})
	require.Equal(t, want, r.Counts)
}

// backwards is a history whose ids go against the time.
const backwards = `{"history":2,"workload":"w","regions":["us","eu","ap"]}
{"txn":{"id":1,"process":1,"region":"us","level":"causal","start":50,"end":60,"outcome":"ok","snapshot":{"2":7},"ops":[{"do":"get","key":"m","type":"counter","got":{"int":1}}]}}
{"txn":{"id":2,"process":2,"region":"eu","level":"causal","start":30,"end":40,"outcome":"ok","commit":{"region":2,"time":7},"ops":[{"do":"add","key":"m","type":"counter","arg":{"int":1}}]}}
{"txn":{"id":3,"process":3,"region":"eu","level":"causal","start":10,"end":20,"outcome":"ok","commit":{"region":2,"time":8},"ops":[{"do":"add","key":"m","type":"counter","arg":{"int":1}}]}}
{"txn":{"id":4,"process":4,"region":"ap","level":"causal","start":70,"end":71,"outcome":"ok","commit":{"region":3,"time":8},"ops":[{"do":"add","key":"m","type":"counter","arg":{"int":1}}]}}
{"txn":{"id":5,"process":5,"region":"ap","level":"causal","start":72,"end":73,"outcome":"ok","commit":{"region":3,"time":9},"ops":[{"do":"add","key":"m","type":"counter","arg":{"int":1}}]}}
{"fault":{"kind":"kill","start":12,"end":15}}
{"fault":{"kind":"pause","start":25,"end":35}}
`

// TestExercisedCountsByTimes: not by the order in which transactions stand.
func TestExercisedCountsByTimes(t *testing.T) {
	h, err := history.Read(strings.NewReader(backwards))
	require.NoError(t, err)
	for range 20 {
		h.Txns[0].Ops = append(h.Txns[0].Ops, h.Txns[0].Ops[0])
	}
	counts := Exercised(nil).Check(h, checker.Options{}).Counts
	require.Equal(t, []int{2, 1, 1}, []int{counts["faults"], counts["transactions during kill"], counts["transactions during pause"]})
	require.Equal(t, 21, counts["reads of others' writes"], "that another region's write was not seen changes nothing")
	require.Equal(t, 1, counts["acknowledged in every region"])
}

// TestCheckersSayWhatTheyProve: names are words with hyphens, each its own.
func TestCheckersSayWhatTheyProve(t *testing.T) {
	met := map[string]bool{}
	for _, c := range append(checkers, Exercised(nil)) {
		require.Regexp(t, `^[a-z]+(-[a-z]+)*$`, c.Name())
		require.False(t, met[c.Name()])
		met[c.Name()] = true
		require.Greater(t, len(c.Proves()), 40)
	}
}

// TestSumsNeverWrap: a counter whose adds pass 64 bits is judged by the whole sum.
func TestSumsNeverWrap(t *testing.T) {
	const most = int64(math.MaxInt64)
	w := wide{}.plus(most).plus(most).plus(-1)
	require.Positive(t, w.compare(most))
	require.Equal(t, "more than any number of 64 bits", w.String())
	w = w.plus(-most)
	require.Zero(t, w.compare(most-1))
	require.Equal(t, "9223372036854775806", w.String())
	w = wide{}.plus(-most).plus(-1)
	require.Equal(t, "-9223372036854775808", w.String())
	require.Negative(t, w.compare(-most))
	require.Equal(t, "less than any number of 64 bits", w.plus(-1).String())
	require.Equal(t, "more than any number of 64 bits", wide{}.plus(most).plus(1).String())
}

// TestAnomaliesAreBounded: however much is wrong, as many are told as were asked for, the smallest first.
func TestAnomaliesAreBounded(t *testing.T) {
	h := &history.History{Header: history.Header{Regions: []string{"eu"}}}
	for i := range 3000 {
		h.Txns = append(h.Txns, history.Txn{ID: i + 1, Process: i + 1, Region: "eu", Level: "causal", Outcome: history.OK, Final: true,
			Ops: []history.Op{{Do: history.Get, Key: "n", Type: "counter", Got: &history.Value{Int: int64(i)}}}})
	}
	r := Convergence().Check(h, checker.Options{Anomalies: 3})
	require.Len(t, r.Anomalies, 3)
	require.Equal(t, []int{1, 2}, r.Anomalies[0].Txns)
	require.Equal(t, 2999, r.Counts["anomalies"])
	require.Len(t, Convergence().Check(h, checker.Options{Anomalies: 5000}).Anomalies, kept)
}

// TestCountsOfNothingAreTold: whoever asks for a minimum finds a count of nothing, not that there is none.
func TestCountsOfNothingAreTold(t *testing.T) {
	want := map[string][]string{
		"lost-writes":       {"final reads", "acknowledged writes", "acknowledged writes that may be lost", "places"},
		"half-transactions": {"transactions that write several marks", "transactions that read several marks", "marks compared"},
		"convergence":       {"final reads", "places", "final transactions in eu"},
		"bank":              {"snapshots", "snapshots before the deposit", "transfers"},
		"causal-pair":       {"pairs", "pairs not judged", "pointers seen", "pairs read"},
		"long-fork":         {"readers of several", "long forks", "readers too wide"},
		"session":           {"sessions", "sessions that hopped", "reads compared", "reads compared after a hop"},
		"compare-and-set":   {"swaps"},
	}
	h := &history.History{Header: history.Header{Regions: []string{"eu"},
		Notes: map[string]string{NoteAccounts: "a", NoteTotal: "1", NotePrescription: "r", NotePointer: "p"}}}
	for _, c := range checkers {
		counts := c.Check(h, checker.Options{}).Counts
		for _, name := range want[c.Name()] {
			require.Contains(t, counts, name, c.Name())
			delete(counts, name)
		}
		delete(counts, "anomalies")
		require.Empty(t, counts, c.Name())
	}
}

// TestEachTransactionIsToldOnce: below the text, one a line, though it is both what was known and what was read.
func TestEachTransactionIsToldOnce(t *testing.T) {
	h, err := history.ReadFile("testdata/session/counter-fell-within-one.jsonl")
	require.NoError(t, err)
	a := Session().Check(h, checker.Options{}).Anomalies[0]
	require.Equal(t, []int{2}, a.Txns)
	_, below, _ := strings.Cut(a.Text, "\n")
	require.Equal(t, "  "+checker.Describe(&h.Txns[1]), below)
}
