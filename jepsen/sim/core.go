package sim

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
)

// core stands before a node's machine: it passes each call on, records it, and checks what it did.
// The node calls it under a lock of its own, one call at a time.
type core struct {
	replication.Core
	watch  *watch
	reach  *reached
	record *recording
	ended  *atomic.Bool // of the process

	open   map[uint64]clock.Vector // snapshots
	begun  clock.Vector            // E at the start, and when a recovery ended: no strong snapshot is below
	own    clock.Lane
	onDisk clock.Timestamp // of the own lane

	mu         sync.Mutex // of what others look at
	exposed    clock.Vector
	settled    clock.Vector
	strong     clock.Vector // the strong cut
	serving    int          // regions
	recovering bool
}

// after checks and records what a call did, and what it answered.
func (c *core) after(answer ...any) {
	e := c.Core.Exposed()
	if wrong := shownEarly(c.own.Region, e, c.onDisk); wrong != "" && !c.recovering {
		c.fail("early", wrong)
	}
	if !e.Equal(c.exposed) {
		if wrong := risen(c.exposed, e); wrong != "" {
			c.fail("monotonic", "what is exposed "+wrong)
		}
		c.mu.Lock()
		c.exposed = e
		c.mu.Unlock()
	}
	c.record.end(e, c.Core.Applied(), answer...)
}

// shows is what is exposed, or was when the run ended.
func (c *core) shows() clock.Vector {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exposed
}

func (c *core) fail(check, text string) {
	if !c.ended.Load() {
		c.watch.fail(check, text)
	}
}

// Offer implements replication.Core.
func (c *core) Offer(h kv.Header, now clock.Wall) causal.Verdict {
	if !c.ended.Load() && h.Lane.Region != 0 { // the certifier's records are on no region's disk first
		if wrong := sentEarly(h, c.watch.onItsDisk(h.Lane)); wrong != "" {
			c.fail("early", wrong)
		}
	}
	if !c.ended.Load() && h.Lane.Region == 0 {
		if wrong := c.watch.derived(h); wrong != "" {
			c.fail("decided", wrong)
		}
	}
	c.record.begin(callOffer, h, now)
	v := c.Core.Offer(h, now)
	if v.Action != causal.Apply {
		c.reach.count("record offered: " + v.Action.String())
	}
	c.after(v)
	return v
}

// Dropped implements replication.Core.
func (c *core) Dropped(lane clock.Lane) {
	c.record.begin(callDropped, lane)
	c.Core.Dropped(lane)
	c.after()
}

// RemoteApplied implements replication.Core.
func (c *core) RemoteApplied(h kv.Header) {
	if wrong := follows(h, c.exposed); wrong != "" {
		c.fail("closed", wrong)
	}
	c.record.begin(callRemoteApplied, h)
	c.Core.RemoteApplied(h)
	c.after()
}

// Synced implements replication.Core.
func (c *core) Synced(lane clock.Lane, t clock.Timestamp) {
	if c.watch.onDisk(lane, t); lane == c.own {
		c.onDisk = max(c.onDisk, t)
	}
	c.record.begin(callSynced, lane, t)
	c.Core.Synced(lane, t)
	if !c.ended.Load() {
		c.watch.synced(lane, t)
	}
	c.after()
}

// LocalApplied implements replication.Core.
func (c *core) LocalApplied(t clock.Timestamp, meet clock.Vector) {
	if !c.ended.Load() {
		c.watch.shows(t)
	}
	c.record.begin(callLocalApplied, t, meet)
	c.Core.LocalApplied(t, meet)
	c.after()
}

// LocalSafe implements replication.Core.
func (c *core) LocalSafe(last, safe clock.Timestamp) {
	c.record.begin(callLocalSafe, last, safe)
	c.Core.LocalSafe(last, safe)
	c.after()
}

// Heard implements replication.Core.
func (c *core) Heard(lane clock.Lane, last, safe clock.Timestamp) {
	c.record.begin(callHeard, lane, last, safe)
	c.Core.Heard(lane, last, safe)
	c.after()
}

// HeardAt implements replication.Core.
func (c *core) HeardAt(lane clock.Lane, last clock.Timestamp, at time.Duration) {
	c.record.begin(callHeardAt, lane, last, at)
	c.Core.HeardAt(lane, last, at)
	c.after(c.Core.Freshened())
}

// Serves implements replication.Core.
func (c *core) Serves(r clock.Region) {
	c.record.begin(callServes, r)
	c.Core.Serves(r)
	c.after(c.Core.Freshened())
}

// AddRegion implements replication.Core.
func (c *core) AddRegion(lane clock.Lane) error {
	c.record.begin(callAddRegion, lane)
	err := c.Core.AddRegion(lane)
	c.after(err)
	return err
}

// RemoveRegion implements replication.Core.
func (c *core) RemoveRegion(lane clock.Lane) error {
	c.record.begin(callRemoveRegion, lane)
	err := c.Core.RemoveRegion(lane)
	c.after(err)
	return err
}

// Report implements replication.Core.
func (c *core) Report() causal.Report {
	c.record.begin(callReport)
	r := c.Core.Report()
	c.after(ownReport(r))
	return r
}

// Receive implements replication.Core.
func (c *core) Receive(r causal.Report) bool {
	c.record.begin(callReceive, r)
	news := c.Core.Receive(r)
	c.after(news)
	return news
}

// Incarnated implements replication.Core.
func (c *core) Incarnated(r clock.Region, incarnation uint64) {
	c.record.begin(callIncarnated, r, incarnation)
	c.Core.Incarnated(r, incarnation)
	c.after()
}

// Parted implements replication.Core.
func (c *core) Parted(r clock.Region) {
	c.record.begin(callParted, r)
	c.Core.Parted(r)
	c.after()
}

// Recovered implements replication.Core.
func (c *core) Recovered() {
	c.reach.count("lost disk recovered")
	c.record.begin(callRecovered)
	c.Core.Recovered()
	c.begun = c.Core.Exposed()
	c.mu.Lock()
	c.recovering = false
	c.mu.Unlock()
	c.after()
}

// Open implements replication.Core.
func (c *core) Open(writes, applied bool) (causal.Snapshot, error) {
	c.record.begin(callOpen, writes, applied)
	s, err := c.Core.Open(writes, applied)
	if err == nil {
		c.open[s.Number()] = s.At()
		if wrong := newest(s.At(), c.Core.Exposed(), c.Core.Applied(), applied); wrong != "" {
			c.fail("snapshots", wrong)
		}
	}
	c.after(s.Number(), s.At(), err)
	return s, err
}

// Close implements replication.Core.
func (c *core) Close(s causal.Snapshot) {
	if _, ok := c.open[s.Number()]; !ok {
		c.fail("snapshots", fmt.Sprintf("snapshot %d is closed and was not open", s.Number()))
	}
	delete(c.open, s.Number())
	c.record.begin(callClose, s.Number())
	c.Core.Close(s)
	c.after()
}

// Hold implements replication.Core.
func (c *core) Hold(v clock.Vector) (*causal.Hold, error) {
	c.record.begin(callHold, v)
	h, err := c.Core.Hold(v)
	c.held(h, err)
	return h, err
}

// Pin implements replication.Core.
func (c *core) Pin() (*causal.Hold, error) {
	c.record.begin(callPin)
	h, err := c.Core.Pin()
	c.held(h, err)
	return h, err
}

func (c *core) held(h *causal.Hold, err error) {
	if err != nil {
		c.after(uint64(0), clock.Vector(nil), err)
		return
	}
	c.after(c.record.hold(h), h.At(), nil)
}

// Release implements replication.Core.
func (c *core) Release(h *causal.Hold) {
	c.record.begin(callRelease, c.record.hold(h))
	c.Core.Release(h)
	c.after()
}

// Advance implements replication.Core.
func (c *core) Advance() {
	c.record.begin(callAdvance)
	c.Core.Advance()
	c.after()
}

// Cuts implements replication.Core.
func (c *core) Cuts() (horizon, settled clock.Vector) {
	c.record.begin(callCuts)
	horizon, settled = c.Core.Cuts()
	c.strongCut()
	if wrong := cutsHold(settled, horizon, c.exposed, c.open); wrong != "" {
		c.fail("cuts", wrong)
	}
	if wrong := risen(c.settled, settled); wrong != "" {
		c.fail("monotonic", "what is settled "+wrong)
	}
	if !settled.Equal(c.settled) {
		c.reach.count("something settled")
		c.mu.Lock()
		c.settled = settled
		c.mu.Unlock()
	}
	c.after(horizon, settled)
	return horizon, settled
}
