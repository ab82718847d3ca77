package strong

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

var rewrite = flag.Bool("rewrite", false, "write what the checkers count into the histories in testdata; read the difference before you keep it")

// TestEachAnomalyIsFoundAndNamed: the notes of each history in testdata say which checkers find what,
// in which words, and which find nothing; "all" says of each checker the verdict, the names of what it finds, and
// what it counts, but for nothing; "texts" are the words of all that is found.
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
			said, texts := sayings(h)
			if *rewrite {
				h.Header.Notes["all"], h.Header.Notes["texts"] = said, texts
				rewriteHeader(t, name, h.Header)
			}
			require.Equal(t, h.Header.Notes["all"], said)
			require.Equal(t, h.Header.Notes["texts"], texts)
		})
	}
}

// sayings are what all checkers say of a history, one a line, and the different texts of what they find.
func sayings(h *history.History) (said, told string) {
	all := checkers()
	var out, texts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name].Check(h, checker.Options{})
		text := name + " " + string(r.Verdict)
		for _, a := range r.Anomalies {
			text += fmt.Sprintf(", %s %v", a.Name, a.Txns)
			texts = append(texts, a.Text)
		}
		for _, count := range slices.Sorted(maps.Keys(r.Counts)) {
			if n := r.Counts[count]; n != 0 {
				text += fmt.Sprintf(", %d %s", n, count)
			}
		}
		if r.Note != "" {
			text += ": " + r.Note
		}
		out = append(out, text)
	}
	slices.Sort(texts)
	return strings.Join(out, "\n"), strings.Join(slices.Compact(texts), "\n")
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
