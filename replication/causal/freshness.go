package causal

import (
	"cmp"
	"slices"
	"time"

	"github.com/theriac-db/theriac/clock"
)

// maxHeard bounds the statements on a lane's freshness that wait for its records.
const maxHeard = 8

// Of the statements that count, some are kept for older cuts than what is exposed: maxPast, at least pastApart
// from each other.
const (
	maxPast   = 32
	pastApart = 25 * time.Millisecond
)

// statement says of a lane that all its records which were on its region's disk when this node's
// monotonic clock stood at at are records up to last.
type statement struct {
	last clock.Timestamp
	at   time.Duration
}

// freshness is how recent what is exposed of a lane is. waiting rises in both last and at: each waits
// for more records than the one before it, and says more. The first is never given up for a later one,
// or a node that is always a little behind would know nothing; beyond maxHeard the newest takes the
// place of the one before it.
type freshness struct {
	at      time.Duration
	known   bool
	waiting []statement
	past    []statement // that counted; the last one last
}

// keep notes a statement that counts. The last one moves until it is far enough from the one before it.
func (f *freshness) keep(s statement) {
	if n := len(f.past); n > 1 && f.past[n-1].at-f.past[n-2].at < pastApart {
		f.past[n-1] = s
		return
	}
	if len(f.past) == maxPast {
		f.past = slices.Delete(f.past, 0, 1)
	}
	f.past = append(f.past, s)
}

// until is how recent a cut is that holds a lane up to t. One that is kept says at least that.
func (f *freshness) until(t clock.Timestamp) (at time.Duration, known bool) {
	for _, s := range slices.Backward(f.past) {
		if s.last <= t {
			return s.at, true
		}
	}
	return 0, false
}

// hear takes a statement in its place, and tells whether at has risen. Nothing will follow at or below
// safe that is not exposed.
func (f *freshness) hear(s statement, safe clock.Timestamp) bool {
	if f.known && s.at <= f.at {
		return false
	}
	i, _ := slices.BinarySearchFunc(f.waiting, s, func(w, s statement) int { return cmp.Compare(w.at, s.at) })
	if i < len(f.waiting) && f.waiting[i].last <= s.last {
		return false // one that says more waits for no more
	}
	first := i
	for first > 0 && f.waiting[first-1].last >= s.last {
		first--
	}
	f.waiting = slices.Replace(f.waiting, first, i, s)
	if n := len(f.waiting); n > maxHeard {
		f.waiting = slices.Delete(f.waiting, n-2, n-1)
	}
	return f.settle(safe)
}

// settle takes what is exposed into account.
func (f *freshness) settle(safe clock.Timestamp) bool {
	n := 0
	for n < len(f.waiting) && f.waiting[n].last <= safe {
		n++
	}
	if n == 0 {
		return false
	}
	f.at, f.known = f.waiting[n-1].at, true
	f.keep(f.waiting[n-1])
	f.waiting = slices.Delete(f.waiting, 0, n)
	return true
}

// HeardAt says that all records of a lane which were on its region's disk when this node's monotonic
// clock stood at at are records up to last: a heartbeat that answers one sent then says so. It counts
// once those are exposed here. What is said of the own lane or of strangers is ignored.
func (m *Machine) HeardAt(id clock.Lane, last clock.Timestamp, at time.Duration) {
	if l := m.lane(id); l != nil && l != m.own && l.fresh.hear(statement{last, at}, l.safe) {
		m.freshened++
	}
}

// Serves says that a region takes writes from here on. One that joins has written nothing, so nobody
// waits for it; its reports count for stability alone.
func (m *Machine) Serves(r clock.Region) {
	if l := m.region(r); l != nil && !l.serves {
		m.recount()
		l.serves = true
		m.freshened++ // not fresher, but whoever waits must look again
	}
}

// Reading says how recent what is exposed of a region is: all that was on its disk when this node's
// monotonic clock stood at At.
type Reading struct {
	Region clock.Region
	At     time.Duration
	Known  bool // false: nothing was heard since this node started
}

// Readings are those of all serving regions, by region; now is the monotonic clock's. The own region is
// always fresh, unless its own records are still being taken from others. A machine that starts knows
// nothing of the others: what it was told before counted by another process's clock.
func (m *Machine) Readings(now time.Duration) []Reading {
	out := make([]Reading, 0, len(m.lanes))
	for _, l := range m.lanes {
		switch {
		case !l.serves:
		case l == m.own:
			if !m.recovering {
				l.fresh.keep(statement{l.exposed, now})
			}
			out = append(out, Reading{Region: l.id.Region, At: now, Known: !m.recovering})
		default:
			out = append(out, Reading{Region: l.id.Region, At: l.fresh.at, Known: l.fresh.known})
		}
	}
	return out
}

// ReadingsAt are those of a cut that may be older than what is exposed, as strong snapshots are: at least as old as
// they have to be, and not known where the cut is older than all that is kept.
func (m *Machine) ReadingsAt(cut clock.Vector, now time.Duration) []Reading {
	out := m.Readings(now)
	for i := range out {
		r := &out[i]
		l := m.region(r.Region)
		if t := cut.At(r.Region); t < l.exposed {
			r.At, r.Known = l.fresh.until(t)
		}
	}
	return out
}

// Freshened counts the changes of Readings. Time changes nothing.
func (m *Machine) Freshened() uint64 { return m.freshened }

// Statement is what may be said to others of a lane's freshness: all its records that were on its
// region's disk at at are records up to last. Of the own lane that is what is on disk now, unless own
// records may be missing.
func (m *Machine) Statement(id clock.Lane, now time.Duration) (last clock.Timestamp, at time.Duration, known bool) {
	l := m.lane(id)
	switch {
	case l == nil:
		return 0, 0, false
	case l == m.own:
		return l.exposed, now, !m.recovering
	}
	return l.exposed, l.fresh.at, l.fresh.known
}

// Spread is the time up to which so many serving regions, this one included, have all groups of region
// r exposed and on their disks, as far as they have told. It falls when one of them loses its disk.
func (m *Machine) Spread(r clock.Region, regions int) clock.Timestamp {
	var have []clock.Timestamp
	for _, l := range m.lanes {
		if !l.serves || l.id.Region == 0 {
			continue
		}
		if l == m.own {
			have = append(have, m.Reached(r, Durable))
		} else if p := m.peer(l.id.Region); p != nil && p.latest != nil {
			have = append(have, p.latest.Durable.At(r))
		}
	}
	if regions < 1 || regions > len(have) {
		return 0
	}
	slices.Sort(have)
	return have[len(have)-regions]
}
