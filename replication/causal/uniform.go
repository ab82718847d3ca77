package causal

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// Strong transactions read at the strong cut: what is uniform, met with E. Uniform is what a majority of
// the serving regions has exposed and on its disk, so that nothing that a strong transaction depends on is
// lost with a region. Entry 0 is E[0]: the certifier's log is with a majority by itself, and a commit
// proves its own snapshot uniform, since that was a strong cut where it was opened.
//
// # The horizon and the floor wait for the strong cut, but not for ever
//
// A strong snapshot is older than E when it is opened. So the horizon and the floor stay at or below the
// strong cut as well; otherwise those snapshots would be too old as soon as they are there. But a region
// that is cut off from the majority has a strong cut that stands still, and it must go on folding: it may
// take writes for days. No strong transaction can begin there, since no majority certifies it. So the two
// wait at most for a grace: what is held for strong snapshots is at least the E of two Ages ago.
//
// That is sound, whatever the grace is, since OpenStrong refuses a cut that does not include the horizon,
// the last floor that was told, and the E with which this process began. What rests on horizon and floor
// is a statement about snapshots that are open or will be opened, and none that OpenStrong opens is one of
// those that they speak against. The grace decides only how long a caller waits once the region is back:
// until the strong cut includes what E was a grace before, as it does when a majority has that on disk.

// strongCuts are the strong cut and the snapshots open at it.
type strongCuts struct {
	changed bool // what quorum was computed from
	quorum  quorum

	proven clock.Vector // what was uniform so far; never falls
	begun  clock.Vector // nothing below is opened
	ready  bool         // the current cut is a strong one, not begun
	cuts   openCuts

	before, aged clock.Vector // E at the last Age, and at the one before

	earlier earlier // strong transactions of earlier processes
}

// earlier is what is known of strong transactions that earlier processes of this region proposed.
type earlier struct {
	undecided bool            // some may be certified whose floor nobody here keeps
	told      bool            // all are decided,
	upTo      clock.Timestamp // and those that were certified are exposed with this entry 0
}

// begin starts anew from an E. Others may have counted reports of an earlier process up to it, and of the
// commits exposed by then nobody here remembers the snapshots. So no strong snapshot is opened before the
// strong cut includes it, and until then it is what horizon and floor go by.
func (s *strongCuts) begin(e clock.Vector) {
	s.begun, s.ready = e, false
	s.before, s.aged = e, e
	s.cuts.advance(e)
}

// prove takes a commit's snapshot as uniform.
func (s *strongCuts) prove(snapshot clock.Vector) { s.proven = s.proven.Join(snapshot) }

// quorum is what the other serving regions have, as far as it decides what is uniform. Of each entry the
// uniform time is the need-th highest of all; with the own one among them that lies between the need-th
// highest of the others and the one before.
type quorum struct {
	low, high clock.Vector
	own       bool // this region is one of those that serve
	alone     bool // what it has needs no other
}

// at is the uniform time of a region, of which this one has own.
func (q *quorum) at(r clock.Region, own clock.Timestamp) clock.Timestamp {
	low := q.low.At(r)
	switch {
	case !q.own:
		return low
	case q.alone:
		return max(low, own)
	}
	return max(low, min(own, q.high.At(r)))
}

// majority finds out what a majority of the serving regions has, by what the others of them say.
func (m *Machine) majority() quorum {
	n := 0
	var others []clock.Vector
	for _, l := range m.lanes {
		if !l.serves || l.id.Region == 0 {
			continue
		}
		n++
		if p := m.peer(l.id.Region); p != nil && p.latest != nil {
			others = append(others, p.latest.Durable)
		}
	}
	if n == 0 {
		return quorum{}
	}
	need := n/2 + 1
	if mutant.On(mutant.UniformWithoutMajority) {
		need--
	}
	return quorum{low: highest(others, need), high: highest(others, need-1), own: m.own.serves, alone: need == 1}
}

// highest is the k-th highest time of each entry.
func highest(all []clock.Vector, k int) (out clock.Vector) {
	if k < 1 || k > len(all) {
		return nil
	}
	var entries clock.Vector
	for _, v := range all {
		entries = entries.Join(v)
	}
	times := make([]clock.Timestamp, len(all))
	for _, e := range entries {
		for i, v := range all {
			times[i] = v.At(e.Region)
		}
		slices.Sort(times)
		if t := times[len(times)-k]; t != 0 {
			out = append(out, clock.Entry{Region: e.Region, Time: t})
		}
	}
	return out
}

// Serving says which regions serve, all at once since a majority is one of them; the own one is listed if it
// does. Until it is called nothing is uniform. A region that joins is a member, and no part of it.
func (m *Machine) Serving(regions []clock.Region) {
	m.recount()
	for _, l := range m.lanes {
		if serves := slices.Contains(regions, l.id.Region); l.id.Region != 0 && l.serves != serves {
			l.serves = serves
			m.freshened++
		}
	}
}

// recount has the quorum computed anew, since what it is computed from is about to change. What it has
// proven by now counts, whether or not anybody has asked: what is answered depends on events only.
func (m *Machine) recount() {
	m.refresh()
	s := &m.strong
	s.prove(m.vector(m.quorate))
	s.changed = true
}

// refresh computes the quorum if it has changed.
func (m *Machine) refresh() {
	if s := &m.strong; s.changed {
		s.changed, s.quorum = false, m.majority()
	}
}

// quorate is up to where a majority has a lane on disk.
func (m *Machine) quorate(l *lane) clock.Timestamp {
	return m.strong.quorum.at(l.id.Region, min(l.exposed, l.durable))
}

// uniform is one entry of Uniform, for a quorum that is fresh.
func (m *Machine) uniform(l *lane) clock.Timestamp {
	if l.id.Region == 0 {
		return l.exposed
	}
	return min(l.exposed, max(m.strong.proven.At(l.id.Region), m.quorate(l)))
}

// Uniform is what a majority of the serving regions has exposed and on its disk, as far as this node has
// heard, and of that what is exposed here; entry 0 is E[0]. It never falls, and is causally closed as soon
// as it includes the E of the start.
//
// Closed: what a region has exposed and on its disk is, since it applies and syncs in causal order. So who
// has a group has its dependencies, which a majority therefore has too. The join with the snapshots of
// commits and the meet with E keep it so.
func (m *Machine) Uniform() clock.Vector {
	m.refresh()
	return m.vector(m.uniform)
}

// StrongCut is the newest cut at which strong snapshots are opened; empty while it does not include the
// E of the start, so that none is.
func (m *Machine) StrongCut() clock.Vector {
	s := &m.strong
	if u := m.Uniform(); !m.recovering && u.Includes(s.begun) && (!s.ready || !u.Equal(s.cuts.current.at)) {
		s.ready = true
		s.cuts.advance(u)
	}
	if !s.ready {
		return nil
	}
	return s.cuts.current.at
}

// strongAt is one entry of the strong cut. Who waits for one asks at every step of E, so it makes no vector.
func (m *Machine) strongAt(l *lane) clock.Timestamp {
	if !m.strong.ready {
		return m.StrongCut().At(l.id.Region)
	}
	m.refresh()
	return m.uniform(l)
}

// heldForStrong is what horizon and floor must not pass for the sake of strong snapshots that are opened
// later.
func (m *Machine) heldForStrong() clock.Vector {
	m.StrongCut()
	return m.strong.cuts.current.at.Join(m.strong.aged)
}

// Age lets the time pass that horizon and floor wait for a strong cut which stands still. The node calls
// it every few seconds; two calls are the grace.
func (m *Machine) Age() {
	m.strong.aged, m.strong.before = m.strong.before, m.Exposed()
}

// OpenStrong opens a snapshot at the strong cut. With writes, it keeps the floor at or below it until it
// is closed: once its transaction is aborted, or its commit exposed here.
//
// It opens none while the strong cut lacks what every snapshot must include: the E of the start, the
// horizon, and, with writes, the last floor that was told. Then ok is false, and wait is the first entry
// to wait for (Reach Uniform). Errors match kv.ErrOverloaded, or kv.ErrUnavailable while recovering.
func (m *Machine) OpenStrong(writes bool) (snapshot Snapshot, wait clock.Entry, ok bool, err error) {
	if m.recovering {
		return Snapshot{}, clock.Entry{}, false, kv.Errorf(kv.KindUnavailable, "this node is taking back what the others hold of its region's writes: strong transactions begin here once that is done; try another region")
	}
	if err := m.roomToOpen(); err != nil {
		return Snapshot{}, clock.Entry{}, false, err
	}
	must := m.strong.begun.Join(m.Horizon())
	if writes {
		must = must.Join(m.floor)
	}
	if mutant.On(mutant.StrongBelowHorizon) {
		must = m.strong.begun
	}
	at := m.StrongCut()
	for _, e := range must {
		if at.At(e.Region) < e.Time {
			return Snapshot{}, e, false, nil
		}
	}
	m.open.opened++
	c := m.strong.cuts.enter(writes)
	return Snapshot{cut: c, at: c.at, writes: writes, strong: true, number: m.open.opened}, clock.Entry{}, true, nil
}

// Decided says that all is decided that earlier processes of this region had proposed, and that what of it
// was certified is at or below upTo in the certifier's lane. Once that is exposed here reports carry a
// floor.
func (m *Machine) Decided(upTo clock.Timestamp) {
	m.strong.earlier.told, m.strong.earlier.upTo = true, upTo
}

// undecided tells whether strong transactions of earlier processes may still come that have not seen a
// floor which would be told now.
func (m *Machine) undecided() bool {
	s := &m.strong.earlier
	if s.undecided && s.told && m.Exposed().At(0) >= s.upTo {
		s.undecided = false
	}
	return s.undecided
}
