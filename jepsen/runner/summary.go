package runner

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
)

// MaxUnknown is the share of verdicts that may be unknown before a matrix fails.
const MaxUnknown = 0.01

// Totals are the figures of all runs together.
type Totals struct {
	Runs, Txns, OK, Fail, Unknown int
	Values, Beside, Bounds        int                     // as those of rows
	Faults                        map[string]int          // by kind
	Effects                       Effects                 // what they did
	Verdicts                      map[checker.Verdict]int // of runs
	Checkers                      map[checker.Verdict]int // of single checkers
	Hours                         float64
}

// Totals adds all runs up.
func (s *Summary) Totals() Totals {
	t := Totals{Runs: len(s.Rows), Faults: map[string]int{}, Effects: Effects{}, Verdicts: map[checker.Verdict]int{}, Checkers: map[checker.Verdict]int{}}
	for i := range s.Rows {
		r := &s.Rows[i]
		t.Txns, t.OK, t.Fail, t.Unknown = t.Txns+r.Txns, t.OK+r.OK, t.Fail+r.Fail, t.Unknown+r.Unknown
		t.Values, t.Beside, t.Bounds = t.Values+r.Values, t.Beside+r.Beside, t.Bounds+r.Bounds
		t.Hours += r.Seconds / 3600
		t.Verdicts[r.Verdict]++
		for kind, n := range r.Faults {
			t.Faults[kind] += n
			t.Effects.add(kind, r.Effects[kind])
		}
		for verdict, n := range r.Checkers {
			t.Checkers[verdict] += n
		}
	}
	return t
}

// Lasted is how long all runs took together, for people.
func (t Totals) Lasted() time.Duration {
	return time.Duration(t.Hours * float64(time.Hour)).Round(time.Second)
}

// UnknownShare is how much of all verdicts of checkers is unknown.
func (t Totals) UnknownShare() float64 {
	all := 0
	for _, n := range t.Checkers {
		all += n
	}
	if all == 0 {
		return 0
	}
	return float64(t.Checkers[checker.Unknown]) / float64(all)
}

// Weaker says which share of the values was judged less strictly than by the specification alone.
func (t Totals) Weaker() string {
	of := 100 / max(float64(t.Values), 1)
	return fmt.Sprintf("of %d values %.2f%% were judged beside unknown outcomes, %.2f%% by bounds alone", t.Values, float64(t.Beside)*of, float64(t.Bounds)*of)
}

// Verdict of the matrix: unknown only if more than MaxUnknown of the verdicts are.
func (s *Summary) Verdict() checker.Verdict {
	t := s.Totals()
	switch {
	case t.Verdicts[checker.Invalid] > 0 || t.Runs == 0:
		return checker.Invalid
	case t.UnknownShare() > MaxUnknown:
		return checker.Unknown
	}
	return checker.Valid
}

// Table is a table of workloads and nemeses as Markdown: how many runs were valid, and how many not.
func (s *Summary) Table() string {
	var b strings.Builder
	b.WriteString("| nemesis |")
	for _, w := range s.Workloads {
		b.WriteString(" " + w + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(s.Workloads)) + "\n")
	for _, n := range s.Nemeses {
		b.WriteString("| " + n + " |")
		for _, w := range s.Workloads {
			b.WriteString(" " + s.cell(w, n) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (s *Summary) cell(workload, nemesis string) string {
	n := map[checker.Verdict]int{}
	for i := range s.Rows {
		if r := &s.Rows[i]; r.Workload == workload && r.Nemesis == nemesis {
			n[r.Verdict]++
		}
	}
	var parts []string
	for _, v := range []struct {
		verdict checker.Verdict
		words   string
	}{{checker.Valid, "%d valid"}, {checker.Invalid, "**%d invalid**"}, {checker.Unknown, "%d unknown"}} {
		if n[v.verdict] > 0 {
			parts = append(parts, fmt.Sprintf(v.words, n[v.verdict]))
		}
	}
	if parts == nil {
		return "not run"
	}
	return strings.Join(parts, ", ")
}

// Markdown writes the summary as a page.
func (s *Summary) Markdown(w io.Writer) error {
	t := s.Totals()
	var b strings.Builder
	fmt.Fprintf(&b, "# Runs of workloads under nemeses\n\nVerdict: **%s**. %d runs in %s, seeds %d to %d.\n\n",
		s.Verdict(), t.Runs, t.Lasted(), s.Seed, s.Seed+uint64(max(t.Runs-1, 0)))
	fmt.Fprintf(&b, "%d transactions: %d acknowledged, %d not applied, %d of unknown outcome. ", t.Txns, t.OK, t.Fail, t.Unknown)
	fmt.Fprintf(&b, "Of %d verdicts of single checkers %d are valid, %d invalid, %d unknown (%.2f%%); ", t.Checkers[checker.Valid]+
		t.Checkers[checker.Invalid]+t.Checkers[checker.Unknown], t.Checkers[checker.Valid], t.Checkers[checker.Invalid], t.Checkers[checker.Unknown], 100*t.UnknownShare())
	b.WriteString(t.Weaker() + ".\n\n")
	for _, name := range sortedKeys(s.Settings) {
		fmt.Fprintf(&b, "- %s: %s\n", name, s.Settings[name])
	}
	for _, l := range s.LeftOut {
		fmt.Fprintf(&b, "- left out: nemesis %s: %s\n", l.Nemesis, oneLine(l.Why))
	}
	b.WriteString("\n" + s.Table() + "\n## Faults\n\n| kind | times | what they did |\n| --- | --- | --- |\n")
	for _, kind := range sortedKeys(t.Faults) {
		fmt.Fprintf(&b, "| %s | %d | %s |\n", kind, t.Faults[kind], t.Effects.of(kind))
	}
	b.WriteString(s.notValid())
	_, err := io.WriteString(w, b.String())
	return err
}

// notValid lists the runs that are not.
func (s *Summary) notValid() string {
	var b strings.Builder
	for i := range s.Rows {
		r := &s.Rows[i]
		if r.Verdict == checker.Valid {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n## Not valid\n")
		}
		fmt.Fprintf(&b, "\n%s under %s, seed %d (%s): %s\n", r.Workload, r.Nemesis, r.Seed, r.Folder, r.Verdict)
		if r.Error != "" {
			fmt.Fprintf(&b, "\n- %s\n", oneLine(r.Error))
		}
		for _, text := range r.Found {
			fmt.Fprintf(&b, "- %s\n", oneLine(text))
		}
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
