package causal

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
)

// maxEnded bounds the stores of a region that are remembered as ended. A late report of an older one
// has a lower number than what is known of the region, so it is refused all the same.
const maxEnded = 16

// incarnations are what is known of a region's stores. The one that a handshake named last is the
// current one; until there was a handshake, the one of the report with the highest number.
type incarnations struct {
	now   uint64
	known bool     // now is set
	met   bool     // a handshake named it, and the connection lives: no report of another displaces it
	ended []uint64 // oldest first
}

// begin makes another store the current one.
func (s *incarnations) begin(incarnation uint64, met bool) {
	if s.known && s.now != incarnation && !slices.Contains(s.ended, s.now) {
		s.ended = append(s.ended, s.now)
		s.ended = s.ended[max(0, len(s.ended)-maxEnded):]
	}
	s.ended = slices.DeleteFunc(s.ended, func(e uint64) bool { return e == incarnation })
	s.now, s.known, s.met = incarnation, true, met
}

// Incarnated says that a region's node has come with this store. What an earlier store reported to
// have on its disk is taken back: it does not let anybody truncate, and releases nothing. So is a
// promise whose records have not come: they may be lost with it. What was counted for stability stays,
// and so does stable: a region that lost its disk writes nothing before it has exposed all that it had
// reported (see Remembered), so what it writes has seen those floors.
//
// Until Parted only another call of Incarnated makes another store the current one.
func (m *Machine) Incarnated(r clock.Region, incarnation uint64) {
	p := m.peer(r)
	if p == nil {
		return
	}
	if !p.store.known || p.store.now != incarnation {
		m.renew(p)
	}
	p.store.begin(incarnation, true)
}

// Parted says that no connection to a region is left: from here on a report may tell of a new store, by
// its number. A store that has not reported has no number to compare with, so it counts as not known.
func (m *Machine) Parted(r clock.Region) {
	if p := m.peer(r); p != nil {
		p.store.met = false
		p.store.known = p.store.known && p.latest != nil
	}
}

// renew lets go of what the current store of a region said and another may lack.
func (m *Machine) renew(p *peer) {
	m.recount()
	p.before = p.remembered(false)
	p.latest, p.waiting, p.next = nil, nil, nil // what waits may never be counted
	if l := m.region(p.region); l != nil {
		l.heard, l.fresh.waiting = promise{}, nil
	}
}

// current tells whether a report is news, and of the region's current store; one of a store not heard
// of before makes that the current one, unless a handshake has named another.
func (m *Machine) current(p *peer, r *Report) bool {
	s := &p.store
	switch {
	case s.known && r.Incarnation == s.now:
		return p.latest == nil || r.Number > p.latest.Number
	case s.met || slices.Contains(s.ended, r.Incarnation) || r.Number <= max(p.before.Number, p.number()):
		return false
	case s.known:
		m.renew(p)
	}
	s.begin(r.Incarnation, false)
	return true
}

func (p *peer) number() uint64 {
	if p.latest == nil {
		return 0
	}
	return p.latest.Number
}

// and is what two reports say together.
func (r Report) and(o Report) Report {
	return Report{
		Region: o.Region, Number: max(r.Number, o.Number), Incarnation: o.Incarnation,
		Durable: r.Durable.Join(o.Durable), Floor: r.Floor.Join(o.Floor),
		Safe: max(r.Safe, o.Safe), Zero: max(r.Zero, o.Zero),
	}
}

// Remembered is what all stores of a region have reported, together. A region that lost its disk must
// have what was counted here again before it writes: others may have forgotten what lies below. It
// need not have what was reported and not counted, and may never: records that burned with the disk
// before anybody had them. A region that knows of no loss is told that too (uncounted), and finds out.
func (m *Machine) Remembered(r clock.Region, uncounted bool) (Report, bool) {
	p := m.peer(r)
	if p == nil {
		return Report{}, false
	}
	out := p.remembered(uncounted)
	return out, out.Number > 0
}

func (p *peer) remembered(uncounted bool) Report {
	out := p.before.and(p.counted)
	out.Region, out.Incarnation = p.region, p.store.now
	if p.latest == nil {
		return out
	}
	if uncounted {
		return out.and(*p.latest)
	}
	// Its numbers and timestamps are not used again in any case.
	out.Number, out.Safe = max(out.Number, p.latest.Number), max(out.Safe, p.latest.Safe)
	return out
}
