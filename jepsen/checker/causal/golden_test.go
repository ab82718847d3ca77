package causal

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

var rewrite = flag.Bool("rewrite", false, "write the verdicts that the checker gives into testdata")

// all of the anomalies that the checker names.
var all = []string{
	ThinAirRead, DirtyRead, IntermediateRead, FutureRead, OwnWriteNotRead, NonRepeatableRead, FracturedRead,
	ReadYourWrites, MonotonicReads, MonotonicWrites, WritesFollowReads, CausalityViolated,
}

// TestHistoriesByHand: those in testdata/valid are valid, those in testdata/invalid show what the file of
// the same name says, and every anomaly that has a name is among them.
func TestHistoriesByHand(t *testing.T) {
	shown := map[string]bool{}
	for _, verdict := range []checker.Verdict{checker.Valid, checker.Invalid} {
		files, err := filepath.Glob(filepath.Join("testdata", string(verdict), "*.jsonl"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				h, err := history.ReadFile(file)
				require.NoError(t, err)
				got := Checker{}.Check(h, checker.Options{})
				require.Equal(t, verdict, got.Verdict, "%v", got.Anomalies)
				for _, a := range got.Anomalies {
					shown[a.Name] = true
					requireOrder(t, a)
				}
				compare(t, strings.TrimSuffix(file, ".jsonl")+".want", tell(got))
			})
		}
	}
	for _, name := range all {
		require.True(t, shown[name], "no history shows: %s", name)
	}
}

// requireOrder: the order that an anomaly tells is a cycle or a chain among its transactions, and told in its text.
func requireOrder(t *testing.T, a checker.Anomaly) {
	for _, s := range a.Order {
		require.Contains(t, a.Txns, s.From)
		require.Contains(t, a.Txns, s.To)
		require.NotEmpty(t, s.Why)
	}
	if strings.Contains(a.Text, "though it had seen") {
		last := a.Order[len(a.Order)-1]
		require.True(t, slices.ContainsFunc(a.Order, func(s checker.Step) bool { return s.From == last.To }), "%v contradicts nothing", last)
	}
}

// tell writes a result as a person would read it.
func tell(r checker.Result) string {
	var b strings.Builder
	fmt.Fprintln(&b, r.Verdict)
	for _, a := range r.Anomalies {
		fmt.Fprintf(&b, "\n%s %v\n%s\n", a.Name, a.Txns, a.Text)
	}
	names := make([]string, 0, len(r.Counts))
	for name := range r.Counts {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintln(&b)
	for _, name := range names {
		if r.Counts[name] != 0 {
			fmt.Fprintf(&b, "%d %s\n", r.Counts[name], name)
		}
	}
	if r.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", r.Note)
	}
	return b.String()
}

func compare(t *testing.T, file, got string) {
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "go test -run TestHistoriesByHand -rewrite writes it anew")
}
