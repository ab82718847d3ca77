package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/jepsen/history"
)

// Failure is something that must not have happened.
type Failure struct {
	// Check is who noticed: the name of a checker, "invariant:" and the name of one, "convergence",
	// "liveness" (something that a healed cluster does did not happen), "exercised" (the run did too
	// little), "replay" (a machine did not answer the same again), "node gave up", "nemesis" or "history"
	// (mistakes of the run itself).
	Check string
	Text  string
}

func (f Failure) String() string { return f.Check + ": " + f.Text }

// Report is what came of a seed.
type Report struct {
	Seed      uint64
	Workload  string // that was run
	Asked     string // workload that Options asked for; empty: it was drawn
	Regions   int
	Simulated time.Duration
	CPU       time.Duration // that the run took, with what judges it
	Judging   time.Duration // of that, what judging took
	Txns      int
	Records   int            // groups that were committed
	Calls     int            // of all machines, each checked
	Faults    map[string]int // by kind
	Reached   map[string]int // what the run came through; see Paths
	Failures  []Failure

	History *history.History `json:"-"`
	Plan    string           `json:"-"`
	Log     string           `json:"-"` // of all nodes, and of what befell them
	cores   []*recording
}

// Ratio is how much faster than the simulated time the run was, on one core.
func (r *Report) Ratio() float64 { return r.Simulated.Seconds() / max(r.CPU.Seconds(), 1e-9) }

// Command runs the seed again.
func (r *Report) Command() string {
	s := fmt.Sprintf("make sim SEED=%d", r.Seed)
	if r.Asked != "" {
		s += " WORKLOAD=" + r.Asked
	}
	return s
}

func (r *Report) fail(check, text string) {
	r.Failures = append(r.Failures, Failure{Check: check, Text: text})
}

// String tells the run in a line.
func (r *Report) String() string {
	return fmt.Sprintf("seed %d: %s, %d regions, %d transactions in %d groups, %d faults of %d kinds, %d steps checked; %v in %.1f s of a core, %.0f times real time",
		r.Seed, r.Workload, r.Regions, r.Txns, r.Records, sum(r.Faults), len(r.Faults), r.Calls, r.Simulated.Round(time.Second), r.CPU.Seconds(), r.Ratio())
}

// Save writes what helps to understand a run into a folder.
func (r *Report) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var failures strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintln(&failures, f)
	}
	errs := []error{
		os.WriteFile(filepath.Join(dir, "failures.txt"), []byte(failures.String()), 0o644),
		os.WriteFile(filepath.Join(dir, "plan.txt"), []byte(r.Plan), 0o644),
		os.WriteFile(filepath.Join(dir, "log.txt"), []byte(r.Log), 0o644),
	}
	if r.History != nil {
		errs = append(errs, saveHistory(filepath.Join(dir, "history.jsonl"), r.History))
	}
	for i, c := range r.cores {
		errs = append(errs, os.WriteFile(filepath.Join(dir, fmt.Sprintf("core-%02d-%s.bin", i, c.name)), c.encode(), 0o644))
	}
	return errors.Join(errs...)
}

func saveHistory(name string, h *history.History) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(h.Write(f), f.Close())
}

// Summary is what came of several seeds.
type Summary struct {
	Seeds     int
	First     uint64 // the smallest seed
	Txns      int
	Records   int
	Calls     int
	Simulated time.Duration
	CPU       time.Duration
	Reached   map[string]int // in how many seeds
	Workloads map[string]int
	Faults    map[string]int // by kind, in all seeds together
	Regions   map[int]int    // how many seeds had so many
	Failed    []*Report
}

// Add takes a seed in.
func (s *Summary) Add(r *Report) {
	if s.Reached == nil {
		s.Reached, s.Workloads, s.Faults, s.Regions, s.First = map[string]int{}, map[string]int{}, map[string]int{}, map[int]int{}, r.Seed
	}
	s.First = min(s.First, r.Seed)
	s.Regions[r.Regions]++
	for kind, n := range r.Faults {
		s.Faults[kind] += n
	}
	s.Seeds++
	s.Txns, s.Records, s.Calls = s.Txns+r.Txns, s.Records+r.Records, s.Calls+r.Calls
	s.Simulated, s.CPU = s.Simulated+r.Simulated, s.CPU+r.CPU
	for what := range r.Reached {
		s.Reached[what]++
	}
	s.Workloads[r.Workload]++
	if len(r.Failures) > 0 {
		s.Failed = append(s.Failed, r)
	}
}

// Missing lists what so many seeds should have come through and none did.
func (s *Summary) Missing() (out []string) {
	for _, p := range Paths {
		if p.Seeds <= s.Seeds && s.Reached[p.Name] == 0 {
			out = append(out, fmt.Sprintf("%q was not reached in %d seeds, and should be in %d: %s", p.Name, s.Seeds, p.Seeds, p.About))
		}
	}
	return out
}

// String tells all of it.
func (s *Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds, %d failed; %d transactions in %d groups, %d steps checked; %v simulated in %.1f s of a core, %.0f times real time\n",
		s.Seeds, len(s.Failed), s.Txns, s.Records, s.Calls, s.Simulated.Round(time.Second), s.CPU.Seconds(), s.ratio())
	for _, kind := range []struct {
		title string
		of    map[string]int
	}{{"workloads, in so many seeds", s.Workloads}, {"faults, so many in all", s.Faults}, {"reached, in so many seeds", s.Reached}} {
		fmt.Fprintf(&b, "%s:\n", kind.title)
		for _, name := range byCount(kind.of) {
			fmt.Fprintf(&b, "%7d  %s\n", kind.of[name], name)
		}
	}
	return b.String()
}

// ratio is how much faster than the simulated time the runs were, on one core.
func (s *Summary) ratio() float64 { return s.Simulated.Seconds() / max(s.CPU.Seconds(), 1e-9) }

// byCount are the names with the highest counts first.
func byCount(of map[string]int) []string {
	return slices.SortedFunc(maps.Keys(of), func(x, y string) int { return cmp.Or(of[y]-of[x], strings.Compare(x, y)) })
}

// Verdict is the last line of a run of so many seeds: whether one failed, and how to run those again.
func (s *Summary) Verdict(asked int) string {
	missing := s.Missing()
	var parts []string
	if n := len(s.Failed); n > 0 {
		var again []string
		for _, r := range s.Failed[:min(n, maxReplays)] {
			again = append(again, r.Command())
		}
		if n > maxReplays {
			again = append(again, fmt.Sprintf("and %d more", n-maxReplays))
		}
		parts = append(parts, fmt.Sprintf("%d of %s failed; replay: %s", n, seeds(asked), strings.Join(again, "; ")))
	}
	if s.Seeds < asked {
		parts = append(parts, fmt.Sprintf("%d of %s came to no end", asked-s.Seeds, seeds(asked)))
	}
	if len(missing) > 0 {
		parts = append(parts, fmt.Sprintf("%d paths that so many seeds should come through were not reached", len(missing)))
	}
	if len(parts) == 0 {
		return seeds(asked) + ", none failed"
	}
	return strings.Join(parts, "; ")
}

// maxReplays commands are told in one line.
const maxReplays = 10

func seeds(n int) string {
	if n == 1 {
		return "1 seed"
	}
	return fmt.Sprintf("%d seeds", n)
}

// Markdown is the summary as a page of the documentation. made says how it was made.
func (s *Summary) Markdown(asked int, made string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Simulation\n\n%s [Testing](../guides/testing.md#simulating-the-database-itself) says what a seed is.\n\n**%s.**\n\n", made, s.Verdict(asked))
	b.WriteString("| what | how much |\n| --- | ---: |\n")
	for _, row := range [][2]any{
		{"seeds", s.Seeds}, {"first seed", s.First}, {"simulated time", s.Simulated.Round(time.Second)}, {"transactions", s.Txns}, {"groups committed", s.Records},
		{"steps checked", s.Calls}, {"faults", sum(s.Faults)}, {"processor time", s.CPU.Round(time.Second)}, {"times real time, on one core", fmt.Sprintf("%.0f", s.ratio())},
	} {
		fmt.Fprintf(&b, "| %v | %v |\n", row[0], row[1])
	}
	b.WriteString("\n| regions | seeds |\n| ---: | ---: |\n")
	for _, n := range slices.Sorted(maps.Keys(s.Regions)) {
		fmt.Fprintf(&b, "| %d | %d |\n", n, s.Regions[n])
	}
	for _, t := range []struct {
		head string
		of   map[string]int
	}{{"workload | seeds", s.Workloads}, {"kind of fault | times", s.Faults}, {"reached | seeds", s.Reached}} {
		fmt.Fprintf(&b, "\n| %s |\n| --- | ---: |\n", t.head)
		for _, name := range byCount(t.of) {
			fmt.Fprintf(&b, "| %s | %d |\n", name, t.of[name])
		}
	}
	return b.String()
}

func sum(of map[string]int) int {
	all := 0
	for _, n := range of {
		all += n
	}
	return all
}
