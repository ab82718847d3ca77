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
	looks   int                            // one goroutine looks
	own     clock.Lane
	ever    map[clock.Lane]clock.Timestamp // what some disk of this region has had
	cut     map[clock.Lane]clock.Timestamp // where its logs began when its data last came from another region
	current *core                          // of the run at hand, or the last one
	read    map[clock.Lane]clock.Timestamp // up to where its logs went into the registry
	newest  clock.Timestamp                // the newest group of its own lane that callers may have met
	lacks   kv.Interval                    // what they may have met and a crash took back; To 0: nothing, or it was seen to be told
	aim     chan struct{}                  // closed when a group is shown next; nil: nobody waits for that
	cores   []*recording                   // of all runs
}

// begin stands between a node that has opened its store and its machine. A process may have been ended while
// it opened its store: what it does then is of no disk that anybody will see again.
func (w *watch) begin(l *life, start causal.Start, m *causal.Machine) replication.Core {
	w.machine.world.noteEnds()
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.ended.Load() {
		w.machine.world.reach.count("ended while it started")
		return m
	}
	w.own = start.Self
	held := map[clock.Lane]clock.Timestamp{}
	for _, p := range start.Lanes {
		held[p.Lane] = p.Held
	}
	w.holds(held)
	w.tookBack(held[w.own], start.Recovering)
	c := &core{Core: m, watch: w, reach: w.machine.world.reach, open: map[uint64]clock.Vector{}, record: newRecording(w.machine.name, start), ended: &l.ended}
	c.exposed, c.begun, c.recovering = m.Exposed(), m.Exposed(), start.Recovering
	c.own, c.onDisk = start.Self, held[start.Self]
	w.cores = append(w.cores, c.record)
	w.current = c
	w.machine.world.named(start.Self.Region, w.machine.name)
	return c
}

// holds notes what a store holds with which a run begins. The caller holds mu.
func (w *watch) holds(held map[clock.Lane]clock.Timestamp) {
	if w.ever == nil {
		w.ever = map[clock.Lane]clock.Timestamp{}
	}
	if w.durable == nil {
		w.durable, w.read, w.cut = map[clock.Lane]clock.Timestamp{}, map[clock.Lane]clock.Timestamp{}, held
	}
	for lane, t := range w.durable {
		if held[lane] < t {
			w.fail("durable", fmt.Sprintf("starts with lane %s up to %s, but %s was on its disk", lane, held[lane], t))
		}
	}
	for lane, t := range held {
		if w.current != nil && t > w.current.shows().At(lane.Region) {
			w.cut = held // more than the run before had: it comes from another region
		}
		w.ever[lane] = max(w.ever[lane], t)
		w.read[lane] = min(w.read[lane], t) // what a crash has taken back is read again
	}
	maps.Copy(w.durable, held)
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

// tookBack notes what was shown of the own lane and is not there when a node starts.
func (w *watch) tookBack(held clock.Timestamp, recovering bool) {
	if w.newest > held && !recovering {
		w.lacks = kv.Interval{From: held, To: w.newest}
		w.machine.world.reach.count("shown and taken back")
	}
	w.newest = held
}

// shows notes that callers may meet a group of the own lane from now on, which is not on disk yet.
func (w *watch) shows(t clock.Timestamp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest = max(w.newest, t)
	if w.aim != nil {
		close(w.aim)
		w.aim = nil
	}
}

// nextShown is closed when the region shows its next group.
func (w *watch) nextShown() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.aim == nil {
		w.aim = make(chan struct{})
	}
	return w.aim
}

// told checks a record of the own lane that follows what a crash left of it.
func (w *watch) told(record *kv.Record) {
	w.mu.Lock()
	lacks, own := w.lacks, w.own
	w.mu.Unlock()
	if lacks.To == 0 || record.Lane != own || record.Prev != lacks.From {
		return
	}
	if wrong := untold(record, lacks); wrong != "" {
		w.fail("told", wrong)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lacks == lacks {
		w.lacks = kv.Interval{}
	}
}

// onDisk notes what a disk of this region has had, also one that a crash has put away since: it may have
// been sent, or told of, before that.
func (w *watch) onDisk(lane clock.Lane, t clock.Timestamp) {
	if w == nil { // a replay
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ever[lane] = max(w.ever[lane], t)
}

// answered checks a write that the region has acknowledged. So many regions served when the call began.
func (w *watch) answered(o *kv.Options, serving int, r kv.Receipt) {
	if r.Commit.Region != 0 {
		onDisk, _ := w.had(r.Lane)
		if wrong := answeredEarly(r, o.Durability, onDisk); wrong != "" {
			w.fail("answered", wrong)
		}
	}
	now := w.serving()
	need, err := o.Reach().Copies(min(serving, now))
	if err != nil {
		return
	}
	if wrong := spreadEarly(r, need, max(serving, now), w.machine.world.had(clock.Lane{Region: r.Commit.Region})); wrong != "" {
		w.fail("answered", wrong)
	}
}

// serving is how many regions the node knows to serve.
func (w *watch) serving() int {
	w.mu.Lock()
	c := w.current
	w.mu.Unlock()
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serving
}

// onItsDisk is what a disk of a lane's region has ever had of it.
func (w *watch) onItsDisk(lane clock.Lane) clock.Timestamp {
	m := w.machine.world.machineOf(lane.Region)
	if m == nil {
		return 0
	}
	t, _ := m.watch.had(lane)
	return t
}

// had is what some disk of the region has had of a lane; false: it has never begun.
func (w *watch) had(lane clock.Lane) (clock.Timestamp, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ever[lane], w.ever != nil
}

// crashed ends what a life may still claim.
func (w *watch) crashed(l *life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.ended.Store(true)
}

// lost forgets what the disk had.
func (w *watch) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.durable, w.read, w.newest, w.lacks = nil, nil, 0, kv.Interval{}
}

// holdsData reports whether a node has begun with what is on the disk.
func (w *watch) holdsData() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable != nil
}

// alone lists the regions of whose writes this region's disk has some that no other disk has. The registry
// forgets them: they go with the disk, and their operations may be written again.
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
			w.machine.world.registry.forget(lane, elsewhere)
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

// look reads what the node has logged since the last look, and holds what it exposes, and what strong
// snapshots would show, against that.
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
		up, err := w.readLog(lane, read[lane], e.Time, n.Records)
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
	w.mu.Lock()
	c := w.current
	w.mu.Unlock()
	w.closed(c.lastStrong())
	if w.looks++; w.looks%looksPerLog == 0 {
		for _, e := range exposed {
			w.keeps(clock.Lane{Region: e.Region}, e.Time, n.Records)
		}
	}
}

// looksPerLog is how many looks there are for one at how far back the logs reach.
const looksPerLog = 4

// keeps checks that a lane's log still reaches back to what some region may ask for.
func (w *watch) keeps(lane clock.Lane, exposed clock.Timestamp, log logReader) {
	needed := w.needed(lane)
	wrong := kept(lane, needed, log)
	if wrong == "" || w.needed(lane) != needed { // the node may have gone on since the question
		return
	}
	w.fail("log", wrong)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[lane] = exposed // that it lacks this is told once
}

// needed is from where on a lane's log here must reach.
func (w *watch) needed(lane clock.Lane) clock.Timestamp {
	end := w.machine.world.mayEnd(lane)
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.cut[lane], end)
}

// logBytes is how much of a log one look reads.
const logBytes = 1 << 20

// logReader is Node.Records.
type logReader func(lane clock.Lane, after clock.Timestamp, maxBytes int) ([][]byte, error)

// readLog takes a lane's records above a time, up to what is exposed, into the registry: each names the
// one before it. What is not exposed may not be on any disk yet, and a crash may take it back for good:
// then its operations may be written again.
func (w *watch) readLog(lane clock.Lane, after, exposed clock.Timestamp, log logReader) (clock.Timestamp, error) {
	records, err := log(lane, after, logBytes)
	if err != nil {
		if errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrReadOnly) {
			return after, nil // it is ending
		}
		return after, fmt.Errorf("reading the log of lane %s: %w", lane, err)
	}
	for i, encoded := range records {
		if h, err := kv.DecodeHeader(encoded); err == nil && h.Time > exposed {
			break
		}
		h, wrong := w.machine.world.registry.add(encoded)
		if wrong != "" {
			w.fail("exactly-once", wrong)
		}
		w.told(h)
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

// derived checks a record of the certifier's lane that came to this node.
func (w *watch) derived(h kv.Header) string {
	if w == nil { // a replay
		return ""
	}
	return w.machine.world.certified.derive(h)
}

// uniform checks where this node opens strong snapshots.
func (w *watch) uniform(cut clock.Vector) string {
	if w == nil {
		return ""
	}
	return onMajority(cut, w.machine.world.majority(), w.machine.world.had)
}
