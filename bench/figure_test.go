package bench

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGoalsDecideVerdicts(t *testing.T) {
	for _, c := range []struct {
		goal        Goal
		ours, ratio float64
		text, want  string
	}{
		{Goal{}, 1, 0, "reported", "-"},
		{atLeast(0.5), 0, 0.5, "ratio >= 0.50", "met"},
		{atLeast(0.5), 9, 0.49, "ratio >= 0.50", "missed"},
		{atMost(1.2), 0, 1.2, "ratio <= 1.20", "met"},
		{atMost(1.2), 0, 1.21, "ratio <= 1.20", "missed"},
		{atMostOurs(48), 48, math.NaN(), "ours <= 48", "met"},
		{atMostOurs(48), 49, 0, "ours <= 48", "missed"},
		{Goal{Bound: 3, Of: OfOurs}, 3, 0, "ours >= 3", "met"},
	} {
		f := Figure{Ours: c.ours, Ratio: c.ratio, Goal: c.goal}
		require.Equal(t, c.text, c.goal.String())
		require.Equal(t, c.want, f.Verdict())
		require.Equal(t, c.want != "missed", f.Met())
	}
	f := Figure{Err: errors.New("x")}
	require.False(t, f.Met())
	require.Equal(t, "failed", f.Verdict())
}

func TestNumbersAreReadable(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 7: "7", -7: "-7", 0.5: "0.50", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234.5: "1,235", -1234567: "-1,234,567", 999: "999",
	} {
		require.Equal(t, want, number(v))
	}
	require.Equal(t, "-", number(math.NaN()))
}

func TestMedian(t *testing.T) {
	require.Equal(t, 2.0, median([]float64{3, 1, 2}))
	require.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	require.True(t, math.IsNaN(median(nil)))
}

func sampleFigures() []Figure {
	return []Figure{
		{Benchmark: "adds", What: "adds <fast> | a", Unit: "adds/s", Ours: 50_000, Limit: 100_000, Ratio: 0.5, Low: 0.4, High: 0.6, Rounds: 5,
			Goal: atLeast(0.5), Note: "bare Pebble"},
		{Benchmark: "adds", What: "more adds", Unit: "adds/s", Ours: 1, Limit: 2, Ratio: 0.5, Low: 0.5, High: 0.5, Rounds: 5, Goal: atLeast(0.75), Note: "bare Pebble"},
		alone("bytes", "bytes", 30, Goal{}, ""),
		{Benchmark: "broken", Err: errors.New("no\ndisk"), Ours: math.NaN(), Limit: math.NaN(), Ratio: math.NaN()},
	}
}

func TestTable(t *testing.T) {
	m := Machine{Command: "make bench", Commit: "abc", Date: time.Unix(0, 0), Cores: 2, CPU: "Z80", System: "linux/z80", Go: "go1"}
	require.Equal(t, strings.TrimPrefix(`
`+"`make bench`"+` on 1970-01-01: commit abc, linux/z80, 2 cores (Z80), go1.

| figure | ours | limit | unit | ratio | rounds | goal | |
| --- | ---: | ---: | --- | ---: | ---: | --- | --- |
| adds &lt;fast> \| a [1] | 50,000 | 100,000 | adds/s | 0.50 (0.40 to 0.60) | 5 | ratio >= 0.50 | met |
| more adds [1] | 1 | 2 | adds/s | 0.50 | 5 | ratio >= 0.75 | missed |
| bytes | 30 | - | bytes | - | 1 | reported | - |
| broken [2] | - | - |  | - | 0 | reported | failed |

1. bare Pebble
2. failed: no disk
`, "\n"), Table(m, sampleFigures()))
}

func TestTableGoesBetweenTheMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	require.ErrorContains(t, WriteTable(path, "t"), "doc.md")
	for _, bad := range []string{"no marks", beginMark, endMark + beginMark} {
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o644))
		require.ErrorContains(t, WriteTable(path, "t"), "between")
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, bad, string(kept))
	}
	require.NoError(t, os.WriteFile(path, []byte("before\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o644))
	for range 2 {
		require.NoError(t, WriteTable(path, "\nnew\n"))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "before\n"+beginMark+"\n\nnew\n\n"+endMark+"\nafter\n", string(got))
}

func TestMachineIsDescribed(t *testing.T) {
	m := ThisMachine("make bench", time.Unix(0, 0))
	require.Positive(t, m.Cores)
	require.NotEmpty(t, m.Commit)
	require.NotEmpty(t, m.CPU)
}

func TestLogLinesTellTheFigure(t *testing.T) {
	fs := sampleFigures()
	require.Contains(t, fs[0].line(), "50,000 adds/s, limit 100,000, ratio 0.50 (0.40 to 0.60), ratio >= 0.50: met")
	require.Contains(t, fs[3].line(), "broken: failed")
}
