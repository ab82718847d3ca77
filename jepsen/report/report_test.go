package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

var rewrite = flag.Bool("rewrite", false, "write the pages of testdata")

// page writes a report and returns it.
func write(t testing.TB, in Input) string {
	var out bytes.Buffer
	require.NoError(t, Write(&out, in))
	return out.String()
}

// judged is a history of testdata, with the results beside it.
func judged(t testing.TB, name string) Input {
	h, err := history.ReadFile(name)
	require.NoError(t, err)
	text, err := os.ReadFile(strings.TrimSuffix(name, ".jsonl") + ".json")
	require.NoError(t, err)
	in := Input{History: h, Command: "theriac jepsen test --workload causal --seed 7",
		Proves: map[string]string{"causal": "One order of all transactions explains what each of them read."}}
	require.NoError(t, json.Unmarshal(text, &in.Results))
	return in
}

// TestPagesOfTestdata: each history of testdata gives the page beside it. To see what changed, open it.
func TestPagesOfTestdata(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		got := write(t, judged(t, file))
		golden := strings.TrimSuffix(file, ".jsonl") + ".html"
		if *rewrite {
			require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err, "to write it: go test ./jepsen/report -rewrite")
		require.Equal(t, string(want), got, golden)
		require.Equal(t, got, write(t, judged(t, file)), "the same again")
	}
}

// TestAPageLoadsNothing: no element and no style of a page names anything outside of it.
func TestAPageLoadsNothing(t *testing.T) {
	for _, in := range []Input{judged(t, "testdata/violation.jsonl"), hostile(), {History: random(1, 3000, 20)}} {
		requireNothingLoaded(t, write(t, in))
	}
}

// loading are the attributes that name something to load or to go to.
var loading = []string{"src", "srcset", "href", "xlink:href", "action", "formaction", "data", "poster", "background", "cite", "ping", "manifest", "archive", "code", "codebase"}

var reference = regexp.MustCompile(`(?i)url\(\s*['"]?[^#)'"]|@import|image-set|//[a-z]`)

func requireNothingLoaded(t *testing.T, text string) {
	root, err := html.Parse(strings.NewReader(text))
	require.NoError(t, err)
	scripts := 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		require.NotContains(t, []string{"link", "iframe", "frame", "object", "embed", "img", "image", "base", "video", "audio", "form", "use"}, n.Data)
		for _, a := range n.Attr {
			name := strings.ToLower(strings.TrimPrefix(a.Namespace+":"+a.Key, ":"))
			require.False(t, strings.HasPrefix(name, "on"), "%s=%q", name, a.Val)
			require.False(t, slices.Contains(loading, name) && !strings.HasPrefix(a.Val, "#"), "%s %s=%q", n.Data, name, a.Val)
			require.NotRegexp(t, `url\([^#]|javascript:`, a.Val)
		}
		switch n.Data {
		case "script":
			scripts++
			require.Equal(t, scriptText, n.FirstChild.Data)
		case "style":
			require.NotRegexp(t, reference, n.FirstChild.Data)
		}
	}
	require.Equal(t, 1, scripts)
	require.NotRegexp(t, `https?:|fetch|XMLHttp|import\(|WebSocket|Image\(`, scriptText)
}

// evil is a text that would do something if it were not escaped.
const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)></title></style><!-- {{.}} http://example.com`

// hostile has it wherever a history or a checker brings a text.
func hostile() Input {
	value := &history.Value{Text: evil}
	h := &history.History{
		Header: history.Header{Workload: evil, Nemesis: evil, Regions: []string{evil, "b"}, Started: evil, Notes: map[string]string{evil: evil}},
		Txns: []history.Txn{
			{ID: 1, Process: 1, Region: evil, Level: evil, Durability: evil, Start: 1, End: 2, Outcome: history.OK, OpID: evil,
				Ops: []history.Op{{Do: history.Assign, Bucket: evil, Key: evil, Type: "register-lww", Arg: value}}},
			{ID: 2, Process: 2, Session: 2, Region: "b", Level: "causal", Start: 3, End: 4, Outcome: history.Fail, Error: evil,
				Ops: []history.Op{{Do: history.Get, Bucket: evil, Key: evil, Type: "register-lww", Got: value}}},
		},
		Faults: []history.Fault{{Kind: evil, Targets: []string{evil}, Start: 1, End: -1}},
	}
	a := checker.Anomaly{Name: evil, Txns: []int{1, 2}, Text: evil}
	told := a
	told.Order = []checker.Step{{From: 2, To: 1, Why: evil}}
	return Input{History: h, Command: evil, Proves: map[string]string{evil: evil}, Results: []checker.Result{
		{Checker: evil, Verdict: checker.Invalid, Anomalies: []checker.Anomaly{a, told}, Counts: map[string]int{evil: 1}, Note: evil},
	}}
}

// TestTextsAreEscaped: what a history holds is shown, and does nothing.
func TestTextsAreEscaped(t *testing.T) {
	text := write(t, hostile())
	require.NotContains(t, text, "<script>alert")
	require.NotContains(t, text, "<img")
	root, err := html.Parse(strings.NewReader(text))
	require.NoError(t, err)
	shown := 0
	for n := range root.Descendants() {
		if n.Type == html.TextNode && strings.Contains(n.Data, evil) {
			shown++
		}
	}
	require.Greater(t, shown, 10, "it is shown as it is")
}

// random is a history of n transactions over a minute, as the workloads of several types make them.
func random(seed uint64, n, faults int) *history.History {
	r := rand.New(rand.NewPCG(seed, 1))
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "mixed", Nemesis: "all", Regions: []string{"eu", "us", "ap"}, Seed: seed}}
	for i := range n {
		start := int64(i) * 60e9 / int64(n)
		t := history.Txn{ID: i + 1, Process: i + 1, Session: i%50 + 1, Region: h.Header.Regions[i%3], Level: "causal", Start: start,
			End: start + int64(1e5*(1+r.ExpFloat64()*20)), Outcome: history.OK}
		switch p := r.IntN(100); {
		case p < 5:
			t.Outcome, t.Error = history.Unknown, fmt.Sprintf("unavailable: node %d of %x does not answer", p, r.Uint64())
			if p == 0 {
				t.End = -1
			}
		case p < 10:
			t.Outcome, t.Error = history.Fail, "stale"
		}
		t.Ops = randomOps(r)
		h.Txns = append(h.Txns, t)
	}
	for i := range faults {
		at := int64(i) * 60e9 / int64(faults)
		h.Faults = append(h.Faults, history.Fault{Kind: []string{"partition", "kill", "pause"}[i%3], Targets: []string{"eu", "us"}, Start: at, End: at + 1e9})
	}
	return h
}

func randomOps(r *rand.Rand) []history.Op {
	key := fmt.Sprintf("key-%d", r.IntN(1000))
	all := []history.Op{
		{Do: history.Get, Key: key, Type: "counter", Got: &history.Value{Int: 7}},
		{Do: history.Add, Key: key, Type: "counter", Arg: &history.Value{Int: 7}},
		{Do: history.Assign, Key: key, Type: "register-lww", Arg: &history.Value{Text: key}},
		{Do: history.Get, Key: key, Type: "set-aw", Got: &history.Value{List: []string{"a", "b"}}},
		{Do: history.Insert, Key: key, Type: "set-aw", Element: "a"},
		{Do: history.Enable, Key: key, Type: "flag-ew"},
		{Do: history.Reset, Key: key, Type: "map"},
		{Do: history.Remove, Key: key, Type: "set-rw", Element: "a"},
		{Do: history.Contains, Key: key, Type: "set-rw", Element: "a", Got: &history.Value{Flag: true}},
	}
	var ops []history.Op
	for range 1 + r.IntN(3) {
		ops = append(ops, all[r.IntN(len(all))])
	}
	return ops
}

// large has more of everything than a page shows.
func large() Input {
	in := Input{History: random(1, 100_000, 2000)}
	var txns []int
	for i := range 500 {
		txns = append(txns, i+1)
	}
	long := strings.Repeat("a long explanation; ", 20_000)
	for c := range 20 {
		r := checker.Result{Checker: fmt.Sprintf("checker-%d", c), Verdict: checker.Invalid, Note: long}
		for range 10 {
			r.Anomalies = append(r.Anomalies, checker.Anomaly{Name: "all wrong", Txns: txns, Text: long})
		}
		in.Results = append(in.Results, r)
	}
	return in
}

// TestPagesOfLargeHistoriesAreSmall: whatever a history holds, the page can be sent by mail.
func TestPagesOfLargeHistoriesAreSmall(t *testing.T) {
	text := write(t, large())
	t.Logf("%d transactions: %d KiB", len(large().History.Txns), len(text)>>10)
	require.Less(t, len(text), 3<<20)
	require.Contains(t, text, "160 more are not shown")
	require.Contains(t, text, "1900 more faults are not listed")
	require.Contains(t, text, "484 more transactions are not drawn")
	requireNothingLoaded(t, text)
}

// TestEmptyHistories: a history without anything, and one in which nothing was answered.
func TestEmptyHistories(t *testing.T) {
	h := &history.History{Header: history.Header{Workload: "bank", Regions: []string{"eu"}}}
	text := write(t, Input{History: h})
	require.Contains(t, text, "No checker judged this history.")
	h.Txns = []history.Txn{{ID: 1, Process: 1, Region: "eu", Level: "causal", Start: 0, End: -1, Outcome: history.Unknown,
		Ops: []history.Op{{Do: history.Add, Key: "n", Type: "counter", Arg: &history.Value{Int: 1}}}}}
	text = write(t, Input{History: h, Results: []checker.Result{{Checker: "a", Verdict: checker.Valid, Note: checker.NothingJudged}}})
	require.Contains(t, text, "No checker found anything to judge.")
	require.Contains(t, text, "had nothing to judge")
	results := []checker.Result{{Checker: "a", Verdict: checker.Unknown, Note: "gave up after 3 steps",
		Anomalies: []checker.Anomaly{{Name: "odd", Txns: []int{1, 99}, Text: "T1"}}}}
	text = write(t, Input{History: h, Results: results})
	require.Contains(t, text, "1 was never answered")
	require.Contains(t, text, "1 of 1 checker gave up: a.")
	require.Contains(t, text, "gave up after 3 steps")
	requireNothingLoaded(t, text)
}

// failing is a disk that is full.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestAPageThatCanNotBeWrittenIsAnError(t *testing.T) {
	require.ErrorIs(t, Write(failing{}, hostile()), io.ErrShortWrite)
}

func BenchmarkWrite(b *testing.B) {
	in := large()
	for b.Loop() {
		require.NoError(b, Write(io.Discard, in))
	}
}
