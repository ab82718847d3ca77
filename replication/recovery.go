package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// recovery is the time until this node may write: while it joins, and while it takes back what
// others hold of its own lane, since its disk lost that.
//
// It is over once every other region (but those that the operator names as gone, or that are being removed) has
// said in a handshake what it holds of this lane, or by asking for its number that it has nothing; all of that
// is on disk here, and E includes every report of this region that any of them has counted, as far as one
// of them still holds it: below those, others may have forgotten. Regions that lost their disks together do
// not wait for what only they had.
type recovery struct {
	mu     sync.Mutex
	active bool
	handed map[clock.Region]handed
	floor  clock.Timestamp
	done   chan struct{}
	reason string          // last told
	begun  clock.Timestamp // where the own lane ended at the start, or when the recovery did

	standing atomic.Uint64 // of this store, once it does not recover (rivals.go)
}

// handed is what a region said in its handshake.
type handed struct {
	upTo  clock.Timestamp // of this node's lane
	see   clock.Vector    // what E must include, as far as anybody holds it
	holds clock.Vector    // what it holds of all lanes
}

func (c *recovery) init(r *Replicator) {
	c.handed, c.done = map[clock.Region]handed{}, make(chan struct{})
	c.standing.Store(max(servesFromStart, uint64(r.c.Identity.recovered)))
	m, _ := r.registry.find(r.self.Region)
	c.active, c.begun = r.c.Exposure.Recovering() || !m.Serving, r.c.Applied[r.self]
	if !c.active {
		close(c.done)
	}
}

// WaitWritable returns once this node may write: at once unless it joins or recovers. The lane's
// clock must begin above floor, which others have been promised. It fails when ctx ends.
func (r *Replicator) WaitWritable(ctx context.Context) (floor clock.Timestamp, err error) {
	select {
	case <-r.recovery.done:
		r.recovery.mu.Lock()
		defer r.recovery.mu.Unlock()
		return r.recovery.floor, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting until region %q may write: %w", r.c.Identity.Name, context.Cause(ctx))
	}
}

// met takes what a peer says that it holds.
func (r *Replicator) met(s *stream, h *peerv1.Hello) error {
	if err := r.compare(s, h.GetLanes()); err != nil {
		return err
	}
	if err := r.takeReports(h.GetReports()); err != nil {
		return err
	}
	var said handed
	var floor clock.Timestamp
	for _, p := range h.GetLanes() {
		lane, err := laneFrom(p.GetRegion(), p.GetSlot())
		if err != nil {
			return err
		}
		said.holds = said.holds.With(lane.Region, max(said.holds.At(lane.Region), clock.Timestamp(p.GetApplied())))
		if lane == r.self {
			said.upTo, floor = clock.Timestamp(p.GetApplied()), clock.Timestamp(p.GetSafe())
		}
	}
	for _, p := range h.GetReports() {
		report, err := reportFrom(p)
		if err != nil {
			return err
		}
		if report.Region == r.self.Region {
			said.see = said.see.Join(report.Durable).Join(report.Floor)
			floor = max(floor, report.Safe)
		} else if report.Region == s.peer && !r.c.Exposure.Recovering() && r.recovery.running() {
			said.see = said.see.Join(report.Durable) // a newcomer catches up first
		}
	}
	if r.recovery.running() {
		r.recovery.hear(s.peer, said, floor)
		return nil
	}
	return r.checkShort(s, said)
}

func (c *recovery) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// start is the last record of the own lane that this run has not written.
func (c *recovery) start() clock.Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

func (c *recovery) hear(from clock.Region, said handed, floor clock.Timestamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handed[from] = said
	c.floor = max(c.floor, floor)
}

// unmet takes back that a region was met: it hears another store of this node's region, which goes before
// this one. What it holds it says again once it does not.
func (c *recovery) unmet(region clock.Region) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.handed, region)
}

// rise gives this node's store a standing above every store of its region that served before, as far as those
// who were met have heard of it: what that promised, and so when it began to serve, is at or below floor.
func (c *recovery) rise(wall clock.Timestamp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.standing.Store(max(servesFromStart, uint64(wall), uint64(c.floor)) + 1)
}

// checkShort stops this node when a peer holds more of its lane, or of its reports, than it does. It is
// forked if it has written, since whoever holds more of the lane does not hold that.
func (r *Replicator) checkShort(s *stream, said handed) error {
	have := r.c.Exposure.Applied()
	if said.upTo <= have.At(r.self.Region) && have.Includes(said.see) {
		return nil
	}
	if own := have.At(r.self.Region); said.upTo > own && own > r.recovery.start() {
		return r.ownFork(s, said.upTo)
	}
	err := kv.Errorf(kv.KindLost, "region %d (%s) holds this region's writes up to %s and its reports up to %s, but only %s is here: the data folder lost something; restart this node, and it takes back what the others hold",
		s.peer, s.name, said.upTo, said.see, have)
	if e := r.c.Store.Short(r.context(), err.Error()); e != nil {
		return e
	}
	r.c.Hooks.writable(false, err.Message)
	r.end(err)
	return err
}

// review ends the recovery when nothing is missing any more. Only the planner calls it.
func (c *recovery) review(ctx context.Context, r *Replicator) error {
	if !c.running() {
		return nil
	}
	if reason := c.missing(r); reason != "" {
		c.tell(r, reason)
		return nil
	}
	if r.c.Exposure.Recovering() {
		c.rise(clock.At(r.c.Time.Wall()))
		r.c.Exposure.Recovered() // this node writes its lane from here on
	}
	if m, _ := r.registry.find(r.self.Region); !m.Serving {
		r.askToServe()
		c.tell(r, "it is decided that this region serves")
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active, c.begun = false, r.ownEnd()
	close(c.done)
	r.c.Hooks.writable(true, "")
	return nil
}

// Recovered notes durably that the recovery is over. Call it once WaitWritable has returned and the
// lane has logged, on disk, what was lost of it: after a crash before that, a start recovers again.
func (r *Replicator) Recovered(ctx context.Context) error {
	if err := r.c.Store.Recovered(ctx); err != nil {
		return fmt.Errorf("noting that the recovery is over: %w", err)
	}
	identity := r.c.Identity
	identity.Recovering = false
	if t := r.recovery.standing.Load(); t > servesFromStart {
		identity.recovered = clock.Timestamp(t)
	}
	return identity.save(ctx, r.c.Store)
}

func (c *recovery) tell(r *Replicator, reason string) {
	if reason != c.reason {
		c.reason = reason
		r.c.Hooks.writable(false, "waiting until "+reason)
	}
}

// missing says what the recovery waits for; empty: nothing.
func (c *recovery) missing(r *Replicator) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	recovering := r.c.Exposure.Recovering()
	exposed, durable := r.c.Exposure.Exposed(), r.ownEnd()
	asked := c.asked(r, recovering)
	// What several regions lost together nobody can give back, though one that is left may remember a
	// report of it. It has forgotten nothing on the strength of that beyond what it holds itself.
	left := exposed
	for _, m := range asked {
		left = left.Join(c.handed[m.Region].holds)
	}
	var silent []string
	for _, m := range asked {
		said, ok := c.handed[m.Region]
		see := said.see.Meet(left)
		switch {
		case !ok:
			silent = append(silent, m.Name)
		case said.upTo > durable:
			return fmt.Sprintf("this region's own writes up to %s, which region %q holds, are here (now: %s)", said.upTo, m.Name, durable)
		case !exposed.Includes(see):
			return fmt.Sprintf("what region %q knows is here: %s (now: %s)", m.Name, see, exposed)
		}
	}
	if len(silent) > 0 {
		return "these regions have said what they hold: " + strings.Join(silent, ", ")
	}
	if recovering && r.takenOwn() != durable {
		return "records of the own lane are on disk"
	}
	return ""
}

// asked lists the regions that must say what they hold: all others that are neither gone nor being removed, or,
// for a region that joins, one that serves.
func (c *recovery) asked(r *Replicator, recovering bool) (out []Member) {
	_, list := r.registry.snapshot()
	for _, m := range list {
		if m.Region == r.self.Region || m.Fenced || r.gone(m.Name) {
			continue
		}
		if _, said := c.handed[m.Region]; said && m.Serving && !recovering {
			return []Member{m}
		}
		out = append(out, m)
	}
	return out
}

// ownEnd is the last record of the own lane on disk.
func (r *Replicator) ownEnd() clock.Timestamp {
	_, list := r.self, r.c.Exposure.Durable()
	return list.At(r.self.Region)
}

// takenOwn is the last record of the own lane that came from others.
func (r *Replicator) takenOwn() clock.Timestamp {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.in[r.self].taken
}

// holds are the cuts that this node holds open for newcomers.
type holds struct {
	mu   sync.Mutex
	list []*heldCut
}

type heldCut struct {
	region    clock.Region
	hold      *causal.Hold
	cut       clock.Vector
	streaming bool
	until     int64 // monotonic nanoseconds, once not streaming
}

// open holds a cut for a region, instead of an earlier one that is not being streamed any more.
func (h *holds) open(r *Replicator, region clock.Region) (*heldCut, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.list {
		if c.region == region && c.streaming {
			return nil, kv.Errorf(kv.KindUnavailable, "region %d is being sent a cut already", region)
		}
	}
	// Who asks anew lacks the earlier cut: nobody needs it any more.
	h.drop(r, func(c *heldCut) bool { return c.region == region })
	cut := r.c.Exposure.Exposed()
	hold, err := r.c.Exposure.Hold(cut)
	if err != nil {
		return nil, err
	}
	c := &heldCut{region: region, hold: hold, cut: cut, streaming: true}
	h.list = append(h.list, c)
	return c, nil
}

func (h *holds) streamed(r *Replicator, c *heldCut) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.streaming = false
	c.until = int64(r.c.Time.Monotonic() + HoldLimit)
}

// review releases the cuts of regions that have reported them, or have not been heard of too long.
func (h *holds) review(r *Replicator) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := int64(r.c.Time.Monotonic())
	h.drop(r, func(c *heldCut) bool {
		report, ok := r.c.Exposure.Reported(c.region)
		return !c.streaming && (now > c.until || ok && report.Durable.Includes(c.cut))
	})
}

// drop releases the cuts that are over. The caller holds mu.
func (h *holds) drop(r *Replicator, over func(*heldCut) bool) {
	h.list = slices.DeleteFunc(h.list, func(c *heldCut) bool {
		drop := over(c)
		if drop {
			r.c.Exposure.Release(c.hold)
		}
		return drop
	})
}

func (h *holds) releaseAll(r *Replicator) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(r, func(*heldCut) bool { return true })
}
