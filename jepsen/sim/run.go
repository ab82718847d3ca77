package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// What a seed is at least, and by default.
const (
	defaultMinutes  = 10
	defaultTxns     = 2000
	minFaults       = 5
	defaultWorkload = "mixed"
)

// Options say what to run. Everything else is drawn from the seed.
type Options struct {
	Seed     uint64
	Minutes  int    // of simulated load; 0: defaultMinutes
	Txns     int    // at least; 0: defaultTxns
	Workload string // empty: drawn
}

// Run runs one seed, and judges it. It is to have the process to itself, at GOMAXPROCS 1.
func Run(t *testing.T, o Options) *Report {
	if o.Minutes == 0 {
		o.Minutes = defaultMinutes
	}
	if o.Txns == 0 {
		o.Txns = defaultTxns
	}
	cryptotest.SetGlobalRandom(t, o.Seed) // raft draws when to ask for an election
	begun := cpuTime()
	out := &Report{Seed: o.Seed, Asked: o.Workload}
	p, err := newPlan(o)
	if err != nil {
		out.fail("nemesis", err.Error())
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
	judging := cpuTime()
	out.judge(o)
	out.replay()
	out.Judging, out.CPU = cpuTime()-judging, cpuTime()-begun
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
		w.strong = slices.Contains(kind.Takes(), client.LevelStrong)
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
	load, enough := context.WithCancel(w.ctx)
	go func() { defer enough(); w.awaitEnough() }()
	if err := w.load.Load(load); err != nil {
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
		return
	}
	if wrong := w.registry.depend(out.History); wrong != "" {
		w.fail("invariant:depends", wrong)
	}
	if wrong := w.certified.acknowledged(out.History); wrong != "" {
		w.fail("invariant:decided", wrong)
	}
	w.lasting()
}

// lasting holds what every region exposes of the certifier's lane in the end against what was decided.
func (w *world) lasting() {
	for _, m := range w.machines {
		if exposed, _, _, ok := m.watch.shown(); ok {
			if wrong := w.certified.lasting(exposed.At(0)); wrong != "" {
				m.watch.fail("decided", wrong)
			}
		}
	}
}

// awaitEnough waits for the end of the load: once its time is over and enough was done. Where calls took long,
// the rest is made up for when the faults are over.
func (w *world) awaitEnough() {
	sleep(w.ctx, w.plan.Duration)
	for w.made.Load() < int64(w.plan.Least) && w.now() < 2*w.plan.Duration && sleep(w.ctx, time.Second) {
	}
}

func (w *world) workload() workload.Config {
	return workload.Config{
		Regions: w.plan.all(), DB: w.db, Workers: w.plan.Workers, Rate: float64(w.plan.Txns) / w.plan.Duration.Seconds(),
		Beat: w.plan.Beat, Seed: w.plan.Seed, Now: w.now, Nemesis: "sim",
		Observe: func(*history.Txn) { w.made.Add(1) },
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
	w.late.Wait() // what is written after the final reads began, some of them would miss
	for _, m := range w.machines {
		if w.await(m.name+" serves", patience, func() string { return w.serving(m) }) {
			w.reach.count("region served in the end")
		}
	}
	for _, m := range w.machines {
		w.await("strong transactions in "+m.name, patience, func() string { return w.strongly(m) })
	}
}

// strongly says why a region does not answer at level strong; "": it does.
func (w *world) strongly(m *machine) string {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	key := client.Object{Bucket: kv.DefaultBucket, Key: "nobody's", Type: client.TypeRegisterLWW}
	if _, err := m.db.Session().Do(ctx, nil, []client.Query{{Object: key}}, client.Strong()); err != nil {
		return err.Error()
	}
	return ""
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
func (r *Report) judge(o Options) {
	if r.History == nil {
		return
	}
	r.Txns = len(r.History.Txns)
	results, err := workload.Judge(r.History, checker.Options{})
	if err != nil {
		r.fail("history", err.Error())
	}
	for _, res := range results {
		switch res.Verdict {
		case checker.Invalid:
			for _, a := range res.Anomalies {
				r.fail(res.Checker, a.String())
			}
		case checker.Unknown:
			r.fail(res.Checker, "no verdict: "+res.Note)
		}
	}
	r.enough(o)
}

// enough checks that the run did something: as much of a seed's least as it was of a seed's time.
func (r *Report) enough(o Options) {
	faults := 0
	for _, n := range r.Faults {
		faults += n
	}
	if least := minFaults * o.Minutes / defaultMinutes; faults < least {
		r.fail("exercised", fmt.Sprintf("%d faults, at least %d are needed", faults, least))
	}
	if r.Txns < o.Txns {
		r.fail("exercised", fmt.Sprintf("%d transactions, at least %d are needed", r.Txns, o.Txns))
	}
}

// replay has a fresh machine answer each call of each node's again.
func (r *Report) replay() {
	for _, c := range r.cores {
		r.Calls += c.calls
		if err := c.replay(); err != nil {
			r.fail("replay", err.Error())
		}
	}
	if r.Calls == 0 {
		r.fail("exercised", "no step of any node was checked")
	}
}
