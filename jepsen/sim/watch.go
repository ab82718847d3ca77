package sim

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
)

// watch holds what a region has shown over all its runs against what must hold.
type watch struct {
	machine *machine

	mu      sync.Mutex
	durable map[clock.Lane]clock.Timestamp // what its disk had; a crash takes none of it back
	own     clock.Lane
	ever    clock.Timestamp                // what some disk of this region had of its own lane
	current *core                          // of the run at hand, or the last one
	read    map[clock.Lane]clock.Timestamp // up to where its logs went into the registry
	cores   []*recording                   // of all runs
}

// begin stands between a node that has opened its store and its machine.
func (w *watch) begin(l *life, start causal.Start, m *causal.Machine) replication.Core {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.durable == nil {
		w.durable, w.read = map[clock.Lane]clock.Timestamp{}, map[clock.Lane]clock.Timestamp{}
	}
	w.own = start.Self
	held := map[clock.Lane]clock.Timestamp{}
	for _, p := range start.Lanes {
		held[p.Lane] = p.Held
	}
	w.ever = max(w.ever, held[w.own])
	for lane, t := range w.durable {
		if held[lane] < t {
			w.fail("durable", fmt.Sprintf("starts with lane %s up to %s, but %s was on its disk", lane, held[lane], t))
		}
	}
	maps.Copy(w.durable, held)
	c := &core{Core: m, watch: w, reach: w.machine.world.reach, open: map[uint64]clock.Vector{}, record: newRecording(w.machine.name, start)}
	c.exposed, c.recovering = m.Exposed(), start.Recovering
	c.own, c.onDisk = start.Self, held[start.Self]
	w.cores = append(w.cores, c.record)
	w.current = c
	w.machine.world.named(start.Self.Region, w.machine.name)
	l.core.Store(c)
	return c
}

func (w *watch) fail(check, text string) {
	w.machine.world.fail("invariant:"+check, w.machine.name+": "+text)
}

// synced notes what a node says is on its disk.
func (w *watch) synced(lane clock.Lane, t clock.Timestamp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.durable[lane] = max(w.durable[lane], t)
}

// onDisk notes what a disk of this region has had of its own lane, also one that a crash has put away since:
// it may have been sent before that.
func (w *watch) onDisk(lane clock.Lane, t clock.Timestamp) {
	if w == nil { // a replay
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if lane == w.own {
		w.ever = max(w.ever, t)
	}
}

// onItsDisk is what a disk of a lane's region has ever had of it.
func (w *watch) onItsDisk(lane clock.Lane) clock.Timestamp {
	m := w.machine.world.machineOf(lane.Region)
	if m == nil {
		return 0
	}
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	return m.watch.ever
}

// crashed ends what a life may still claim: what its goroutines do from here on nobody hears of.
func (w *watch) crashed(l *life) {
	if c := l.core.Load(); c != nil {
		c.ended.Store(true)
	}
}

// lost forgets what the disk had.
func (w *watch) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.durable, w.read = nil, nil
}

// alone lists the regions of whose writes this region's disk has some that no other disk has.
func (w *watch) alone() (out []string) {
	w.mu.Lock()
	durable := maps.Clone(w.durable)
	w.mu.Unlock()
	for _, m := range w.machine.world.machines {
		m.watch.mu.Lock()
		lane := m.watch.own
		m.watch.mu.Unlock()
		elsewhere := clock.Timestamp(0)
		for _, other := range w.machine.world.machines {
			if other != w.machine {
				elsewhere = max(elsewhere, other.watch.has(lane))
			}
		}
		if durable[lane] > elsewhere {
			out = append(out, m.name)
		}
	}
	return out
}

func (w *watch) has(lane clock.Lane) clock.Timestamp {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable[lane]
}

// shown is what the node exposes and has settled, while it runs.
func (w *watch) shown() (exposed, settled clock.Vector, recovering, ok bool) {
	w.mu.Lock()
	c := w.current
	w.mu.Unlock()
	if c == nil || c.ended.Load() {
		return nil, nil, false, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exposed, c.settled, c.recovering, true
}

// look reads what the node has logged since the last look, and holds what it exposes against that.
func (w *watch) look() {
	n, l := w.machine.node()
	if n == nil {
		return
	}
	exposed, _, _, ok := w.shown()
	if !ok {
		return
	}
	w.mu.Lock()
	read := maps.Clone(w.read)
	w.mu.Unlock()
	for _, e := range exposed {
		lane := clock.Lane{Region: e.Region}
		if read[lane] >= e.Time {
			continue
		}
		up, err := w.readLog(lane, read[lane], n.Records)
		if errors.Is(err, kv.ErrTooOld) {
			w.machine.world.reach.count("log read too late")
			up, err = e.Time, nil
		}
		if err != nil {
			w.fail("log", err.Error())
			return
		}
		w.mu.Lock()
		if w.read != nil && w.machine.life.Load() == l {
			w.read[lane] = up
		}
		w.mu.Unlock()
	}
	w.closed(exposed)
}

// logBytes is how much of a log one look reads.
const logBytes = 1 << 20

// readLog takes a lane's records above a time into the registry: each names the one before it.
func (w *watch) readLog(lane clock.Lane, after clock.Timestamp, log func(clock.Lane, clock.Timestamp, int) ([][]byte, error)) (clock.Timestamp, error) {
	records, err := log(lane, after, logBytes)
	if err != nil {
		if errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrReadOnly) {
			return after, nil // it is ending
		}
		return after, fmt.Errorf("reading the log of lane %s: %w", lane, err)
	}
	for i, encoded := range records {
		h, wrong := w.machine.world.registry.add(encoded)
		if wrong != "" {
			w.fail("exactly-once", wrong)
		}
		if (i > 0 || after > 0) && h.Prev != after {
			w.fail("dense", fmt.Sprintf("in the log record %s follows %s, but comes behind %s", h.Stamp(), h.Prev, after))
		}
		after = h.Time
	}
	return after, nil
}

// closed checks a cut that the region shows.
func (w *watch) closed(v clock.Vector) {
	wrong, unknown := w.machine.world.registry.closed(v)
	switch {
	case wrong != "":
		w.fail("closed", wrong)
	case !unknown.IsZero():
		w.machine.world.reach.count("closure not known yet")
	default:
		w.machine.world.reach.count("closure checked")
	}
}
