package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// Run makes a run and returns what was found. Its error says what kept it from its end; then the outcome
// holds what there is, and may be nil. When ctx ends, all calls and faults end at once, and what was recorded is
// judged for InterruptedTime at most.
func Run(ctx context.Context, c Config) (*Outcome, error) {
	p, err := c.plan()
	if err != nil {
		return nil, err
	}
	if err := newFolder(p.Out); err != nil {
		return nil, err
	}
	live := newLive(p)
	defer live.stop()
	live.step("starting")
	cluster, err := p.Open(ctx, filepath.Join(p.Out, ClusterDir))
	if err != nil {
		return nil, fmt.Errorf("starting the cluster: %w", err)
	}
	done, err := p.drive(ctx, cluster, live)
	if ctx.Err() != nil {
		live.step(stepInterrupted)
	}
	stopped := cluster.Close()
	if err != nil {
		return nil, errors.Join(err, stopped)
	}
	live.step("checking")
	if w, ok := cluster.(Watcher); ok {
		done.watched, done.failed = true, w.Failed()
	}
	out, err := p.conclude(ctx, done)
	return out, errors.Join(err, stopped)
}

// newFolder makes the folder of a run, and refuses one that holds something.
func newFolder(name string) error {
	if err := os.MkdirAll(name, 0o755); err != nil {
		return kv.Errorf(kv.KindInvalid, "the run's folder: %w", err)
	}
	there, err := os.ReadDir(name)
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "the run's folder: %w", err)
	}
	if len(there) > 0 {
		return kv.Errorf(kv.KindInvalid, "the run's folder %s holds something, such as %s: choose a new one", name, there[0].Name())
	}
	return nil
}

// driven is what was done to a cluster.
type driven struct {
	run       *workload.Run
	load      error // why the load ended early
	disturbed error // why the nemesis ended early
	finish    error // why the final reads are not complete
	loaded    time.Duration
	// interrupted says that the load or the final reads were.
	interrupted bool
	watched     bool     // the cluster notices nodes that end
	failed      error    // what the cluster noticed
	unread      []string // regions of the cluster that nobody asked
}

// drive loads the cluster under the nemesis, and reads in the end.
func (p *planned) drive(ctx context.Context, cluster Cluster, live *live) (*driven, error) {
	if err := nemesis.Possible(nemesis.KindsOf(p.schedule), cluster); err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "%w", err)
	}
	run, err := workload.Start(p.workload, workload.Config{
		Regions: p.regions(), DB: cluster.DB, Workers: p.Workers, Rate: p.Rate, Seed: p.Seed,
		CallTimeout: DefaultCallTimeout, Interrupt: ctx.Done(), Nemesis: p.nemesisName(), Observe: live.observe,
	})
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "%w", err)
	}
	d := &driven{run: run}
	if c, ok := cluster.(Partial); ok {
		d.unread = c.Unread()
	}
	live.step("load")
	began := time.Now()
	d.load, d.disturbed = p.load(ctx, run, cluster, live)
	d.loaded = elapsed(began)
	if ctx.Err() == nil {
		live.step("final reads")
		d.finish = p.finish(ctx, run, cluster)
	}
	d.interrupted = ctx.Err() != nil
	return d, nil
}

// load works until the time is over, or the run can't show anything any more, and plays the schedule
// meanwhile. Everything is healed when it returns.
func (p *planned) load(ctx context.Context, run *workload.Run, cluster Cluster, live *live) (failed, disturbed error) {
	loading, cancel := context.WithTimeout(ctx, p.TimeLimit)
	defer cancel()
	var beside sync.WaitGroup
	if w, ok := cluster.(Watcher); ok {
		beside.Go(func() {
			select {
			case <-w.Broken():
				cancel()
			case <-loading.Done():
			}
		})
	} else { // its nodes may crash, and nobody here hears of it
		defer run.Fault(history.Fault{Kind: workload.Unwatched, Targets: p.regions()})(nil)
	}
	beside.Go(func() {
		disturbed = nemesis.Run(loading, p.schedule, cluster, func(f nemesis.Fault) func(nemesis.Effects) {
			end := run.Fault(history.Fault{Kind: string(f.Kind), Targets: f.Targets})
			over := live.fault(f.String())
			return func(did nemesis.Effects) { end(did); over() }
		})
		if disturbed != nil {
			cancel()
		}
	})
	failed = run.Load(loading)
	beside.Wait()
	return failed, disturbed
}

// errNodeFailed is why a cluster that lost a node is not read in the end.
var errNodeFailed = errors.New("a node had ended by itself")

// finish reads everything for the last time.
func (p *planned) finish(ctx context.Context, run *workload.Run, cluster Cluster) error {
	if w, ok := cluster.(Watcher); ok && w.Failed() != nil {
		return errNodeFailed
	}
	ctx, cancel := context.WithTimeout(ctx, SettleTime)
	defer cancel()
	return run.Finish(ctx)
}

// elapsed is how long it took since start, for people.
func elapsed(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }
