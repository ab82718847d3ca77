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
	faults := 0
	for _, n := range r.Faults {
		faults += n
	}
	return fmt.Sprintf("seed %d: %s, %d regions, %d transactions in %d groups, %d faults of %d kinds, %d steps checked; %v in %.1f s of a core, %.0f times real time",
		r.Seed, r.Workload, r.Regions, r.Txns, r.Records, faults, len(r.Faults), r.Calls, r.Simulated.Round(time.Second), r.CPU.Seconds(), r.Ratio())
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
	Txns      int
	Records   int
	Calls     int
	Simulated time.Duration
	CPU       time.Duration
	Reached   map[string]int // in how many seeds
	Workloads map[string]int
	Failed    []*Report
}

// Add takes a seed in.
func (s *Summary) Add(r *Report) {
	if s.Reached == nil {
		s.Reached, s.Workloads = map[string]int{}, map[string]int{}
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
		s.Seeds, len(s.Failed), s.Txns, s.Records, s.Calls, s.Simulated.Round(time.Second), s.CPU.Seconds(), s.Simulated.Seconds()/max(s.CPU.Seconds(), 1e-9))
	for _, kind := range []struct {
		title string
		of    map[string]int
	}{{"workloads", s.Workloads}, {"reached, in so many seeds", s.Reached}} {
		fmt.Fprintf(&b, "%s:\n", kind.title)
		names := slices.SortedFunc(maps.Keys(kind.of), func(x, y string) int { return cmp.Or(kind.of[y]-kind.of[x], strings.Compare(x, y)) })
		for _, name := range names {
			fmt.Fprintf(&b, "%7d  %s\n", kind.of[name], name)
		}
	}
	return b.String()
}
