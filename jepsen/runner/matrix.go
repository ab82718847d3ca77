package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/kv"
)

// Matrix is many runs: every workload under every nemesis, again and again with other seeds, until the time
// is over. What is done is kept in its folder, so that it can go on after an interruption.
type Matrix struct {
	Workloads, Nemeses []string      // a nemesis may be several names with commas between them
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
	Seed      uint64            `json:"seed"`
	Settings  map[string]string `json:"settings,omitempty"`
	Rows      []Row             `json:"runs"`
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

// Run makes runs until the time is over or ctx ends, and returns all that is known by then.
func (m *Matrix) Run(ctx context.Context) (*Summary, error) {
	if len(m.Workloads) == 0 || len(m.Nemeses) == 0 {
		return nil, kv.Errorf(kv.KindInvalid, "a matrix needs a workload and a nemesis")
	}
	s, err := m.resume()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	for time.Since(begun) < m.TimeLimit {
		row, err := m.one(ctx, len(s.Rows))
		if ctx.Err() != nil {
			return s, kv.Errorf(kv.KindDeadline, "interrupted after %d runs; the same command goes on from there", len(s.Rows))
		}
		if err != nil {
			return s, err
		}
		s.Rows = append(s.Rows, row)
		if err := m.keep(s); err != nil {
			return s, err
		}
		if m.Done != nil {
			m.Done(row)
		}
	}
	return s, nil
}

// resume reads what an earlier matrix in this folder found.
func (m *Matrix) resume() (*Summary, error) {
	s := &Summary{Workloads: m.Workloads, Nemeses: m.Nemeses, Seed: m.Seed, Settings: m.Settings}
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
	if !s.sameAs(before) {
		return nil, kv.Errorf(kv.KindInvalid, "%s is of a matrix with other settings: choose another folder, or the same settings", name)
	}
	s.Rows = before.Rows
	return s, nil
}

func (s *Summary) sameAs(o *Summary) bool {
	for name, value := range s.Settings {
		if o.Settings[name] != value {
			return false
		}
	}
	return s.Seed == o.Seed && slices.Equal(s.Workloads, o.Workloads) && slices.Equal(s.Nemeses, o.Nemeses)
}

// cell is what the n-th run runs: each round goes through all pairs, in an order of its own.
func (m *Matrix) cell(n int) (workload, nemesis string) {
	pairs := len(m.Workloads) * len(m.Nemeses)
	order := rand.New(rand.NewPCG(m.Seed, uint64(n/pairs))).Perm(pairs)
	at := order[n%pairs]
	return m.Workloads[at%len(m.Workloads)], m.Nemeses[at/len(m.Workloads)]
}

// one makes the n-th run. Its error is one that would stop all runs.
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
	if kv.KindOf(err) == kv.KindInvalid || kv.KindOf(err) == kv.KindDenied {
		return row, err // the next one would fail as well
	}
	if err != nil {
		row.Error = err.Error()
	}
	if out != nil {
		row.take(out)
	}
	if err == nil && out.Verdict == checker.Valid && !m.Keep {
		return row, errors.Join(os.Remove(filepath.Join(folder, HistoryFile)), os.RemoveAll(filepath.Join(folder, ClusterDir)))
	}
	return row, nil
}

// take takes in what became of the run.
func (r *Row) take(out *Outcome) {
	if r.Error == "" {
		r.Verdict = out.Verdict
	}
	r.Txns, r.OK, r.Fail, r.Unknown, r.Checking = out.Txns, out.OK, out.Fail, out.Unknown, out.Checking
	r.Faults, r.Effects = out.Faults, out.Effects
	for _, result := range out.Results {
		r.Checkers[result.Verdict]++
		if result.Verdict == checker.Unknown {
			r.Found = append(r.Found, result.Checker+" gave up: "+result.Note)
		}
		if len(result.Anomalies) > 0 && len(r.Found) < maxFound {
			r.Found = append(r.Found, fmt.Sprintf("%s (%d): %s", result.Checker, len(result.Anomalies), result.Anomalies[0]))
		}
	}
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
