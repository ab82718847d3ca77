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

// EndRegion lets go of a region that was removed, once all is exposed here that it has left: its own records
// up to last, and the certifier's up to closed, where none of its strong transactions may follow. It reports
// whether that is so, now or since an earlier call. Stability, majorities and what counts as on every disk
// then wait for it no more. Who calls it offers no record of the region behind last. The own region does not end here.
//
// Stability stays sound: a member's floor bounds what may still come of it, and nothing will. What the region
// wrote stays in all vectors.
func (m *Machine) EndRegion(id clock.Lane, last, closed clock.Timestamp) bool {
	l := m.lane(id)
	switch {
	case l == nil || id.Region == 0 || l == m.own:
		return false
	case l.exposed < last || m.Exposed().At(0) < closed:
		return false
	case m.peer(id.Region) == nil:
		return true
	}
	m.recount()
	l.serves = false
	m.freshened++ // who waits for it looks again
	m.peers = slices.DeleteFunc(m.peers, func(p *peer) bool { return p.region == id.Region })
	m.Advance()
	return true
}
