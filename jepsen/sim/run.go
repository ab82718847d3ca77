package sim

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
)

// What a seed is at least, and by default.
const (
	DefaultMinutes  = 10
	DefaultTxns     = 2000
	MinFaults       = 5
	defaultWorkload = "mixed"
)

// Options say what to run. Everything else is drawn from the seed.
type Options struct {
	Seed     uint64
	Minutes  int    // of simulated load; 0: DefaultMinutes
	Txns     int    // at least; 0: DefaultTxns
	Workload string // empty: drawn
}

// Failure is something that must not have happened.
type Failure struct {
	// Check is who noticed: the name of a checker, "invariant:" and the name of one, "convergence",
	// "liveness" (something that a healed cluster does did not happen), "exercised" (the run did too
	// little), "node gave up", "nemesis" or "history" (mistakes of the run itself).
	Check string
	Text  string
}

func (f Failure) String() string { return f.Check + ": " + f.Text }

// Report is what came of a seed.
type Report struct {
	Seed      uint64
	Workload  string
	Regions   int
	Simulated time.Duration
	Real      time.Duration // of the run and of what judges it
	Judging   time.Duration // of that, what judging took
	Txns      int
	Records   int            // groups that were committed
	Faults    map[string]int // by kind
	Reached   map[string]int // what the run came through; see Paths
	Failures  []Failure

	History *history.History
	Plan    string
	Log     string // of all nodes, and of what befell them
	cores   []*recording
}

// Ratio is how much faster than the simulated time the run was.
func (r *Report) Ratio() float64 { return r.Simulated.Seconds() / r.Real.Seconds() }

// Run runs one seed, and judges it. It is to have the process to itself, at GOMAXPROCS 1.
func Run(t *testing.T, o Options) *Report {
	if o.Minutes == 0 {
		o.Minutes = DefaultMinutes
	}
	if o.Txns == 0 {
		o.Txns = DefaultTxns
	}
	begun := time.Now()
	out := &Report{Seed: o.Seed}
	p, err := newPlan(o)
	if err != nil {
		out.Failures = append(out.Failures, Failure{"nemesis", err.Error()})
		return out
	}
	out.Workload, out.Regions, out.Plan = p.Workload, len(p.all()), p.String()
	bubble(t, out, func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w := newWorld(ctx, p)
		w.run(out)
		out.Simulated = w.now()
		cancel()
		w.late.Wait()
		w.finish(out)
	})
	judging := time.Now()
	out.judge()
	out.Judging, out.Real = time.Since(judging), time.Since(begun)
	return out
}

// stranded is how a bubble ends in which goroutines are left that wait for nothing.
const stranded = "deadlock: main bubble goroutine has exited but blocked goroutines remain"

// bubble runs f in a bubble of time of its own. Goroutines must not outlive it, but for those that
// storage strands inside Pebble when a disk fails: a process would end then.
func bubble(t *testing.T, out *Report, f func()) {
	defer func() {
		if p := recover(); p != nil && (fmt.Sprint(p) != stranded || out.Faults[diskError] == 0) {
			panic(p)
		}
	}()
	synctest.Test(t, func(*testing.T) { f() })
}

// run is the whole life of the cluster.
func (w *world) run(out *Report) {
	defer w.shutDown()
	if !w.boot() {
		return
	}
	kind, err := workload.Find(w.plan.Workload)
	if err == nil {
		w.load, err = workload.Start(kind, w.workload())
	}
	if err != nil {
		w.fail("history", err.Error())
		return
	}
	ctx, stop := context.WithTimeout(w.ctx, w.plan.Duration)
	defer stop()
	looking, done := make(chan struct{}), make(chan struct{})
	watching, stopWatching := context.WithCancel(w.ctx)
	go func() { defer close(looking); w.watchAll(watching) }()
	go func() { defer close(done); w.trouble(ctx) }()
	if err := w.load.Load(ctx); err != nil {
		w.fail("liveness", err.Error())
	}
	<-done
	w.heal()
	w.converge()
	stopWatching()
	<-looking
	w.look()
	if out.History, err = w.load.History(); err != nil {
		w.fail("history", err.Error())
	}
}

func (w *world) workload() workload.Config {
	return workload.Config{
		Regions: w.plan.all(), DB: w.db, Workers: w.plan.Workers, Rate: float64(w.plan.Txns) / w.plan.Duration.Seconds(),
		Beat: w.plan.Beat, Seed: w.plan.Seed, Now: w.now, Nemesis: "sim",
	}
}

// heal brings every region back, and waits until all serve.
func (w *world) heal() {
	w.logf("everything is healed")
	for _, m := range w.machines {
		m.clock.set(0)
		m.clock.synchronise()
		m.calls.setBad(0)
		m.slow(0)
		w.switchOn(m.name)
	}
	for _, m := range w.machines {
		if w.await(m.name+" serves", patience, func() string { return w.serving(m) }) {
			w.reach.count("region served in the end")
		}
	}
}

// converge waits until all regions show the same, and all of it has settled.
func (w *world) converge() {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := w.load.Finish(ctx); err != nil {
		w.fail("convergence", err.Error())
		return
	}
	var first client.Digest
	for i, m := range w.machines {
		d, err := m.db.Digest(ctx, "")
		switch {
		case err != nil:
			w.fail("convergence", fmt.Sprintf("digest of %s: %v", m.name, err))
		case i == 0:
			first = d
		case d.Sum != first.Sum:
			w.fail("convergence", fmt.Sprintf("%s and %s have the digests %x and %x", w.machines[0].name, m.name, first.Sum, d.Sum))
		}
	}
	w.await("everything has settled everywhere", patience, w.unsettled)
}

// unsettled says what is exposed somewhere and not settled somewhere.
func (w *world) unsettled() string {
	for _, m := range w.machines {
		s, ok := m.status(w.ctx)
		if !ok {
			return m.name + " is down"
		}
		for _, other := range w.machines {
			if exposed, _, _, _ := other.watch.shown(); !s.Settled.Includes(exposed) {
				return fmt.Sprintf("%s has settled %s, and %s exposes %s", m.name, s.Settled, other.name, exposed)
			}
		}
	}
	return ""
}

// shutDown ends all regions in order.
func (w *world) shutDown() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, m := range w.machines {
		if err := m.stop(ctx); err != nil {
			w.fail("liveness", fmt.Sprintf("stopping %s: %v", m.name, err))
		}
	}
}

// finish takes into the report what was noted of the run.
func (w *world) finish(out *Report) {
	out.Failures = w.failures
	out.Reached = w.reach.all()
	out.Records = w.registry.size()
	out.Log = w.log.String()
	out.Faults = map[string]int{}
	for what, n := range out.Reached {
		if kind, ok := strings.CutPrefix(what, "fault "); ok {
			out.Faults[kind] = n
		}
	}
	for _, m := range w.machines {
		out.cores = append(out.cores, m.watch.cores...)
	}
}

// judge asks the checkers of the workload, and whether the run did enough.
func (r *Report) judge() {
	if r.History == nil {
		return
	}
	r.Txns = len(r.History.Txns)
	results, err := workload.Judge(r.History, checker.Options{})
	if err != nil {
		r.Failures = append(r.Failures, Failure{"history", err.Error()})
	}
	for _, res := range results {
		switch res.Verdict {
		case checker.Invalid:
			for _, a := range res.Anomalies {
				r.Failures = append(r.Failures, Failure{res.Checker, a.String()})
			}
		case checker.Unknown:
			r.Failures = append(r.Failures, Failure{res.Checker, "no verdict: " + res.Note})
		}
	}
	faults := 0
	for _, n := range r.Faults {
		faults += n
	}
	if faults < MinFaults {
		r.Failures = append(r.Failures, Failure{"exercised", fmt.Sprintf("%d faults, at least %d are needed", faults, MinFaults)})
	}
	if r.Txns < DefaultTxns && r.Simulated >= DefaultMinutes*time.Minute {
		r.Failures = append(r.Failures, Failure{"exercised", fmt.Sprintf("%d transactions, at least %d are needed", r.Txns, DefaultTxns)})
	}
}
