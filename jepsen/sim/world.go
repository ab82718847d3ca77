package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/workload"
)

// world is one run: machines, the network between them, and what is noted of them.
type world struct {
	plan      *plan
	ctx       context.Context // ends with the run
	start     time.Time
	reach     *reached
	network   *network
	registry  *registry
	certified *certified
	strong    bool // callers make strong transactions
	log       *logBook
	machines  []*machine
	byName    map[string]*machine
	late      sync.WaitGroup // requests that are held up
	load      *workload.Run  // nil before there is one
	made      atomic.Int64   // transactions that have ended
	booted    atomic.Bool    // the first regions serve

	disks  sync.Mutex
	doomed map[*machine]bool // whose disks are about to be lost

	mu       sync.Mutex
	failures []Failure
	numbers  map[clock.Region]string
	present  map[string]bool                // machines that have been switched on
	ended    map[clock.Lane]clock.Timestamp // where limited logs could be cut when a region began last
}

func newWorld(ctx context.Context, p *plan) *world {
	reach := newReached()
	w := &world{
		plan: p, ctx: ctx, start: time.Now(), reach: reach, registry: newRegistry(), certified: newCertified(), log: &logBook{},
		byName: map[string]*machine{}, numbers: map[clock.Region]string{}, present: map[string]bool{},
		doomed: map[*machine]bool{}, ended: map[clock.Lane]clock.Timestamp{},
	}
	w.network = newNetwork(rand.New(rand.NewPCG(p.Seed, 5)), p.Unruly, reach, w.nameOf)
	for k, l := range p.Links {
		w.network.setDelay(k, l[0], l[1])
	}
	for _, name := range p.all() {
		m := w.newMachine(name, p.Machines[name])
		w.machines = append(w.machines, m)
		w.byName[name] = m
	}
	return w
}

// now is the time of the run.
func (w *world) now() time.Duration { return time.Since(w.start) }

func (w *world) logf(format string, args ...any) {
	w.log.add(fmt.Sprintf("%12.6f sim: %s\n", w.now().Seconds(), fmt.Sprintf(format, args...)))
}

// maxFailures bounds how many failures of one run are told.
const maxFailures = 50

func (w *world) fail(check, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failures) < maxFailures {
		w.failures = append(w.failures, Failure{Check: check, Text: fmt.Sprintf("at %.3fs: %s", w.now().Seconds(), text)})
	}
}

// names are the regions that have been started.
func (w *world) names() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.plan.all() {
		if w.present[name] {
			out = append(out, name)
		}
	}
	return out
}

// named learns a region's number.
func (w *world) named(number clock.Region, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers[number] = name
}

// nameOf is the region with a number, "" while nobody knows.
func (w *world) nameOf(number clock.Region) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.numbers[number]
}

// machineOf finds the machine of a region by its number; nil: none has begun with that.
func (w *world) machineOf(number clock.Region) *machine {
	return w.byName[w.nameOf(number)]
}

// had is up to where some disk of each region has had a lane, of those regions that have begun.
func (w *world) had(lane clock.Lane) (out []clock.Timestamp) {
	for _, m := range w.machines {
		if t, begun := m.watch.had(lane); begun {
			out = append(out, t)
		}
	}
	return out
}

// mayEnd is up to where a lane's log may be cut anywhere.
func (w *world) mayEnd(lane clock.Lane) clock.Timestamp {
	end := mayEnd(w.had(lane), w.plan.LogLimit > 0)
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.ended[lane], end)
}

// noteEnds notes where limited logs may have been cut before a region is there that has less: most had it.
func (w *world) noteEnds() {
	if w.plan.LogLimit == 0 {
		return
	}
	lanes := []clock.Lane{{}} // the certifier's
	for _, m := range w.machines {
		m.watch.mu.Lock()
		lanes = append(lanes, m.watch.own)
		m.watch.mu.Unlock()
	}
	for _, lane := range lanes {
		end := w.mayEnd(lane)
		w.mu.Lock()
		w.ended[lane] = end
		w.mu.Unlock()
	}
}

// switchOn starts a machine.
func (w *world) switchOn(name string) {
	w.mu.Lock()
	w.present[name] = true
	w.mu.Unlock()
	w.byName[name].on()
}

// db is how callers reach a region.
func (w *world) db(name string) *client.DB { return w.byName[name].db }

// serving says why a region does not serve in full; "": it does.
func (w *world) serving(m *machine) string {
	s, ok := m.status(w.ctx)
	switch {
	case !ok:
		return m.name + " is down"
	case s.State != "serving":
		return m.name + ": " + s.State
	}
	return ""
}

// await waits until nothing is missing; what is missing after that long is a failure.
func (w *world) await(what string, patience time.Duration, missing func() string) bool {
	for end := w.now() + patience; ; {
		said := missing()
		if said == "" {
			return true
		}
		if w.now() >= end || !sleep(w.ctx, 50*time.Millisecond) {
			w.fail("liveness", fmt.Sprintf("%v were not enough until %s: %s", patience, what, said))
			return false
		}
	}
}

// patience is how long the run waits for what a healthy cluster does in seconds.
const patience = 5 * time.Minute

// boot starts the first regions, one after the other.
func (w *world) boot() bool {
	for _, name := range w.plan.Regions {
		w.switchOn(name)
		if !w.await(name+" serves", patience, func() string { return w.serving(w.byName[name]) }) {
			return false
		}
	}
	w.booted.Store(true)
	return true
}

// majority is how many regions are one at least; 0 while the first ones are joining.
func (w *world) majority() int {
	if !w.booted.Load() {
		return 0
	}
	return len(w.plan.Regions)/2 + 1
}

// lookEvery is how often the nodes are looked at, beside what is checked at every step of theirs.
const lookEvery = 500 * time.Millisecond

// watchAll looks at all nodes again and again until ctx ends.
func (w *world) watchAll(ctx context.Context) {
	for sleep(ctx, lookEvery) {
		w.look()
	}
}

// look holds every node against what all of them together have written.
func (w *world) look() {
	for _, m := range w.machines {
		m.watch.look()
	}
	w.compare()
}

// compare checks that what is settled in one region is exposed in all others, but for those that
// are taking their data back.
func (w *world) compare() {
	var settled clock.Vector
	for _, m := range w.machines {
		if _, s, _, ok := m.watch.shown(); ok {
			settled = settled.Join(s)
		}
	}
	for _, m := range w.machines {
		exposed, _, recovering, ok := m.watch.shown()
		if !ok || recovering || !m.door.IsOpen() {
			continue
		}
		if wrong := seenEverywhere(settled, exposed); wrong != "" {
			m.watch.fail("settled", wrong)
		}
	}
}

// fault notes a fault in the history and the log, and returns what notes its end.
func (w *world) fault(f history.Fault) (ended func()) {
	w.reach.count("fault " + f.Kind)
	w.logf("fault %s %v", f.Kind, f.Targets)
	end := w.load.Fault(f)
	return func() {
		w.logf("fault %s %v is over", f.Kind, f.Targets)
		end(nil)
	}
}

func (w *world) note(f nemesis.Fault) func(nemesis.Effects) {
	over := w.fault(history.Fault{Kind: string(f.Kind), Targets: f.Targets})
	return func(nemesis.Effects) { over() }
}

// logBook keeps the lines of all nodes.
type logBook struct {
	mu    sync.Mutex
	lines []string
	size  int
}

// maxLog bounds the log of a run, in bytes; then the oldest half goes.
const maxLog = 32 << 20

func (l *logBook) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size += len(line); l.size > maxLog {
		l.lines = slices.Clone(l.lines[len(l.lines)/2:])
		l.size = 0
		for _, line := range l.lines {
			l.size += len(line)
		}
	}
	l.lines = append(l.lines, line)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "")
}

// refounded is called when a node founds the raft group anew, behind all that any disk has of the certifier's lane.
func (w *world) refounded() {
	upTo := clock.Timestamp(0)
	for _, m := range w.machines {
		upTo = max(upTo, m.watch.has(clock.Lane{}))
	}
	w.certified.refounded(upTo)
	w.registry.forget(clock.Lane{}, upTo)
}
