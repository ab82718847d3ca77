package whole

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
)

// checkers are those that the histories in testdata, one folder each, are for.
var checkers = []checker.Checker{
	LostWrites(checker.Losses{Crashing: []string{"crash"}, Destroying: []string{"disk-lost"}}), HalfTransactions(), Convergence(), Bank(), CausalPair(), LongFork("strong"), Session(), Swaps(checker.Losses{Crashing: []string{"crash"}}),
}

var rewrite = flag.Bool("rewrite", false, "write what the checkers say into the histories in testdata; read the difference before you keep it")

// TestHistoriesAreJudgedAsTheySay: the note "expect" of each history in testdata is the verdict, or
// the first line of each anomaly that it shows; "counts" is what was counted, but for nothing; "why"
// is what the result says beside.
func TestHistoriesAreJudgedAsTheySay(t *testing.T) {
	for _, c := range checkers {
		files, err := filepath.Glob(filepath.Join("testdata", c.Name(), "*.jsonl"))
		require.NoError(t, err)
		require.NotEmpty(t, files, c.Name())
		for _, file := range files {
			t.Run(c.Name()+"/"+strings.TrimSuffix(filepath.Base(file), ".jsonl"), func(t *testing.T) {
				h, err := history.ReadFile(file)
				require.NoError(t, err)
				r := c.Check(h, checker.Options{})
				if *rewrite {
					h.Header.Notes["expect"], h.Header.Notes["counts"], h.Header.Notes["why"] = summary(r), counts(r), r.Note
					rewriteHeader(t, file, h.Header)
				}
				require.Equal(t, h.Header.Notes["expect"], summary(r))
				require.Equal(t, h.Header.Notes["counts"], counts(r))
				require.Equal(t, h.Header.Notes["why"], r.Note)
				require.Equal(t, r, c.Check(h, checker.Options{}), "a second look finds the same")
			})
		}
	}
}

// summary of a result: the verdict, or the first lines of its anomalies.
func summary(r checker.Result) string {
	if r.Verdict != checker.Invalid {
		return string(r.Verdict)
	}
	var lines []string
	for _, a := range r.Anomalies {
		first, _, _ := strings.Cut(a.String(), "\n")
		lines = append(lines, first)
	}
	return strings.Join(lines, "\n")
}

// counts of a result, but for those of nothing.
func counts(r checker.Result) string {
	var parts []string
	for _, name := range sortedKeys(r.Counts) {
		if n := r.Counts[name]; n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(parts, ", ")
}

// rewriteHeader replaces the first line of a history.
func rewriteHeader(t *testing.T, file string, to history.Header) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	var first bytes.Buffer
	e := json.NewEncoder(&first)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(to))
	require.NoError(t, os.WriteFile(file, append(first.Bytes(), rest...), 0o644))
}
