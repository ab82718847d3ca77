package replication

import (
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/replication/causal"
)

// RemoveRegion lets go of a member that has never written and never will; see
// causal.Machine.RemoveRegion.
func (x *Exposure) RemoveRegion(lane clock.Lane) (err error) {
	x.tell(func(m *causal.Machine) { err = m.RemoveRegion(lane) })
	return err
}
