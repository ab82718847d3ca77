package workload

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/semantics"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
)

// TestWorkloadsAreFoundByName, and who asks for another one is told the names.
func TestWorkloadsAreFoundByName(t *testing.T) {
	all := All()
	require.True(t, slices.IsSortedFunc(all, func(a, b Workload) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	}))
	for _, w := range all {
		found, err := Find(w.Name)
		require.NoError(t, err)
		require.Equal(t, w.About, found.About)
		require.NotEmpty(t, w.About)
	}
	_, err := Find("chaos")
	require.ErrorContains(t, err, `no workload "chaos": choose one of append, bank, bounded, causal, counter, durability, flags,`)
	_, err = Judge(&history.History{Header: history.Header{Workload: "chaos"}}, checker.Options{})
	require.ErrorContains(t, err, `no workload "chaos"`)
}

// TestARunThatDidNothingIsInvalid, whatever it was asked for, and whoever wrote its history: each minimum is told, by
// the checker whose it is.
func TestARunThatDidNothingIsInvalid(t *testing.T) {
	for _, w := range All() {
		for _, asked := range []string{"0", "100000", "many", "-5"} {
			h := &history.History{Header: history.Header{
				Version: history.Version, Workload: w.Name, Regions: []string{"eu", "us"}, Notes: map[string]string{NoteAsked: asked},
			}}
			results, err := Judge(h, checker.Options{Anomalies: 100})
			require.NoError(t, err)
			require.Equal(t, checker.Invalid, checker.Worst(results))
			require.Equal(t, exercised, results[len(results)-1].Checker)
			told := map[string]bool{}
			for _, r := range results {
				for _, a := range r.Anomalies {
					require.Equal(t, checker.NotExercised, a.Name)
					told[r.Checker+": "+a.Text] = true
				}
			}
			for name, least := range w.minimum(h) {
				for count, n := range least {
					requireTold(t, told, fmt.Sprintf("%s: 0 %s, a verdict that means something needs %d or more", name, count, n))
				}
			}
			if asked == "100000" {
				requireTold(t, told, "exercised: 0 transactions, a verdict that means something needs 30000 or more")
				requireTold(t, told, "(100000 transactions were asked for; if the machine can't make so many, ask for fewer a second with --rate)")
			} else {
				requireTold(t, told, "exercised: 0 transactions, a verdict that means something needs 50 or more")
			}
		}
	}
}

// requireTold: one of the texts contains another.
func requireTold(t *testing.T, told map[string]bool, text string) {
	t.Helper()
	for have := range told {
		if strings.Contains(have, text) {
			return
		}
	}
	t.Errorf("nothing tells %q of %v", text, told)
}

// TestTheOwnCheckersHaveMinimums: what a workload is for must have been looked at.
func TestTheOwnCheckersHaveMinimums(t *testing.T) {
	for name, of := range map[string]string{"bank": "bank", "causal": "causal-pair", "long-fork": "long-fork", "session": "session"} {
		h := &history.History{Header: history.Header{Version: history.Version, Workload: name, Regions: []string{"eu"}}}
		results, err := Judge(h, checker.Options{})
		require.NoError(t, err)
		at := slices.IndexFunc(results, func(r checker.Result) bool { return r.Checker == of })
		require.Equal(t, checker.Invalid, results[at].Verdict, name)
		names := map[string]bool{}
		for _, a := range results[at].Anomalies {
			names[a.Name] = true
		}
		require.True(t, names["not exercised"], name)
	}
}

// TestCheckersAreListed: in the order of their results.
func TestCheckersAreListed(t *testing.T) {
	h := &history.History{Header: history.Header{Version: history.Version, Workload: "bank", Regions: []string{"eu"}}}
	list, err := Checkers(&h.Header)
	require.NoError(t, err)
	results, err := Judge(h, checker.Options{})
	require.NoError(t, err)
	for i, c := range list {
		require.Equal(t, c.Name(), results[i].Checker)
		require.NotEmpty(t, c.Proves())
	}
}

// TestWhatExcusesALoss: the kinds in which nodes end excuse what was in memory in their region, and one whose
// disk is gone for good everything there.
func TestWhatExcusesALoss(t *testing.T) {
	crashing := []string{
		"kill-one", "kill-several", "kill-all", "restart-loop", "disk-full", DiskCopied, DiskError, DiskLost, "destroy-region", Unwatched,
	}
	kinds := slices.Clone(crashing)
	for _, e := range nemesis.List() {
		kinds = append(kinds, e.Name)
	}
	for _, kind := range kinds {
		h := &history.History{Faults: []history.Fault{{Kind: kind, Targets: []string{"eu"}, Start: 50, End: 60}}}
		lost := Excused().In(h)
		for _, at := range []history.Txn{
			{Region: "eu", Start: 10, Durability: checker.InMemory}, {Region: "us", Start: 10, Durability: checker.InMemory},
			{Region: "eu", Start: 70, Durability: checker.InMemory}, {Region: "eu", Start: 10, Durability: "local"},
		} {
			before := at.Region == "eu" && at.Start < 60
			want := before && slices.Contains(crashing, kind) && (at.Durability == checker.InMemory || kind == DiskLost || kind == "destroy-region")
			require.Equal(t, want, lost.Excuses(&at), "%s: %+v", kind, at)
		}
	}
}

// TestNothingNeedBeCertainWhereADiskWasDestroyed: what was written there before the loss may be gone as well.
func TestNothingNeedBeCertainWhereADiskWasDestroyed(t *testing.T) {
	w, err := Find("bank")
	require.NoError(t, err)
	h := &history.History{Header: history.Header{Regions: []string{"eu"}, Notes: map[string]string{NoteAsked: "1000"}}}
	h.Txns = []history.Txn{{Start: 0}, {Start: 1000}}
	require.Positive(t, w.minimum(h)[semanticsName][semantics.CountInFull])
	h.Faults = []history.Fault{{Kind: "destroy-region", Targets: []string{"eu"}, Start: 900, End: 950}}
	require.Zero(t, w.minimum(h)[semanticsName][semantics.CountInFull])
	require.Positive(t, w.minimum(h)[semanticsName][semantics.CountJudged])
}
