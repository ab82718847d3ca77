package txn

import (
	"errors"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/storage"
)

// errNothing drops a batch that would write nothing.
var errNothing = errors.New("txn: nothing to write")

// group is the job that turns what is queued into one group.
type group struct {
	c        *Committer
	formed   bool // it has taken its commits from the queue
	commits  []*commit
	ready    []result // of commits, by index; set by Build
	snapshot Snapshot // open until the group is shown
	time     clock.Timestamp
	meet     clock.Vector
	encoded  []byte          // the record
	bound    clock.Timestamp // reserved by this batch; 0: none
}

// Build implements storage.Job.
func (g *group) Build(b *storage.Batch) error {
	g.take()
	rec := kv.Record{Header: kv.Header{Lane: g.c.lane, Kind: kv.RecordGroup}}
	if !b.RoomForRemovals() {
		g.dropRemovals()
	}
	g.assemble(&rec, b.Applied(g.c.lane))
	if len(g.commits) == 0 {
		return errNothing
	}
	g.stamp(&rec, b)
	local := false
	for i, w := range g.commits {
		g.ready[i].stamp = rec.Stamp()
		local = local || w.durability != kv.DurabilityApplied || w.refusal != nil
	}
	if (local || g.bound != 0) && !mutant.On(mutant.AnsweredBeforeSync) {
		b.Sync()
	}
	g.encoded = rec.Append(make([]byte, 0, g.c.size))
	g.c.size = len(g.encoded) + len(g.encoded)/8
	if err := b.Apply(&rec, g.encoded); err != nil {
		g.time = 0
		return err
	}
	return nil
}

// take removes commits from the queue, up to the limits of a group.
func (g *group) take() {
	c := g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	g.formed = true
	n, bytes := 0, 0
	for n < len(c.queue) && n < MaxGroupTxns && bytes < MaxGroupBytes {
		w := c.queue[n]
		n++
		if w == nil {
			continue // given up
		}
		if len(g.commits) > 0 && w.conflicts(g.commits) {
			n--
			break
		}
		w.taken = true
		if w.times != nil {
			w.times.taken = c.mono()
		}
		bytes += w.writes.bytes
		g.commits = append(g.commits, w)
	}
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.kicked = false
	if rest > 0 {
		if err := c.kickLocked(); err != nil {
			c.failLocked(err)
		}
	}
}

// dropRemovals answers the commits that remove collections, so that the others don't fail with them.
func (g *group) dropRemovals() {
	kept := g.commits[:0]
	for _, w := range g.commits {
		if w.writes.removals == 0 || w.refusal != nil {
			kept = append(kept, w)
			continue
		}
		err := kv.Errorf(kv.KindOverloaded, "commit: %d removals of collections are still being carried out here; try again in a moment", storage.MaxPendingRemovals)
		err.RetryAfter = removalsRetry
		g.c.drop(w, err, nil)
	}
	g.commits = kept
}

// assemble checks conditions, fixes snapshots and fills the record's transactions. Commits that
// fail are answered and leave the group. last is the lane's last record.
func (g *group) assemble(rec *kv.Record, last clock.Timestamp) {
	if g.open() != nil {
		return
	}
	exposed := nonNil(g.snapshot.At())
	applied := exposed
	if last > exposed.At(g.c.lane.Region) {
		applied = exposed.With(g.c.lane.Region, last)
	}
	kept := g.commits[:0]
	rec.Txns = make([]kv.Txn, 0, len(g.commits))
	effects := make([]kv.Effect, 0, g.effects())
	g.ready = make([]result, 0, len(g.commits))
	for _, w := range g.commits {
		snapshot := w.snapshot
		if snapshot == nil {
			snapshot = exposed
			if w.applied || w.writes.judged() {
				snapshot = applied
			}
		}
		if err := g.c.judge(w, applied, nonNil(snapshot)); err != nil {
			g.c.drop(w, err, w.judged)
			continue
		}
		t := kv.Txn{ID: w.attempt.ID}
		if w.refusal == nil {
			first := len(effects)
			effects = w.writes.effects(effects, generations{g.c.store, snapshot})
			t.Effects = effects[first:len(effects):len(effects)]
			if w.writes.overrides {
				t.Snapshot = nonNil(snapshot)
			}
		}
		rec.Txns = append(rec.Txns, t)
		g.join(rec, snapshot)
		kept = append(kept, w)
		r := result{snapshot: snapshot}
		if w.refusal != nil {
			r = result{snapshot: w.judged, err: w.refusal, denied: true}
		}
		g.ready = append(g.ready, r)
	}
	g.commits = kept
}

// effects is how many effects the group has, if none of its commits fails.
func (g *group) effects() int {
	n := 0
	for _, w := range g.commits {
		n += w.writes.live
	}
	return n
}

// open takes the snapshot of those transactions of the group that have none of their own. Without
// one nothing is written.
func (g *group) open() error {
	if len(g.commits) == 0 {
		return errNothing
	}
	s, err := g.c.exposure.Open(true, false)
	if err != nil {
		for _, w := range g.commits {
			g.c.drop(w, err, nil)
		}
		g.commits = nil
		return err
	}
	g.snapshot = s
	return nil
}

// show tells the exposure that the group can be read, answers who waits for that only, and lets go
// of its snapshots: from here on the exposure keeps their meet.
func (g *group) show() {
	g.c.exposure.LocalApplied(g.time, g.meet)
	if mutant.On(mutant.SentBeforeSync) {
		g.c.publish(g.time, g.encoded)
	}
	g.close()
	for i, w := range g.commits {
		if w.durability == kv.DurabilityApplied && w.refusal == nil || mutant.On(mutant.AnsweredBeforeSync) {
			w.tell(g.ready[i])
		}
	}
}

func (g *group) close() {
	if g.snapshot != nil {
		g.snapshot.Close()
		g.snapshot = nil
	}
	for _, w := range g.commits {
		w.let()
	}
}

// nonNil keeps an empty snapshot apart from none: at the very start of a cluster overrides see nothing.
func nonNil(v clock.Vector) clock.Vector {
	if v == nil {
		return clock.Vector{}
	}
	return v
}

// join takes a snapshot into the group's dependencies and into the meet that stability waits for.
func (g *group) join(rec *kv.Record, snapshot clock.Vector) {
	if len(g.ready) == 0 {
		rec.Deps, g.meet = snapshot, snapshot
		return
	}
	g.meet = g.meet.Meet(snapshot)
	if mutant.Built && !rec.Deps.Includes(snapshot) && mutant.On(mutant.GroupDependsOnFirst) {
		return
	}
	rec.Deps = rec.Deps.Join(snapshot)
}

// stamp gives the group its timestamp and reserves further ones when few are left (invariant 1).
func (g *group) stamp(rec *kv.Record, b *storage.Batch) {
	c := g.c
	wall := c.wall()
	g.time = c.hybrid.Next(wall, rec.Deps.Max())
	rec.Time, rec.Prev = g.time, b.Applied(c.lane)
	rec.Deps = rec.Deps.With(c.lane.Region, 0) // the lane's own order says it already
	g.bound = c.reserve(b, wall, g.time)
}

// Applied implements storage.Job. A group above the durable bound stays hidden until the bound has
// risen: a crash would forget that its timestamp was used.
func (g *group) Applied() {
	c := g.c
	for _, w := range g.commits {
		if w.times != nil {
			w.times.applied = c.mono()
		}
	}
	c.showing.Lock()
	defer c.showing.Unlock()
	if len(c.hidden) > 0 || g.time > c.bound {
		c.hidden = append(c.hidden, g)
		return
	}
	g.show()
}

// raiseBound runs on the syncer's goroutine: timestamps up to t may be shown from now on.
func (c *Committer) raiseBound(t clock.Timestamp) {
	c.showing.Lock()
	defer c.showing.Unlock()
	c.bound = max(c.bound, t)
	for len(c.hidden) > 0 && c.hidden[0].time <= c.bound {
		c.hidden[0].show()
		c.hidden[0] = nil
		c.hidden = c.hidden[1:]
	}
}

func (c *Committer) durableBound() clock.Timestamp {
	c.showing.Lock()
	defer c.showing.Unlock()
	return c.bound
}

// Durable implements storage.Job.
func (g *group) Durable(err error) {
	if !g.formed { // the store has failed, or is closed, and asked for no group at all
		g.c.mu.Lock()
		defer g.c.mu.Unlock()
		g.c.kicked = false
		g.c.failLocked(err)
		return
	}
	if err != nil {
		g.fail(err)
		return
	}
	if g.bound != 0 {
		g.c.raiseBound(g.bound)
	}
	g.c.stats.count(g.written())
	g.c.publish(g.time, g.encoded)
	g.c.exposure.LocalDurable(g.time)
	g.noteIDs()
	for i, w := range g.commits {
		if w.times != nil && !w.told {
			w.times.durable = g.c.mono()
		}
		w.finish(g.ready[i])
		w.tell(g.ready[i])
	}
}

// written is how many of its transactions were not refused.
func (g *group) written() int {
	n := 0
	for _, w := range g.commits {
		if w.refusal == nil {
			n++
		}
	}
	return n
}

func (g *group) noteIDs() {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	for _, w := range g.commits {
		id, f := w.attempt.ID, fate{g.time, w.refusal != nil}
		if id.IsZero() {
			continue
		}
		delete(g.c.ids.underWay, id)
		g.c.ids.note(id, f)
		if w.attempt.Retry {
			g.c.ids.spend(id, f)
		}
	}
	g.c.nameLocked()
}

// fail answers a group that could not be made durable. Once it was given to the disk, nobody can
// say whether it is there.
func (g *group) fail(err error) {
	g.forget()
	if errors.Is(err, errNothing) {
		return
	}
	outcome := kv.OutcomeUnknown
	if g.time == 0 {
		outcome = kv.NotApplied
	}
	for _, w := range g.commits {
		e := kv.Errorf(kv.KindUnavailable, "commit: the group could not be written: %w", untold(err)).WithOutcome(outcome)
		e.ID = w.attempt.ID
		g.c.drop(w, e, nil)
	}
}

// untold is an error without its outcome, for one that says it of each commit.
func untold(err error) error {
	var e *kv.Error
	if errors.As(err, &e) && error(e) == err {
		return e.WithOutcome(kv.NotApplied)
	}
	return err
}

// forget drops a group that will never be shown.
func (g *group) forget() {
	g.c.showing.Lock()
	defer g.c.showing.Unlock()
	g.c.hidden = slices.DeleteFunc(g.c.hidden, func(o *group) bool { return o == g })
	g.close()
}
