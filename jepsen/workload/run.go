package workload

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/jepsen/history"
)

// Notes of the header that Judge needs.
const (
	NoteAsked   = "asked"   // how many transactions the run was asked for
	NoteWorkers = "workers" // how many callers there were
)

// Run is one run of a workload.
type Run struct {
	workload Workload
	config   Config
	record   recorder
	shared
	left   atomic.Int64 // transactions that may still begin
	loaded atomic.Int64 // nanoseconds in which transactions began
	last   atomic.Int64 // reading of now

	known   sync.Mutex
	numbers map[string]int // region to its number in vectors
}

// Start begins a run. It makes no call yet.
func Start(w Workload, c Config) (*Run, error) {
	if w.source == nil {
		return nil, fmt.Errorf("workload: %q is none: take one from Find or All", w.Name)
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	r := &Run{workload: w, config: c, numbers: map[string]int{}}
	r.left.Store(math.MaxInt64)
	if c.Txns > 0 {
		r.left.Store(int64(c.Txns))
	}
	return r, nil
}

// Load has the workers make transactions until ctx ends, or Config.Txns are made, and returns when
// those under way have ended, each by its own deadline, or by Config.Interrupt.
func (r *Run) Load(ctx context.Context) error {
	if err := r.learn(ctx); err != nil {
		return err
	}
	if err := r.served(ctx); err != nil {
		return err
	}
	begun := r.config.Now()
	var ended atomic.Int64 // when no transaction began any more; calls go on after it
	stop := context.AfterFunc(ctx, func() { ended.Store(int64(r.config.Now())) })
	defer stop()
	var workers, beside sync.WaitGroup
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if r.config.Interrupt != nil {
		beside.Go(func() { cancelAt(r.config.Interrupt, calls, cancel) })
	}
	for i := range r.config.Workers {
		w := r.newWorker(i)
		workers.Go(func() { w.work(ctx, calls) })
	}
	workers.Wait()
	cancel()
	beside.Wait()
	r.loaded.Add(cmp.Or(ended.Load(), int64(r.config.Now())) - int64(begun))
	return nil
}

// cancelAt cancels ctx when a channel is closed, unless it has ended before.
func cancelAt(closed <-chan struct{}, ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-closed:
		cancel()
	case <-ctx.Done():
	}
}

// another takes one of the transactions that are left.
func (r *Run) another() bool { return r.left.Add(-1) >= 0 }

// now reads the run's clock. Each reading is above the one before, also where time stands still in between,
// as it does in a simulation: so a history tells what came first.
func (r *Run) now() int64 {
	for {
		last := r.last.Load()
		if now := max(int64(r.config.Now()), last+1); r.last.CompareAndSwap(last, now) {
			return now
		}
	}
}

// Fault notes that a fault begins now, whatever f.Start and f.End say, and returns what notes its end, with
// what it did as far as anybody counted.
func (r *Run) Fault(f history.Fault) (end func(effects map[string]int)) {
	return r.record.fault(f, r.now)
}

// learnPause is how long to wait before regions that did not answer are asked again.
const learnPause = 100 * time.Millisecond

// learn asks for the numbers of the regions until one has answered or ctx ends.
func (r *Run) learn(ctx context.Context) error {
	for {
		var failed error
		for _, name := range r.config.Regions {
			if failed = r.learnFrom(ctx, name); failed == nil {
				return nil
			}
		}
		if !pause(ctx, learnPause) {
			return fmt.Errorf("workload: no region of %q answers: %w", r.config.Regions, failed)
		}
	}
}

// levelWait bounds how long a run waits for the levels that its workload asks for: a cluster that has just started may
// be without a leader.
const levelWait = 20 * time.Second

// served waits until some region serves the levels that the workload asks for, as far as regions tell. A run in which none
// ever did would only show that calls are refused.
func (r *Run) served(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, levelWait)
	defer cancel()
	why := ""
	for {
		for _, name := range r.config.Regions {
			lacks := r.lacks(limited, name)
			if lacks == "" {
				return nil
			}
			if limited.Err() == nil || why == "" { // else it says only that the time is over
				why = lacks
			}
		}
		if !pause(limited, learnPause) {
			return fmt.Errorf("workload: no region serves what %s asks for: %s", r.workload.Name, why)
		}
	}
}

// lacks says which level a region does not serve, and why.
func (r *Run) lacks(ctx context.Context, name string) string {
	if len(r.workload.levels) == 0 {
		return ""
	}
	status, err := r.config.DB(name).Status(ctx)
	if err != nil {
		return fmt.Sprintf("region %s: %v", name, err)
	}
	for _, l := range status.Levels {
		if slices.Contains(r.workload.levels, l.Level) && !l.OK {
			return fmt.Sprintf("level %s in region %s: %s", l.Level, name, l.Why)
		}
	}
	return ""
}

func (r *Run) learnFrom(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.CallTimeout)
	defer cancel()
	status, err := r.config.DB(name).Status(ctx)
	if err != nil {
		return err
	}
	r.known.Lock()
	defer r.known.Unlock()
	for _, region := range status.Regions {
		r.numbers[region.Name] = int(region.Region)
	}
	return nil
}

// pause waits, and reports false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// History is what was recorded. It is complete once Load and Finish have returned.
func (r *Run) History() (*history.History, error) {
	h := &history.History{Header: r.header()}
	h.Txns, h.Faults = r.record.all()
	r.renumber(h)
	if err := h.Check(); err != nil {
		return nil, fmt.Errorf("workload: what was recorded is no history: %w", err)
	}
	return h, nil
}

func (r *Run) header() history.Header {
	notes := map[string]string{
		NoteAsked: strconv.Itoa(r.asked()), NoteWorkers: strconv.Itoa(r.config.Workers),
	}
	maps.Copy(notes, r.workload.notes)
	return history.Header{
		Version: history.Version, Workload: r.workload.Name, Nemesis: r.config.Nemesis, Regions: r.regions(),
		Seed: r.config.Seed, Notes: notes,
	}
}

// What is asked for where no rate is named: workers think for 33 ms on average, so on a machine that is not busy each
// makes 33 transactions a second. All of them together the machine bounds, not what they wait for.
const (
	unpaced     = 20.0  // transactions a second of one worker
	mostUnpaced = 400.0 // of all
)

// asked is how many transactions were asked for: as many as were named, or as the rate makes in the time that
// there was.
func (r *Run) asked() int {
	rate := cmp.Or(r.config.Rate, min(unpaced*float64(r.config.Workers), mostUnpaced))
	n := int(rate * time.Duration(r.loaded.Load()).Seconds())
	if most := r.config.Txns; most > 0 {
		return most
	}
	return n
}

// regions are the names in the order of the numbers. One that never joined has none, and comes last.
func (r *Run) regions() []string {
	r.known.Lock()
	defer r.known.Unlock()
	out := slices.Clone(r.config.Regions)
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(r.number(a), r.number(b)) })
	return out
}

func (r *Run) number(name string) int {
	if n := r.numbers[name]; n > 0 {
		return n
	}
	return math.MaxInt
}

// renumber gives regions their number in the header instead of that of the database, which may have
// given numbers to regions that came to nothing. The order stays: it decides between equal timestamps.
func (r *Run) renumber(h *history.History) {
	to := map[int]int{}
	r.known.Lock()
	for i, name := range h.Header.Regions {
		if n := r.numbers[name]; n > 0 {
			to[n] = i + 1
		}
	}
	r.known.Unlock()
	for n := range to {
		if to[n] != n {
			renumber(h, to)
			return
		}
	}
}

func renumber(h *history.History, to map[int]int) {
	for i := range h.Txns {
		t := &h.Txns[i]
		t.Snapshot, t.TokenBefore, t.TokenAfter = renumbered(t.Snapshot, to), renumbered(t.TokenBefore, to), renumbered(t.TokenAfter, to)
		if t.Commit != nil {
			t.Commit = &history.Stamp{Region: cmp.Or(to[t.Commit.Region], t.Commit.Region), Time: t.Commit.Time}
		}
	}
}

// renumbered leaves out what the header does not name: nobody writes there.
func renumbered(v history.Vector, to map[int]int) history.Vector {
	if v == nil {
		return nil
	}
	out := make(history.Vector, len(v))
	for region, at := range v {
		if n := to[region]; n > 0 || region == history.StrongOrder {
			out[n] = at
		}
	}
	return out
}
