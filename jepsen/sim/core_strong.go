package sim

import (
	"fmt"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/replication/causal"
)

// Serving implements replication.Core.
func (c *core) Serving(regions []clock.Region) {
	c.mu.Lock()
	c.serving = len(regions)
	c.mu.Unlock()
	c.record.begin(callServing, regions)
	c.Core.Serving(regions)
	c.after(c.strongCut())
}

// OpenStrong implements replication.Core.
func (c *core) OpenStrong(writes bool) (causal.Snapshot, clock.Entry, bool, error) {
	c.record.begin(callOpenStrong, writes)
	s, wait, ok, err := c.Core.OpenStrong(writes)
	if ok {
		c.open[s.Number()] = s.At()
		if wrong := uniformly(s.At(), c.strongCut(), c.begun, c.exposed); wrong != "" {
			c.fail("snapshots", wrong)
		}
	}
	c.after(s.Number(), s.At(), wait.Region, wait.Time, err)
	return s, wait, ok, err
}

// Decided implements replication.Core.
func (c *core) Decided(upTo clock.Timestamp) {
	c.record.begin(callDecided, upTo)
	c.Core.Decided(upTo)
	c.after()
}

// Age implements replication.Core.
func (c *core) Age() {
	c.record.begin(callAge)
	c.Core.Age()
	c.after(c.strongCut())
}

// strongCut is where strong snapshots are opened, checked against what it was.
func (c *core) strongCut() clock.Vector {
	cut := c.Core.StrongCut()
	if wrong := risen(c.strong, cut); wrong != "" {
		c.fail("monotonic", "the strong cut "+wrong)
	}
	if wrong := uniformly(cut, cut, nil, c.Core.Exposed()); wrong != "" {
		c.fail("strong", wrong)
	}
	if !cut.Equal(c.strong) && !c.ended.Load() {
		if wrong := c.watch.uniform(cut); wrong != "" {
			c.fail("uniform", wrong)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strong = cut
	return cut
}

// lastStrong is where strong snapshots were opened when that was last looked at.
func (c *core) lastStrong() clock.Vector {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.strong
}

// uniformly: a strong snapshot is the strong cut, includes the E with which the process began, and is
// exposed, all that is of the certifier's lane.
func uniformly(at, cut, begun, exposed clock.Vector) string {
	switch {
	case !at.Equal(cut):
		return fmt.Sprintf("a strong snapshot is opened at %s, while the strong cut is %s", at, cut)
	case !at.Includes(begun):
		return fmt.Sprintf("a strong snapshot is opened at %s, below the E of the start, %s", at, begun)
	case !exposed.Includes(at):
		return fmt.Sprintf("the strong cut is %s, above what is exposed, %s", at, exposed)
	case len(at) > 0 && at.At(0) != exposed.At(0):
		return fmt.Sprintf("the strong cut is %s, while %s is exposed: it lacks commits", at, exposed)
	}
	return ""
}
