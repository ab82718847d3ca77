package runner

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/kv"
)

// matrix is one of very short runs on what open gives.
func matrix(t *testing.T, out string, open func() (Cluster, error)) *Matrix {
	return &Matrix{
		Workloads: []string{"counter", "set-aw"}, Nemeses: []string{"none", "partition-halves"}, TimeLimit: time.Hour, Seed: 5, Out: out,
		Settings: map[string]string{"load of each run": "2s"},
		Make: func(workload, nemesis string, seed uint64, out string) (Config, error) {
			c := config(t, nil)
			c.Workload, c.Nemesis, c.Seed, c.Out, c.TimeLimit = workload, []string{nemesis}, seed, out, 2*time.Second
			c.Open = func(context.Context, string) (Cluster, error) { return open() }
			return c, nil
		},
	}
}

// TestAMatrixGoesOnWhereItWasInterrupted: all pairs of a round are run once, each with a seed of its own.
func TestAMatrixGoesOnWhereItWasInterrupted(t *testing.T) {
	out := t.TempDir()
	open := func() (Cluster, error) { return start(t), nil }
	m := matrix(t, out, open)
	ctx, interrupt := context.WithCancel(t.Context())
	m.Done = func(Row) { interrupt() }
	s, err := m.Run(ctx)
	require.Equal(t, kv.KindDeadline, kv.KindOf(err))
	require.ErrorContains(t, err, "interrupted after 1 runs")
	require.Len(t, s.Rows, 1)

	m = matrix(t, out, open)
	ctx, interrupt = context.WithCancel(t.Context())
	m.Done = func(r Row) {
		if r.Number == 3 {
			interrupt()
		}
	}
	s, err = m.Run(ctx)
	require.ErrorContains(t, err, "interrupted after 4 runs")
	require.Equal(t, checker.Valid, s.Verdict(), "%+v", s.Rows)
	met := map[string]bool{}
	for i, r := range s.Rows {
		require.Equal(t, uint64(5+i), r.Seed)
		require.Positive(t, r.Txns)
		met[r.Workload+"/"+r.Nemesis] = true
		require.FileExists(t, filepath.Join(out, r.Folder, ReportFile))
		require.NoFileExists(t, filepath.Join(out, r.Folder, HistoryFile), "of valid runs")
	}
	require.Len(t, met, 4)

	m.Seed = 6
	_, err = m.Run(t.Context())
	require.ErrorContains(t, err, "with other settings")
	m.Seed, m.Settings = 5, map[string]string{"load of each run": "3s"}
	_, err = m.Run(t.Context())
	require.ErrorContains(t, err, "with other settings")
	require.NoError(t, os.WriteFile(filepath.Join(out, SummaryFile), []byte("{"), 0o600))
	_, err = m.Run(t.Context())
	require.ErrorContains(t, err, "holds no summary")
}

// TestAMatrixKeepsWhatIsNotValid: history and rows of a run that lies, and of one whose nodes do not start.
func TestAMatrixKeepsWhatIsNotValid(t *testing.T) {
	out := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	runs := 0
	m := matrix(t, out, func() (Cluster, error) {
		if runs++; runs == 1 {
			return lie(start(t)), nil
		}
		return nil, errors.New("no ports left")
	})
	m.Done = func(r Row) {
		if r.Number == 1 {
			interrupt()
		}
	}
	s, err := m.Run(ctx)
	require.ErrorContains(t, err, "interrupted after 2 runs")
	require.Equal(t, checker.Invalid, s.Verdict())
	require.Contains(t, strings.Join(s.Rows[0].Found, "\n"), "lost-writes (")
	require.FileExists(t, filepath.Join(out, s.Rows[0].Folder, HistoryFile))
	require.Contains(t, s.Rows[1].Error, "no ports left")
	var page bytes.Buffer
	require.NoError(t, s.Markdown(&page))
	require.Contains(t, page.String(), "## Not valid")
	require.Contains(t, page.String(), "- starting the cluster: no ports left")
}

// TestAMatrixKeepsWhatAnInterruptedRunFound: a run in which something was wrong is not made again, and its folder stays.
func TestAMatrixKeepsWhatAnInterruptedRunFound(t *testing.T) {
	out := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan struct{})
	close(ended)
	m := matrix(t, out, func() (Cluster, error) {
		interrupt()
		return &dying{start(t), ended}, nil
	})
	told := 0
	m.Done = func(Row) { told++ }
	s, err := m.Run(ctx)
	require.ErrorContains(t, err, "interrupted after 1 runs")
	require.Equal(t, 1, told)
	require.Equal(t, checker.Invalid, s.Rows[0].Verdict)
	require.Contains(t, s.Rows[0].Found, "nodes (1): node failed: region us ended by itself: panic: index out of range")
	require.Contains(t, s.Rows[0].Error, "interrupted")

	ctx, interrupt = context.WithCancel(t.Context())
	m = matrix(t, out, func() (Cluster, error) {
		interrupt()
		return start(t), nil
	})
	s, err = m.Run(ctx)
	require.ErrorContains(t, err, "interrupted after 1 runs", "of this one nothing is known")
	require.Equal(t, checker.Invalid, s.Verdict())
	require.FileExists(t, filepath.Join(out, s.Rows[0].Folder, HistoryFile))
}

// TestAMatrixThatCanNotRunGivesUp: what fails in every run is tried three times, and each of them is a row.
func TestAMatrixThatCanNotRunGivesUp(t *testing.T) {
	m := matrix(t, t.TempDir(), func() (Cluster, error) { return nil, kv.Errorf(kv.KindDenied, "not root") })
	s, err := m.Run(t.Context())
	require.Equal(t, kv.KindDenied, kv.KindOf(err))
	require.ErrorContains(t, err, "3 runs in a row could not be made")
	require.ErrorContains(t, err, "not root")
	require.Len(t, s.Rows, maxFailed)
	require.Equal(t, checker.Invalid, s.Verdict())
	m = matrix(t, t.TempDir(), nil)
	m.Make = func(string, string, uint64, string) (Config, error) { return Config{}, errors.New("no such seed") }
	s, err = m.Run(t.Context())
	require.ErrorContains(t, err, "no such seed")
	require.Equal(t, "no such seed", s.Rows[2].Error)
	m.Nemeses = nil
	_, err = m.Run(t.Context())
	require.ErrorContains(t, err, "needs a workload and a nemesis")
	m = matrix(t, filepath.Join("matrix_test.go", "below"), nil)
	_, err = m.Run(t.Context())
	require.Equal(t, kv.KindInvalid, kv.KindOf(err))
}

// TestAMatrixGoesOnAfterARunThatCouldNotBeMade: it counts as not valid, and so does the matrix, but the others are made.
func TestAMatrixGoesOnAfterARunThatCouldNotBeMade(t *testing.T) {
	runs := 0
	m := matrix(t, t.TempDir(), func() (Cluster, error) {
		if runs++; runs != 3 {
			return nil, kv.Errorf(kv.KindInvalid, "no ports left")
		}
		return start(t), nil
	})
	ctx, interrupt := context.WithCancel(t.Context())
	m.Done = func(r Row) {
		if r.Number == 4 {
			interrupt()
		}
	}
	s, err := m.Run(ctx)
	require.ErrorContains(t, err, "interrupted after 5 runs")
	require.Equal(t, checker.Invalid, s.Verdict())
	for i, r := range s.Rows {
		require.Equal(t, i != 2, r.Error != "")
		require.Equal(t, i == 2, r.Verdict == checker.Valid, r.Found)
	}
	require.Positive(t, s.Rows[2].Values)
	require.Contains(t, s.Totals().Weaker(), "values 0.00% were judged beside unknown outcomes")
}

// TestAMatrixGoesOnWithTheSameSettingsOnly: whatever differs is named.
func TestAMatrixGoesOnWithTheSameSettingsOnly(t *testing.T) {
	s := func(change func(*Summary)) *Summary {
		s := &Summary{Workloads: []string{"bank"}, Nemeses: []string{"none"}, Seed: 1, Settings: map[string]string{"callers": "9"}}
		change(s)
		return s
	}
	same := func(*Summary) {}
	require.Empty(t, s(same).otherThan(s(same)))
	for want, change := range map[string]func(*Summary){
		"seed 1, now 2":                    func(s *Summary) { s.Seed = 2 },
		"workloads bank, now bank,session": func(s *Summary) { s.Workloads = []string{"bank", "session"} },
		"nemeses none, now all":            func(s *Summary) { s.Nemeses = []string{"all"} },
		`callers "9", now "3"`:             func(s *Summary) { s.Settings["callers"] = "3" },
		`program "", now "another"`:        func(s *Summary) { s.Settings["program"] = "another" },
		`callers "9", now ""`:              func(s *Summary) { s.Settings = nil },
	} {
		require.Equal(t, want, s(change).otherThan(s(same)))
	}
	require.Equal(t, `callers "", now "9"`, s(same).otherThan(s(func(s *Summary) { s.Settings = nil })))
}

// TestSummariesCount: more than one verdict of a hundred unknown is a failure, fewer are none.
func TestSummariesCount(t *testing.T) {
	s := &Summary{Workloads: []string{"bank", "session"}, Nemeses: []string{"kill-one", "none"}, Seed: 3, Settings: map[string]string{"regions": "3"}}
	require.Equal(t, checker.Invalid, s.Verdict(), "no run shows nothing")
	row := func(nemesis string, v checker.Verdict, unknown int) Row {
		return Row{Workload: "bank", Nemesis: nemesis, Verdict: v, Txns: 10, OK: 8, Fail: 1, Unknown: 1, Seconds: 1800,
			Faults: map[string]int{nemesis: 2}, Effects: Effects{nemesis: {"nodes killed": 2, "more": 1}}, Checkers: map[checker.Verdict]int{checker.Valid: 100 - unknown, checker.Unknown: unknown}}
	}
	s.Rows = []Row{row("kill-one", checker.Valid, 0), row("kill-one", checker.Unknown, 1)}
	require.Equal(t, checker.Valid, s.Verdict())
	s.Rows = append(s.Rows, row("none", checker.Unknown, 3))
	require.Equal(t, checker.Unknown, s.Verdict())
	require.Equal(t, "| nemesis | bank | session |\n| --- | --- | --- |\n| kill-one | 1 valid, 1 unknown | not run |\n| none | 1 unknown | not run |\n", s.Table())
	var page bytes.Buffer
	require.NoError(t, s.Markdown(&page))
	for _, want := range []string{"Verdict: **unknown**. 3 runs in 1h30m0s, seeds 3 to 5.", "30 transactions: 24 acknowledged, 3 not applied, 3 of unknown outcome.",
		"4 unknown (1.33%)", "- regions: 3\n", "| kill-one | 4 | 2 more, 4 nodes killed |"} {
		require.True(t, strings.Contains(page.String(), want), "%s in\n%s", want, page.String())
	}
	s.LeftOut = []LeftOut{{"kill-several", "takes at least 3 regions"}}
	s.Rows[0].Values, s.Rows[0].Beside, s.Rows[0].Bounds = 200, 50, 1
	page.Reset()
	require.NoError(t, s.Markdown(&page))
	require.Contains(t, page.String(), "- left out: nemesis kill-several: takes at least 3 regions\n")
	require.Contains(t, page.String(), "of 200 values 25.00% were judged beside unknown outcomes, 0.50% by bounds alone.")
	s.Rows = append(s.Rows, row("none", checker.Invalid, 0))
	require.Equal(t, checker.Invalid, s.Verdict())
}
