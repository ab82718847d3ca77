package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/semantics"
	"github.com/theriac-db/theriac/kv"
)

// Matrix is many runs: every workload under every nemesis, again and again with other seeds, until the time
// is over. What is done is kept in its folder, so that it can go on after an interruption.
type Matrix struct {
	Workloads, Nemeses []string      // a nemesis may be several names with commas between them
	LeftOut            []LeftOut     // nemeses that do not fit; for the summary
	TimeLimit          time.Duration // no run begins after it
	Seed               uint64        // run n has seed Seed+n
	Out                string
	Settings           map[string]string // what else a run depends on: who goes on must have the same
	Keep               bool              // of valid runs, too, history and logs
	// Make makes the configuration of a run.
	Make func(workload, nemesis string, seed uint64, out string) (Config, error)
	// Done is told of each run that ended. May be nil.
	Done func(Row)
}

// Summary is what a matrix found. summary.json holds it.
type Summary struct {
	Workloads []string          `json:"workloads"`
	Nemeses   []string          `json:"nemeses"`
	LeftOut   []LeftOut         `json:"left_out,omitempty"`
	Seed      uint64            `json:"seed"`
	Settings  map[string]string `json:"settings,omitempty"`
	Rows      []Row             `json:"runs"`
}

// LeftOut is a nemesis that nobody named and that does not fit.
type LeftOut struct {
	Nemesis string `json:"nemesis"`
	Why     string `json:"why"`
}

// Row is one run.
type Row struct {
	Number   int                     `json:"number"` // from 0
	Seed     uint64                  `json:"seed"`
	Workload string                  `json:"workload"`
	Nemesis  string                  `json:"nemesis"`
	Verdict  checker.Verdict         `json:"verdict"` // invalid also where Error is set
	Error    string                  `json:"error,omitempty"`
	Checkers map[checker.Verdict]int `json:"checkers"`        // verdicts of single checkers
	Found    []string                `json:"found,omitempty"` // anomalies, and why a checker gave up
	Txns     int                     `json:"transactions"`
	OK       int                     `json:"acknowledged"`
	Fail     int                     `json:"failed"`
	Unknown  int                     `json:"unknown"`
	Values   int                     `json:"values"`                          // that semantics looked at
	Beside   int                     `json:"values_beside_unknown,omitempty"` // judged beside unknown outcomes
	Bounds   int                     `json:"values_by_bounds,omitempty"`      // judged by bounds alone
	Faults   map[string]int          `json:"faults,omitempty"`
	Effects  Effects                 `json:"effects,omitempty"`
	Seconds  float64                 `json:"seconds"` // all of the run
	Checking float64                 `json:"check_seconds"`
	Folder   string                  `json:"folder"`
}

// SummaryFile is where a matrix keeps what it found.
const SummaryFile = "summary.json"

// maxFound anomalies of a run are noted in a row, one of each checker.
const maxFound = 20

// maxFailed is how many runs in a row may come to no verdict before a matrix gives up.
const maxFailed = 3

// Run makes runs until the time is over or ctx ends, and returns all that is known by then.
func (m *Matrix) Run(ctx context.Context) (*Summary, error) {
	if len(m.Workloads) == 0 || len(m.Nemeses) == 0 {
		return nil, kv.Errorf(kv.KindInvalid, "a matrix needs a workload and a nemesis")
	}
	s, err := m.resume()
	if err != nil {
		return nil, err
	}
	begun, failed := time.Now(), 0
	for time.Since(begun) < m.TimeLimit {
		row, err := m.one(ctx, len(s.Rows))
		interrupted := ctx.Err() != nil
		if interrupted && !row.foundWrong() { // else the run that is made again would hide what was found
			return s, cutAfter(s)
		}
		if failed++; err == nil {
			failed = 0
		} else {
			row.Verdict, row.Error = checker.Invalid, err.Error()
		}
		s.Rows = append(s.Rows, row)
		if err := m.keep(s); err != nil {
			return s, err
		}
		if m.Done != nil {
			m.Done(row)
		}
		if interrupted {
			return s, cutAfter(s)
		}
		if failed == maxFailed {
			return s, fmt.Errorf("%d runs in a row could not be made, so the next ones hardly can; the last one: %w", failed, err)
		}
	}
	return s, nil
}

// cutAfter is the error of a matrix that was interrupted.
func cutAfter(s *Summary) error {
	return kv.Errorf(kv.KindDeadline, "interrupted after %d runs; the same command goes on from there", len(s.Rows))
}

// resume reads what an earlier matrix in this folder found.
func (m *Matrix) resume() (*Summary, error) {
	s := &Summary{Workloads: m.Workloads, Nemeses: m.Nemeses, LeftOut: m.LeftOut, Seed: m.Seed, Settings: m.Settings}
	if err := os.MkdirAll(m.Out, 0o755); err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "the matrix's folder: %w", err)
	}
	name := filepath.Join(m.Out, SummaryFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was found before: %w", err)
	}
	before := new(Summary)
	if err := json.Unmarshal(text, before); err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "%s holds no summary: %w; choose another folder", name, err)
	}
	if other := s.otherThan(before); other != "" {
		return nil, kv.Errorf(kv.KindInvalid, "%s is of a matrix with other settings (%s): choose another folder, or the same settings", name, other)
	}
	s.Rows = before.Rows
	return s, nil
}

// otherThan names a setting in which a summary differs from an earlier one; nothing if there is none.
func (s *Summary) otherThan(before *Summary) string {
	switch {
	case s.Seed != before.Seed:
		return fmt.Sprintf("seed %d, now %d", before.Seed, s.Seed)
	case !slices.Equal(s.Workloads, before.Workloads):
		return fmt.Sprintf("workloads %s, now %s", strings.Join(before.Workloads, ","), strings.Join(s.Workloads, ","))
	case !slices.Equal(s.Nemeses, before.Nemeses):
		return fmt.Sprintf("nemeses %s, now %s", strings.Join(before.Nemeses, ","), strings.Join(s.Nemeses, ","))
	}
	both := maps.Clone(before.Settings)
	if both == nil {
		both = map[string]string{}
	}
	maps.Copy(both, s.Settings)
	for _, name := range sortedKeys(both) {
		if was, is := before.Settings[name], s.Settings[name]; was != is {
			return fmt.Sprintf("%s %q, now %q", name, was, is)
		}
	}
	return ""
}

// cell is what the n-th run runs: each round goes through all pairs, in an order of its own.
func (m *Matrix) cell(n int) (workload, nemesis string) {
	pairs := len(m.Workloads) * len(m.Nemeses)
	order := rand.New(rand.NewPCG(m.Seed, uint64(n/pairs))).Perm(pairs)
	at := order[n%pairs]
	return m.Workloads[at%len(m.Workloads)], m.Nemeses[at/len(m.Workloads)]
}

// one makes the n-th run. Its error is why it came to no verdict.
func (m *Matrix) one(ctx context.Context, n int) (Row, error) {
	workload, nemesis := m.cell(n)
	row := Row{Number: n, Seed: m.Seed + uint64(n), Workload: workload, Nemesis: nemesis, Verdict: checker.Invalid,
		Folder: fmt.Sprintf("run-%04d", n), Checkers: map[checker.Verdict]int{}}
	folder := filepath.Join(m.Out, row.Folder)
	if err := os.RemoveAll(folder); err != nil { // of a run that was interrupted
		return row, fmt.Errorf("a run's folder: %w", err)
	}
	config, err := m.Make(workload, nemesis, row.Seed, folder)
	if err != nil {
		return row, err
	}
	began := time.Now()
	out, err := Run(ctx, config)
	row.Seconds = time.Since(began).Seconds()
	if out != nil {
		row.take(out)
	}
	if err == nil && out.Verdict == checker.Valid && !m.Keep {
		err = errors.Join(os.Remove(filepath.Join(folder, HistoryFile)), os.RemoveAll(filepath.Join(folder, ClusterDir)))
	}
	return row, err
}

// foundWrong reports whether a checker found what must not be.
func (r *Row) foundWrong() bool { return r.Checkers[checker.Invalid] > 0 }

// take takes in what became of the run.
func (r *Row) take(out *Outcome) {
	r.Verdict = out.Verdict
	r.Txns, r.OK, r.Fail, r.Unknown, r.Checking = out.Txns, out.OK, out.Fail, out.Unknown, out.Checking
	r.Faults, r.Effects = out.Faults, out.Effects
	for _, result := range out.Results {
		r.Checkers[result.Verdict]++
		if result.Checker == (semantics.Checker{}).Name() {
			r.takeValues(result.Counts)
		}
		if result.Verdict == checker.Unknown {
			r.Found = append(r.Found, result.Checker+" gave up: "+result.Note)
		}
		if len(result.Anomalies) > 0 && len(r.Found) < maxFound {
			r.Found = append(r.Found, fmt.Sprintf("%s (%d): %s", result.Checker, len(result.Anomalies), result.Anomalies[0]))
		}
	}
}

// takeValues takes in how strictly values were judged.
func (r *Row) takeValues(counts map[string]int) {
	bounds := counts[semantics.CountBounds]
	r.Values, r.Beside, r.Bounds = counts[semantics.CountValues], counts[semantics.CountBeside]-bounds, bounds+counts[semantics.CountUnseen]
}

// keep writes the summary in one step, so that none is ever half.
func (m *Matrix) keep(s *Summary) error {
	name := filepath.Join(m.Out, SummaryFile)
	err := create(name+".new", func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(s)
	})
	if err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("keeping what was found: %w", err)
	}
	return nil
}
