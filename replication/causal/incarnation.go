package causal

import "github.com/theriac-db/theriac/clock"

// incarnations are what is known of a region's stores. The one that a handshake named last is the
// current one; until there was a handshake, the one of the report with the highest number.
type incarnations struct {
	now, ended uint64
	known      bool // now is set
}

// Incarnated says that a region's node has come with this store. What an earlier store reported to
// have on its disk is taken back: it does not let anybody truncate, and releases nothing. What was
// counted for stability stays, and so does stable: a region that lost its disk writes nothing before
// it has exposed all that it had reported (see Remembered), so what it writes has seen those floors.
func (m *Machine) Incarnated(r clock.Region, incarnation uint64) {
	if p := m.peer(r); p != nil && (!p.store.known || p.store.now != incarnation) {
		p.renew(incarnation)
	}
}

// renew makes another incarnation the current one.
func (p *peer) renew(incarnation uint64) {
	p.before = p.remembered(false)
	p.store = incarnations{now: incarnation, ended: p.store.now, known: true}
	p.latest, p.waiting, p.next = nil, nil, nil // what waits may never be counted
}

// current tells whether a report is news, and of the region's current store; one of a store not heard
// of before makes that the current one.
func (p *peer) current(r *Report) bool {
	switch {
	case !p.store.known:
		p.store = incarnations{now: r.Incarnation, known: true}
	case r.Incarnation == p.store.now:
		return p.latest == nil || r.Number > p.latest.Number
	case r.Incarnation == p.store.ended || r.Number <= max(p.before.Number, p.number()):
		return false
	default:
		p.renew(r.Incarnation)
	}
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
