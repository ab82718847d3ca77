package causal

import (
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
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
	// Zero is the region's entry 0, exposed there, on its disk or not: the strong snapshots of commits up
	// to it are closed there, so Floor may be above them. A crash takes no commit back.
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
// own lane may lack records that others hold nothing can be said about those, and nothing about strong
// transactions while some of an earlier process may be certified.
func (m *Machine) tellFloor() clock.Vector {
	if m.recovering || m.undecided() {
		return nil
	}
	v := m.Durable().Meet(m.heldForStrong())
	if w := m.open.writing; w != nil {
		v = v.Meet(w.at)
	}
	if w := m.strong.cuts.writing; w != nil {
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
	return Report{Region: m.self, Number: m.number, Incarnation: m.incarnation, Durable: d, Floor: m.tellFloor(), Safe: d.At(m.self), Zero: m.Exposed().At(0)}
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
	if p.latest == nil || !p.latest.Durable.Equal(r.Durable) {
		m.recount()
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

// Droppable is up to where the logs here may be cut although some region lacks the records, given what
// was dropped from them before.
//
// What is dropped must be with a majority of the regions, this one included, and with one majority all of
// it, of all lanes, now and before. That each record is with some majority does not do: 1 and 2 may have
// all of lane 1, 2 and 3 all of lane 2, and 3 and 1 all of lane 3, when the links between them come and go.
// Were all of that dropped, each would lack a lane that no log has, and nobody would have a cut that
// includes all that another has: all would stay read-only for good.
//
// With one majority that can't be. Call a region stuck when nobody's log reaches back to what it has of
// some lane. Who has more of that lane has dropped it, and so the majority that has all that it dropped has
// more of it too: a set that holds a majority with each of its members. Were all regions stuck, each would
// have such a set, which it is not in itself; take one, a member of it, what the two sets share, a member
// of that, and so on: what is left holds a majority each time, as two majorities meet, and each time one
// region less. The test of this goes through all states of small clusters, those that took cuts included.
func (m *Machine) Droppable(dropped clock.Vector) clock.Vector {
	others := make([]clock.Vector, 0, len(m.peers))
	for _, p := range m.peers {
		if p.latest == nil {
			others = append(others, nil)
		} else {
			others = append(others, p.latest.Durable)
		}
	}
	return droppable(m.Durable(), others, dropped)
}

// droppable is the most of own, up to one time in all lanes, that so many of the others include that they
// are a majority with this region. Who lacks some of what was dropped is none of them.
func droppable(own clock.Vector, others []clock.Vector, dropped clock.Vector) clock.Vector {
	upTo := []clock.Timestamp{clock.MaxTimestamp} // this region
	for _, has := range others {
		t := clock.MaxTimestamp
		if !has.Includes(dropped) {
			t = 0
		}
		for _, e := range own {
			if have := has.At(e.Region); have < e.Time {
				t = min(t, have)
			}
		}
		upTo = append(upTo, t)
	}
	slices.Sort(upTo)
	most := upTo[(len(upTo)-1)/2] // so many and it have all up to it: more than half
	var out clock.Vector
	for _, e := range own {
		if t := min(e.Time, most); t != 0 {
			out = append(out, clock.Entry{Region: e.Region, Time: t})
		}
	}
	return out
}

// Advance counts the reports that can be counted, and moves stable and settled.
func (m *Machine) Advance() {
	v := m.tellFloor()
	for _, p := range m.peers {
		m.count(p)
		if mutant.Built && !p.counted.Floor.Includes(v) && mutant.On(mutant.StableWithoutReports) {
			continue
		}
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
