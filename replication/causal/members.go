package causal

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// RemoveRegion lets go of a member that has never written and never will: stability, settling and
// what counts as on every disk wait for its reports no more, and none is taken. Who calls it offers
// no record of the region any more. Letting go of one that is no member, or again, changes nothing.
// The own region, the certifier, and one of which records are here, are refused with an error that matches
// kv.ErrInvalid.
//
// Stability stays sound: a member's floor bounds what it may still write, and this one writes
// nothing. The lane remains until the next start, empty and so in no vector, since streams may still
// speak of it.
func (m *Machine) RemoveRegion(id clock.Lane) error {
	l := m.lane(id)
	switch {
	case l == nil:
		return nil
	case id.Region == 0:
		return kv.Errorf(kv.KindInvalid, "lane %s is the certifier's, which is no region", id)
	case l == m.own:
		return kv.Errorf(kv.KindInvalid, "lane %s: a region can't remove itself", id)
	case l.taken != 0:
		return kv.Errorf(kv.KindInvalid, "lane %s: a region that has written can't be removed; records up to %s are here", id, l.taken)
	}
	m.recount()
	l.serves = false
	m.freshened++ // who waits for it looks again
	m.peers = slices.DeleteFunc(m.peers, func(p *peer) bool { return p.region == id.Region })
	m.Advance()
	return nil
}
