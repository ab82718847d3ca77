package causal

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/clock"
)

// Report is what a region tells all others about itself. It stays true for good, so anybody may
// relay it.
type Report struct {
	Region clock.Region
	Number uint64 // rises with every report of the region, over incarnations too
	// Incarnation is the author's store. What an earlier one had on its disk a later one may lack.
	Incarnation uint64
	// Durable is what the region has exposed and on its disk: for durability and truncation.
	Durable clock.Vector
	// Floor is what everything has seen that the region had not on its disk: for stability.
	Floor clock.Vector
	// Safe is the region's last own record on its disk. The design speaks of the durable safe time;
	// the last record at or below it makes the same statement, and needs no heartbeat to be counted.
	Safe clock.Timestamp
	// Zero is the region's entry 0, exposed and on its disk.
	Zero clock.Timestamp
}

// peer is what a region has reported. A report that can't be counted yet is not replaced by a newer
// one, which waits behind it: otherwise a node that is always a little behind would count none.
type peer struct {
	region  clock.Region
	store   incarnations
	latest  *Report // of the current incarnation, by number; its Durable holds at once
	before  Report  // what all earlier incarnations reported, together
	counted Report  // none: its floor is empty, and so is what is stable
	waiting *Report
	next    *Report
}

// unsynced are own groups up to time, applied and not on disk, and the meet of their snapshots.
type unsynced struct {
	time clock.Timestamp
	meet clock.Vector
}

// noted is a stable vector, and what was exposed here when it was noted.
type noted struct{ stable, exposed clock.Vector }

func (m *Machine) rememberUnsynced(t clock.Timestamp, meet clock.Vector) {
	if n := len(m.unsynced); n == maxUnsynced {
		last := &m.unsynced[n-1]
		last.time, last.meet = t, last.meet.Meet(meet)
		return
	}
	m.unsynced = append(m.unsynced, unsynced{t, meet})
}

func (m *Machine) forgetSynced() {
	n := 0
	for n < len(m.unsynced) && m.unsynced[n].time <= m.own.durable {
		n++
	}
	m.unsynced = append(m.unsynced[:0], m.unsynced[n:]...)
}

// tellFloor computes what every own group has seen that is not on disk or not written yet. While the
// own lane may lack records that others hold nothing can be said about those.
func (m *Machine) tellFloor() clock.Vector {
	if m.recovering {
		return nil
	}
	v := m.Durable()
	if w := m.open.writing; w != nil {
		v = v.Meet(w.at)
	}
	for i := range m.unsynced {
		v = v.Meet(m.unsynced[i].meet)
	}
	if !v.Includes(m.floor) {
		panic(fmt.Sprintf("causal: the floor would fall from %s to %s", m.floor, v)) // invariant 6
	}
	m.floor = v
	return v
}

// Report makes this region's next report.
func (m *Machine) Report() Report {
	m.number++
	d := m.Durable()
	return Report{Region: m.self, Number: m.number, Incarnation: m.incarnation, Durable: d, Floor: m.tellFloor(), Safe: d.At(m.self), Zero: d.At(0)}
}

// Receive takes a report, from its author or relayed. It tells whether it is news: of a member, newer
// than those seen before, and not of an incarnation that has ended. An own report that a peer
// remembers raises the number of the next.
func (m *Machine) Receive(r Report) bool {
	if r.Region == m.self {
		m.number = max(m.number, r.Number)
		return false
	}
	p := m.peer(r.Region)
	if p == nil || !m.current(p, &r) {
		return false
	}
	p.latest = &r
	p.queue(&r)
	m.Advance()
	return true
}

// queue puts a report behind the one that waits to be counted. A region that speaks of fewer own
// records than before has lost them with its disk, so what waits may never be counted.
func (p *peer) queue(r *Report) {
	if p.waiting == nil || r.Safe < p.waiting.Safe {
		p.waiting, p.next = r, nil
		return
	}
	p.next = r
}

func (m *Machine) peer(r clock.Region) *peer {
	for _, p := range m.peers {
		if p.region == r {
			return p
		}
	}
	return nil
}

// Reported is the latest report of a region's current store; false when this node has heard none
// since it started.
func (m *Machine) Reported(r clock.Region) (Report, bool) {
	if p := m.peer(r); p != nil && p.latest != nil {
		return *p.latest, true
	}
	return Report{}, false
}

// Everywhere is what every member has on its disk, as far as this node has been told.
func (m *Machine) Everywhere() clock.Vector {
	v := m.Durable()
	for _, p := range m.peers {
		if p.latest == nil {
			return nil
		}
		v = v.Meet(p.latest.Durable)
	}
	return v
}

// Majority is what a majority of the regions, this one included, has on its disk, as far as this
// node has been told.
func (m *Machine) Majority() clock.Vector {
	own := m.Durable()
	times := make([]clock.Timestamp, 0, len(m.peers)+1)
	return m.vector(func(l *lane) clock.Timestamp {
		times = append(times[:0], own.At(l.id.Region))
		for _, p := range m.peers {
			if p.latest == nil {
				times = append(times, 0)
			} else {
				times = append(times, p.latest.Durable.At(l.id.Region))
			}
		}
		slices.Sort(times)
		return times[(len(times)-1)/2] // so many and it have it: more than half
	})
}

// Advance counts the reports that can be counted, and moves stable and settled.
func (m *Machine) Advance() {
	v := m.tellFloor()
	for _, p := range m.peers {
		m.count(p)
		v = v.Meet(p.counted.Floor)
	}
	// A stable vector stays so when a region is added: the newcomer's cut comes from a member whose
	// floor it was part of. It also does when a region that lost its disk reports an empty floor.
	m.stable = m.stable.Join(v)
	m.settle()
}

// count makes a report count once all that its author had on disk is exposed here.
func (m *Machine) count(p *peer) {
	e := m.Exposed()
	for p.waiting != nil && e.At(p.region) >= p.waiting.Safe && e.At(0) >= p.waiting.Zero {
		p.counted, p.waiting, p.next = *p.waiting, p.next, nil
	}
}

// settle moves settled to the noted vector once the horizon has passed what was exposed when it was
// noted, and notes the next. One noted is never replaced: under steady traffic the horizon would
// never catch up with the newest.
func (m *Machine) settle() {
	h := m.Horizon()
	for range 2 { // with nothing open, what is noted settles at once
		if m.noted == nil && !m.settled.Equal(m.stable) {
			m.noted = &noted{stable: m.stable, exposed: m.Exposed()}
		}
		if m.noted == nil || !h.Includes(m.noted.exposed) {
			return
		}
		m.settled, m.noted = m.noted.stable, nil
		if !h.Includes(m.settled) {
			panic(fmt.Sprintf("causal: settled %s above the horizon %s", m.settled, h)) // invariant 7
		}
	}
}

// Stable is the cut such that nothing concurrent with a group below it will still arrive here, as of
// the last Advance or Receive.
func (m *Machine) Stable() clock.Vector { return m.stable }

// Cuts moves stable and settled and returns the horizon with what is settled below it: every group
// above this horizon has seen all of this settled, so the two are used together or not at all.
func (m *Machine) Cuts() (horizon, settled clock.Vector) {
	m.Advance()
	return m.Horizon(), m.settled
}
