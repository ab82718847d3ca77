package semantics

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

var update = flag.Bool("update", false, "rewrite the expected anomalies in testdata")

// TestHistoriesByHand: every history in testdata is judged as the file beside it says: its anomalies, a
// line each, or that it is valid. Those that begin with ok are valid, all others are not.
func TestHistoriesByHand(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) {
			h, err := history.ReadFile(file)
			require.NoError(t, err)
			r := Checker{Excused: checker.Losses{Crashing: []string{"crash"}, Destroying: []string{"disk-lost"}}}.Check(h, checker.Options{})
			require.Equal(t, strings.HasPrefix(name, "ok-"), r.Verdict == checker.Valid, "%v %s", r.Anomalies, r.Note)
			requireGolden(t, strings.TrimSuffix(file, ".jsonl")+".want", told(r))
		})
	}
}

func told(r checker.Result) string {
	out := string(r.Verdict) + "\n"
	for _, a := range r.Anomalies {
		out += a.String() + "\n"
	}
	return out
}

func requireGolden(t *testing.T, file, have string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(have), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), have)
}
