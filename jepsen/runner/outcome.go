package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/report"
)

// The files of a run's folder.
const (
	HistoryFile = "history.jsonl"
	ResultsFile = "results.json"
	ReportFile  = "report.html"
	ClusterDir  = "cluster"
)

// Outcome is what became of a run. results.json holds it.
type Outcome struct {
	Workload string           `json:"workload"`
	Nemesis  string           `json:"nemesis"`
	Seed     uint64           `json:"seed"`
	Started  string           `json:"started,omitempty"`
	Verdict  checker.Verdict  `json:"verdict"` // or checker.Interrupted
	Results  []checker.Result `json:"results"`
	Txns     int              `json:"transactions"`
	OK       int              `json:"acknowledged"`
	Fail     int              `json:"failed"`
	Unknown  int              `json:"unknown"`
	Faults   map[string]int   `json:"faults"`            // by kind
	Effects  Effects          `json:"effects,omitempty"` // what they did
	Checking float64          `json:"check_seconds"`     // how long the checkers took
	Folder   string           `json:"-"`
}

// Effects are counts of what faults did, by their kind and the name of the effect.
type Effects map[string]map[string]int

// add adds what faults of a kind did.
func (e Effects) add(kind string, did map[string]int) {
	for name, n := range did {
		if e[kind] == nil {
			e[kind] = map[string]int{}
		}
		e[kind][name] += n
	}
}

// of tells what faults of a kind did.
func (e Effects) of(kind string) string {
	var parts []string
	for _, name := range sortedKeys(e[kind]) {
		parts = append(parts, fmt.Sprintf("%d %s", e[kind][name], name))
	}
	return strings.Join(parts, ", ")
}

// conclude writes the history, judges it, and writes the rest of the folder.
func (p *planned) conclude(ctx context.Context, d *driven) (*Outcome, error) {
	h, err := d.run.History()
	if err != nil {
		return nil, err
	}
	p.notes(&h.Header, d)
	if err := create(filepath.Join(p.Out, HistoryFile), h.Write); err != nil {
		return nil, err
	}
	all, err := Checkers(&h.Header)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	results := askAll(ctx, h, all, InterruptedTime)
	judged := time.Since(began).Seconds()
	proves := proofs(all)
	proves["nodes"] = nodesProve
	cut := p.cutShort(d, all[len(results):])
	if cut != nil {
		results = append(inPart(results), cut.result())
	}
	out := NewOutcome(h, append(results, d.results()...))
	out.Checking, out.Folder = judged, p.Out
	if cut == nil {
		return out, p.write(h, out, proves)
	}
	if out.Verdict != checker.Invalid {
		out.Verdict = checker.Interrupted
	}
	return out, errors.Join(p.write(h, out, proves), cut.err())
}

// results are those of what no history shows: nodes that ended by themselves, and what kept the run from its end.
func (d *driven) results() []checker.Result {
	var out []checker.Result
	if d.watched {
		out = append(out, nodes(d.failed))
	}
	if d.interrupted {
		return out
	}
	incomplete := checker.Result{Checker: "run", Verdict: checker.Invalid}
	for _, end := range []struct {
		what string
		err  error
	}{
		{"the load ended early", d.load},
		{"a fault could not be brought about or undone", d.disturbed},
		{"the final reads are not complete", d.finish},
	} {
		if end.err != nil {
			incomplete.Anomalies = append(incomplete.Anomalies, checker.Anomaly{Name: checker.NotComplete, Text: fmt.Sprintf("%s: %v", end.what, end.err)})
		}
	}
	if len(incomplete.Anomalies) > 0 {
		out = append(out, incomplete)
	}
	return out
}

// NewOutcome counts a history.
func NewOutcome(h *history.History, results []checker.Result) *Outcome {
	out := &Outcome{Workload: h.Header.Workload, Nemesis: h.Header.Nemesis, Seed: h.Header.Seed, Started: h.Header.Started,
		Verdict: checker.Worst(results), Results: results, Txns: len(h.Txns), Faults: map[string]int{}, Effects: Effects{}}
	if h.Header.Notes[noteCut] != "" && out.Verdict != checker.Invalid {
		out.Verdict = checker.Interrupted
	}
	for i := range h.Txns {
		switch h.Txns[i].Outcome {
		case history.OK:
			out.OK++
		case history.Fail:
			out.Fail++
		default:
			out.Unknown++
		}
	}
	for _, f := range h.Faults {
		out.Faults[f.Kind]++
		out.Effects.add(f.Kind, f.Effects)
	}
	return out
}

// write writes results and report.
func (p *planned) write(h *history.History, out *Outcome, proves map[string]string) error {
	err := create(filepath.Join(p.Out, ResultsFile), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(out)
	})
	return errors.Join(err, create(filepath.Join(p.Out, ReportFile), func(w io.Writer) error {
		return report.Write(w, report.Input{History: h, Results: out.Results, Verdict: out.Verdict, Proves: proves, Command: p.Command})
	}))
}

// create writes a file as a whole, or says why it could not.
func create(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	buffered := bufio.NewWriterSize(f, 1<<16)
	err = write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
