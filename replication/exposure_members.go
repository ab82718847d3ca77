package replication

import (
	"github.com/theriac-db/theriac/clock"
)

// EndRegion lets go of a region that was removed, once all that it left is here; see causal.Machine.EndRegion.
func (x *Exposure) EndRegion(lane clock.Lane, last, closed clock.Timestamp) (ended bool) {
	x.tell(func(m Core) { ended = m.EndRegion(lane, last, closed) })
	return ended
}

// RemoveRegion lets go of a member that has never written and never will; see
// causal.Machine.RemoveRegion.
func (x *Exposure) RemoveRegion(lane clock.Lane) (err error) {
	x.tell(func(m Core) { err = m.RemoveRegion(lane) })
	return err
}
