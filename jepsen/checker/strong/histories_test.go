package strong

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// checkers by name, as the notes of the histories call them.
func checkers() map[string]checker.Checker {
	out := map[string]checker.Checker{"linearizable": Linearizable(""), "bounds": Bounds()}
	for l := ReadAtomic; l <= StrictSerializable; l++ {
		out[l.String()] = Transactions(l, "")
	}
	return out
}

// TestEachAnomalyIsFoundAndNamed: the notes of each history in testdata say which checkers find what,
// in which words, and which find nothing.
func TestEachAnomalyIsFoundAndNamed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 40)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".jsonl"), func(t *testing.T) {
			h, err := history.ReadFile(name)
			require.NoError(t, err)
			all := checkers()
			for _, want := range strings.Split(h.Header.Notes["want"], "; ") {
				if who, anomaly, ok := strings.Cut(want, ": "); ok {
					found(t, all[who].Check(h, checker.Options{}), anomaly, h.Header.Notes["says"])
				}
			}
			for _, who := range strings.Fields(h.Header.Notes["valid"]) {
				r := all[who].Check(h, checker.Options{})
				require.Equal(t, checker.Valid, r.Verdict, "%s: %v %s", who, r.Anomalies, r.Note)
				require.Empty(t, r.Anomalies)
			}
		})
	}
}

func found(t *testing.T, r checker.Result, anomaly, says string) {
	t.Helper()
	require.Equal(t, checker.Invalid, r.Verdict, "%s: %v", r.Checker, r.Note)
	require.Len(t, r.Anomalies, 1, "%s: %v", r.Checker, r.Anomalies)
	require.True(t, strings.HasPrefix(r.Anomalies[0].Name, anomaly), "%s: %s", r.Checker, r.Anomalies[0])
	require.Contains(t, r.Anomalies[0].Text, says)
	require.NotEmpty(t, r.Anomalies[0].Txns)
	for _, step := range r.Anomalies[0].Order {
		require.Subset(t, r.Anomalies[0].Txns, []int{step.From, step.To}, step.Why)
	}
	if os.Getenv("TELL") != "" {
		t.Log(r.Checker, r.Anomalies[0])
	}
}
