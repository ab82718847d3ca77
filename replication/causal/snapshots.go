package causal

import (
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// cut is a value that E had, and how many snapshots are open at it. E only rises, so cuts are
// ordered by age, and the meet of all open ones is the oldest: neither opening nor moving the
// horizon ever folds over the open snapshots.
type cut struct {
	at      clock.Vector
	readers int // snapshots open, writers included
	writers int // of them, those that may write
	all     links
	writing links
}

// links are a cut's neighbours in one of the two lists.
type links struct{ older, newer *cut }

// openCuts are the cuts with open snapshots: a list of all of them, and one of those with writers,
// each as long as there are open snapshots at most, plus the current cut.
type openCuts struct {
	current *cut
	oldest  *cut   // among cuts with readers, and current
	writing *cut   // oldest cut with writers; nil: none
	newest  *cut   // newest cut with writers
	count   int    // open snapshots
	opened  uint64 // of all times
	limit   int
}

// oldestOpen is the oldest cut with readers; nil: none has any.
func (o *openCuts) oldestOpen() *cut {
	if o.oldest.readers == 0 { // the current one
		return nil
	}
	return o.oldest
}

// enter opens a snapshot at the current cut.
func (o *openCuts) enter(writes bool) *cut {
	c := o.current
	o.count++
	c.readers++
	if writes {
		if c.writers++; c.writers == 1 {
			o.linkWriting(c)
		}
	}
	return c
}

// leave ends a snapshot at a cut.
func (o *openCuts) leave(c *cut, writes bool) {
	o.count--
	c.readers--
	if writes {
		if c.writers--; c.writers == 0 {
			o.unlinkWriting(c)
		}
	}
	if c.readers == 0 && c != o.current {
		o.unlink(c)
	}
}

// advance makes a new cut the current one.
func (o *openCuts) advance(at clock.Vector) {
	c := &cut{at: at}
	before := o.current
	o.current = c
	if before == nil {
		o.oldest = c
		return
	}
	c.all.older, before.all.newer = before, c
	if before.readers == 0 {
		o.unlink(before)
	}
}

// unlink forgets a cut that has no readers and is not the current one.
func (o *openCuts) unlink(c *cut) {
	if c.all.older != nil {
		c.all.older.all.newer = c.all.newer
	} else {
		o.oldest = c.all.newer
	}
	c.all.newer.all.older = c.all.older
	c.all = links{}
}

// linkWriting appends the current cut to the list of those with writers.
func (o *openCuts) linkWriting(c *cut) {
	c.writing.older = o.newest
	if o.newest != nil {
		o.newest.writing.newer = c
	} else {
		o.writing = c
	}
	o.newest = c
}

func (o *openCuts) unlinkWriting(c *cut) {
	if c.writing.older != nil {
		c.writing.older.writing.newer = c.writing.newer
	} else {
		o.writing = c.writing.newer
	}
	if c.writing.newer != nil {
		c.writing.newer.writing.older = c.writing.older
	} else {
		o.newest = c.writing.older
	}
	c.writing = links{}
}

// Snapshot is an open snapshot: the horizon stays at or below it until Close.
type Snapshot struct {
	cut    *cut
	at     clock.Vector
	writes bool
	strong bool
	number uint64
}

// Number tells the snapshots of one machine apart: they are counted from 1.
func (s Snapshot) Number() uint64 { return s.number }

// At is the vector to read at, and the dependencies of what is written.
func (s Snapshot) At() clock.Vector { return s.at }

// Writes tells whether the snapshot was opened by a transaction that may write.
func (s Snapshot) Writes() bool { return s.writes }

// Open opens a snapshot at E, or, if applied, at Applied. With writes, it also keeps the floor at or
// below it, until it is closed: after LocalApplied of its group, or once it is sure never to write.
// Errors match kv.ErrOverloaded.
func (m *Machine) Open(writes, applied bool) (Snapshot, error) {
	if err := m.roomToOpen(); err != nil {
		return Snapshot{}, err
	}
	c := m.open.enter(writes)
	m.open.opened++
	s := Snapshot{cut: c, at: c.at, writes: writes, number: m.open.opened}
	if applied {
		s.at = m.applied
	} else if !writes && c.all.older != nil && mutant.On(mutant.SnapshotOneBehind) {
		s.at = c.all.older.at
	}
	return s, nil
}

// roomToOpen refuses a snapshot too many.
func (m *Machine) roomToOpen() error {
	n := m.OpenSnapshots()
	if n < m.open.limit {
		return nil
	}
	return kv.Errorf(kv.KindOverloaded, "can't open a snapshot: %d are open, as many as allowed; end some transactions or try again", n)
}

// Close ends a snapshot. Each is closed exactly once.
func (m *Machine) Close(s Snapshot) {
	c := s.cut
	if c == nil || c.readers == 0 || s.writes && c.writers == 0 {
		panic("causal: a snapshot is closed twice")
	}
	if s.strong {
		m.strong.cuts.leave(c, s.writes)
		return
	}
	m.open.leave(c, s.writes)
}

// OpenSnapshots is how many snapshots are open, strong ones included.
func (m *Machine) OpenSnapshots() int { return m.open.count + m.strong.cuts.count }

// Hold keeps the horizon at or below a vector.
type Hold struct{ at clock.Vector }

// At is the vector held.
func (h *Hold) At() clock.Vector { return h.at }

// Hold keeps the horizon at or below v, for snapshots that live elsewhere: page tokens, backups, the
// cut of a joining region. A v that does not include the horizon is refused as too old
// (kv.ErrTooOld), one beyond E as invalid; more than MaxHolds are kv.ErrOverloaded.
func (m *Machine) Hold(v clock.Vector) (*Hold, error) {
	switch h := m.Horizon(); {
	case len(m.holds) >= MaxHolds:
		return nil, kv.Errorf(kv.KindOverloaded, "can't hold the horizon at %s: %d holds exist, as many as allowed", v, MaxHolds)
	case !v.Includes(h):
		return nil, kv.Errorf(kv.KindTooOld, "can't hold the horizon at %s: it is at %s already; take a newer snapshot", v, h)
	case !m.applied.Includes(v):
		return nil, kv.Errorf(kv.KindInvalid, "can't hold the horizon at %s: only %s is here", v, m.applied)
	}
	h := &Hold{at: v}
	m.holds = append(m.holds, h)
	return h, nil
}

// Pin holds the horizon where it is.
func (m *Machine) Pin() (*Hold, error) { return m.Hold(m.Horizon()) }

// Release ends a hold. Releasing it again changes nothing.
func (m *Machine) Release(h *Hold) {
	if i := slices.Index(m.holds, h); i >= 0 {
		m.holds = slices.Delete(m.holds, i, i+1)
	}
}

// Horizon is included in every snapshot that is open or will be opened, and in every hold.
func (m *Machine) Horizon() clock.Vector {
	v := m.open.oldest.at
	if m.open.oldest != m.open.current && mutant.On(mutant.HorizonAboveSnapshots) {
		v = m.open.current.at
	}
	for _, h := range m.holds {
		v = v.Meet(h.at)
	}
	if c := m.strong.cuts.oldestOpen(); c != nil {
		v = v.Meet(c.at)
	}
	return v.Meet(m.heldForStrong())
}
