package replication

import (
	"github.com/theriac-db/theriac/clock"
)

// RemoveRegion lets go of a member that has never written and never will; see
// causal.Machine.RemoveRegion.
func (x *Exposure) RemoveRegion(lane clock.Lane) (err error) {
	x.tell(func(m Core) { err = m.RemoveRegion(lane) })
	return err
}
