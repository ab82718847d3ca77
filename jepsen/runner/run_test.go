package runner

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/kv"
)

// verdicts are those of an outcome by the name of the checker.
func verdicts(out *Outcome) map[string]checker.Verdict {
	all := map[string]checker.Verdict{}
	for _, r := range out.Results {
		all[r.Checker] = r.Verdict
	}
	return all
}

// anomalies are all that was found, as text.
func anomalies(out *Outcome) string {
	var b strings.Builder
	for _, r := range out.Results {
		for _, a := range r.Anomalies {
			b.WriteString(r.Checker + ": " + a.String() + "\n")
		}
	}
	return b.String()
}

// TestARunLeavesItsFolder: a run under cuts is valid, and its folder holds all that is said of it.
func TestARunLeavesItsFolder(t *testing.T) {
	c := config(t, start(t))
	c.Nemesis = []string{"partition-isolate"}
	var mu sync.Mutex
	steps := map[string]bool{}
	disturbed := false
	c.Progress = func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		steps[p.Step] = true
		disturbed = disturbed || len(p.Faults) > 0
	}
	out, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, checker.Valid, out.Verdict, anomalies(out))
	require.Equal(t, checker.Valid, verdicts(out)["faults"])
	require.Positive(t, out.Effects["partition-isolate"]["bytes held"])
	require.True(t, disturbed, "progress tells of faults")
	require.Len(t, steps, 4)

	h, err := history.ReadFile(filepath.Join(c.Out, HistoryFile))
	require.NoError(t, err)
	require.Len(t, h.Txns, out.Txns)
	require.NotEmpty(t, h.Faults)
	require.Equal(t, "partition-isolate", h.Header.Nemesis)
	again, _, err := Judge(t.Context(), h, nil)
	require.NoError(t, err)
	require.Equal(t, out.Results, again, "the history alone gives the same verdicts")
	text, err := os.ReadFile(filepath.Join(c.Out, ResultsFile))
	require.NoError(t, err)
	read := new(Outcome)
	require.NoError(t, json.Unmarshal(text, read))
	require.Equal(t, out.Txns, read.Txns)
	page, err := os.ReadFile(filepath.Join(c.Out, ReportFile))
	require.NoError(t, err)
	require.Contains(t, string(page), "counter under partition-isolate")
}

// TestALieIsFound: nodes that acknowledge what they do not write make the run invalid.
func TestALieIsFound(t *testing.T) {
	out, err := Run(t.Context(), config(t, lie(start(t))))
	require.NoError(t, err)
	require.Equal(t, checker.Invalid, out.Verdict)
	require.Equal(t, checker.Invalid, verdicts(out)["lost-writes"])
	page, err := os.ReadFile(filepath.Join(out.Folder, ReportFile))
	require.NoError(t, err)
	require.Contains(t, string(page), "found by lost-writes")
}

// TestARunThatDidTooLittleIsInvalid: a handful of transactions shows nothing, and says so.
func TestARunThatDidTooLittleIsInvalid(t *testing.T) {
	c := config(t, start(t))
	c.Rate, c.TimeLimit = 2, time.Second
	out, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, checker.Invalid, out.Verdict)
	require.Contains(t, anomalies(out), "not exercised")
}

// TestAFaultThatNobodyMetIsNone: what was asked for and did not take place, or met nobody, is told.
func TestAFaultThatNobodyMetIsNone(t *testing.T) {
	h := &history.History{Header: history.Header{Workload: "counter", Nemesis: "kill-one,pause", Regions: []string{"eu"}}}
	h.Faults = []history.Fault{{Kind: "pause", Start: 1, End: 5}}
	results, _, err := Judge(t.Context(), h, []string{"faults"})
	require.NoError(t, err)
	require.Equal(t, checker.Invalid, results[0].Verdict)
	require.Len(t, results[0].Anomalies, 5)
	require.Contains(t, results[0].Anomalies[4].Text, "fault pause: no node stood still the one time that it came")
	h.Header.Nemesis = "somebody else's"
	_, _, err = Judge(t.Context(), h, []string{"faults"})
	require.ErrorContains(t, err, `no checker "faults" judges this history: choose of causal, `)
}

// TestAFaultThatDoesNothingIsInvalid: cuts that cut nothing are found, though transactions met them.
func TestAFaultThatDoesNothingIsInvalid(t *testing.T) {
	c := config(t, &idle{start(t)})
	c.Nemesis = []string{"partition-halves"}
	out, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, checker.Invalid, verdicts(out)["faults"])
	require.Contains(t, anomalies(out), "faults: no effect: fault partition-halves: nothing was held back ")
	require.Empty(t, out.Effects)
	h, err := history.ReadFile(filepath.Join(c.Out, HistoryFile))
	require.NoError(t, err)
	require.NotEmpty(t, h.Faults)
	for _, f := range h.Faults {
		require.Empty(t, f.Effects)
	}
}

// TestNobodyWhoCountsIsNoEvidence: a cluster that can't tell what it did is none to rely on.
func TestNobodyWhoCountsIsNoEvidence(t *testing.T) {
	c := config(t, blind{start(t)})
	c.Nemesis = []string{"partition-halves"}
	out, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.Contains(t, anomalies(out), "faults: no effect: ")
}

// TestOneKindOfTwoThatDoesNothingIsFound, whatever else it did, and one time that bit is enough.
func TestOneKindOfTwoThatDoesNothingIsFound(t *testing.T) {
	h := &history.History{Header: history.Header{Workload: "counter", Nemesis: "partition-halves,gossip", Regions: []string{"eu"}}}
	for i := range 5 {
		h.Txns = append(h.Txns, history.Txn{ID: i + 1, Process: i + 1, Start: 1, End: 9, Outcome: history.OK})
	}
	h.Faults = []history.Fault{
		{Kind: "partition-halves", Start: 1, End: 5, Effects: map[string]int{"gossip packets dropped": 3}},
		{Kind: "partition-halves", Start: 6, End: 7},
		{Kind: "gossip", Start: 1, End: 5},
		{Kind: "gossip", Start: 6, End: 7, Effects: map[string]int{"gossip packets dropped": 2}},
		{Kind: "gossip", Start: 8, End: 9, Effects: map[string]int{"gossip packets dropped": 5}},
	}
	results, proves, err := Judge(t.Context(), h, []string{"faults"})
	require.NoError(t, err)
	require.Equal(t, checker.Invalid, results[0].Verdict)
	require.Len(t, results[0].Anomalies, 1)
	require.Equal(t, "fault partition-halves: nothing was held back any of the 2 times that it came", results[0].Anomalies[0].Text)
	require.Equal(t, 7, results[0].Counts["gossip: gossip packets dropped"])
	require.Equal(t, 3, results[0].Counts["partition-halves: gossip packets dropped"])
	require.Contains(t, proves["faults"], "it had an effect that was counted")
	h.Faults[1].Effects = map[string]int{"bytes held": 1}
	results, _, err = Judge(t.Context(), h, []string{"faults"})
	require.NoError(t, err)
	require.Equal(t, checker.Valid, results[0].Verdict, "%v", results[0].Anomalies)
	require.Equal(t, Effects{"partition-halves": {"gossip packets dropped": 3, "bytes held": 1}, "gossip": {"gossip packets dropped": 7}},
		NewOutcome(h, results).Effects)
}

// TestANodeThatEndsByItselfIsInvalid: the load ends then, and the report says why.
func TestANodeThatEndsByItselfIsInvalid(t *testing.T) {
	d := &dying{start(t), make(chan struct{})}
	c := config(t, d)
	c.TimeLimit = time.Hour
	c.Progress = func(p Progress) {
		if p.OK > 20 && d.Failed() == nil {
			close(d.broken)
		}
	}
	out, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, checker.Invalid, verdicts(out)["nodes"])
	require.Contains(t, anomalies(out), "ended by itself: panic")
	require.Contains(t, anomalies(out), "the final reads are not complete: a node had ended by itself")
}

// TestAFaultThatCanNotBeBroughtAboutIsInvalid: a run without its faults shows nothing.
func TestAFaultThatCanNotBeBroughtAboutIsInvalid(t *testing.T) {
	r := start(t)
	r.cut = errors.New("no such link")
	c := config(t, r)
	c.Nemesis = []string{"partition-halves"}
	out, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, checker.Invalid, verdicts(out)["run"])
	require.Contains(t, anomalies(out), "no such link")
}

// interruptAt is a context that ends once a run has acknowledged so many transactions, and what counts them.
func interruptAt(t *testing.T, c *Config, acknowledged int64) context.Context {
	c.TimeLimit = time.Hour
	ctx, interrupt := context.WithCancel(t.Context())
	c.Progress = func(p Progress) {
		if p.OK > acknowledged {
			interrupt()
		}
	}
	return ctx
}

// TestAnInterruptedRunIsJudgedByWhatThereIs: that too little took place is no finding then.
func TestAnInterruptedRunIsJudgedByWhatThereIs(t *testing.T) {
	c := config(t, start(t))
	c.Nemesis = []string{"partition-halves"}
	out, err := Run(interruptAt(t, &c, 20), c)
	require.Equal(t, kv.KindDeadline, kv.KindOf(err))
	require.ErrorContains(t, err, "interrupted after ")
	require.Equal(t, checker.Interrupted, out.Verdict, anomalies(out))
	require.Empty(t, anomalies(out))
	require.Equal(t, checker.Valid, verdicts(out)["causal"])
	require.Equal(t, checker.Unknown, verdicts(out)["exercised"])
	require.Equal(t, checker.Unknown, verdicts(out)["run"])
	h, err := history.ReadFile(filepath.Join(c.Out, HistoryFile))
	require.NoError(t, err)
	require.NotEmpty(t, h.Txns)
	require.Contains(t, h.Header.Notes[noteCut], "after ")
	again, _, err := Judge(t.Context(), h, nil)
	require.NoError(t, err)
	require.Equal(t, checker.Interrupted, NewOutcome(h, again).Verdict, "judged again from the history alone")
	text, err := os.ReadFile(filepath.Join(c.Out, ResultsFile))
	require.NoError(t, err)
	require.Contains(t, string(text), `"verdict": "interrupted"`)
	page, err := os.ReadFile(filepath.Join(c.Out, ReportFile))
	require.NoError(t, err)
	require.Contains(t, string(page), "The run was interrupted; nothing wrong was found in what took place until then.")
}

// TestAnInterruptHidesNoFinding: what a checker found until then makes the run invalid.
func TestAnInterruptHidesNoFinding(t *testing.T) {
	c := config(t, lie(start(t)))
	c.Workload = "set-aw"
	out, err := Run(interruptAt(t, &c, 300), c)
	require.ErrorContains(t, err, "interrupted after ")
	require.Equal(t, checker.Invalid, out.Verdict)
	require.NotContains(t, anomalies(out), checker.NotExercised)
}

// slow is a checker that does not end before it is told to.
type slow struct{ end chan struct{} }

func (slow) Name() string   { return "slow" }
func (slow) Proves() string { return "" }

func (s slow) Check(*history.History, checker.Options) checker.Result {
	<-s.end
	return checker.Result{Checker: "slow", Verdict: checker.Valid}
}

// TestACheckerThatTakesTooLongIsLeftOut: of a run that was interrupted, after a while and not before.
func TestACheckerThatTakesTooLongIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &history.History{Header: history.Header{Workload: "counter", Regions: []string{"eu"}}}
		all, err := Checkers(&h.Header)
		require.NoError(t, err)
		end := make(chan struct{})
		defer close(end)
		all = []checker.Checker{all[0], slow{end}, all[1]}
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, interrupt)
		began := time.Now()
		results := askAll(ctx, h, all, InterruptedTime)
		require.Equal(t, time.Minute+InterruptedTime, time.Since(began))
		require.Len(t, results, 1)
		p := &planned{Config: Config{TimeLimit: time.Hour}}
		c := p.cutShort(&driven{loaded: time.Minute, disturbed: errors.New("no such link")}, all[1:])
		require.Equal(t, "interrupted after 1m0s of 1h0m0s; not asked, or not waited for: slow, semantics; "+
			"a fault could not be brought about or undone: no such link", c.result().Note)
	})
}

// TestWhatCanNotRunStartsNothing: mistakes are told before anything is started.
func TestWhatCanNotRunStartsNothing(t *testing.T) {
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	file := filepath.Join(full, "mine")
	for says, change := range map[string]func(*Config){
		`there is no workload "nonsense": choose one of append`: func(c *Config) { c.Workload = "nonsense" },
		"nonsense":                         func(c *Config) { c.Nemesis = []string{"nonsense"} },
		"a run of 1ms: want 1s to 24h0m0s": func(c *Config) { c.TimeLimit = time.Millisecond },
		"-1 transactions a second":         func(c *Config) { c.Rate = -1 },
		"holds something, such as mine":    func(c *Config) { c.Out = full },
		"the run's folder":                 func(c *Config) { c.Out = filepath.Join(file, "below") },
	} {
		c := config(t, nil)
		c.Open = func(context.Context, string) (Cluster, error) { panic("started") }
		change(&c)
		_, err := Run(t.Context(), c)
		require.Equal(t, kv.KindInvalid, kv.KindOf(err), "%v", err)
		require.ErrorContains(t, err, says)
	}
}

// TestAClusterThatDoesNotStart: its error is told, whatever kind it is of.
func TestAClusterThatDoesNotStart(t *testing.T) {
	c := config(t, nil)
	c.Open = func(context.Context, string) (Cluster, error) { return nil, kv.Errorf(kv.KindDenied, "not root") }
	_, err := Run(t.Context(), c)
	require.Equal(t, kv.KindDenied, kv.KindOf(err))
	require.ErrorContains(t, err, "starting the cluster: not root")
}

// TestAnAbilityThatTheClusterLacks: it is closed again, and the error names the kind.
func TestAnAbilityThatTheClusterLacks(t *testing.T) {
	c := config(t, start(t))
	c.Nemesis = []string{"pause"}
	_, err := Run(t.Context(), c)
	require.Equal(t, kv.KindInvalid, kv.KindOf(err))
	require.ErrorContains(t, err, "pause")
}

// TestAClusterThatDoesNotCloseIsAnError: what may be left behind is told, beside the verdict.
func TestAClusterThatDoesNotCloseIsAnError(t *testing.T) {
	r := start(t)
	r.closes = errors.New("process 7 does not end")
	c := config(t, r)
	c.TimeLimit = time.Second
	out, err := Run(t.Context(), c)
	require.ErrorContains(t, err, "process 7 does not end")
	require.NotNil(t, out)
}

// TestJudgingStopsWhenItIsInterrupted: between two checkers.
func TestJudgingStopsWhenItIsInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	_, _, err := Judge(ctx, &history.History{Header: history.Header{Workload: "counter", Regions: []string{"eu"}}}, nil)
	require.Equal(t, kv.KindDeadline, kv.KindOf(err))
	_, _, err = Judge(t.Context(), &history.History{Header: history.Header{Workload: "mine"}}, nil)
	require.Equal(t, kv.KindInvalid, kv.KindOf(err))
}

// TestFilesThatCanNotBeWrittenAreErrors: a full or missing disk loses no verdict in silence.
func TestFilesThatCanNotBeWrittenAreErrors(t *testing.T) {
	require.ErrorContains(t, create(filepath.Join(t.TempDir(), "no", "such"), nil), "no such")
	h := &history.History{Header: history.Header{Workload: "counter"}}
	require.ErrorContains(t, create(filepath.Join(t.TempDir(), "h"), h.Write), "names no regions")
}
