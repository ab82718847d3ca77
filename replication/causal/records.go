package causal

import (
	"fmt"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// Action says what to do with a record that came from a peer.
type Action uint8

const (
	Apply     Action = iota + 1 // hand it to the store now
	Wait                        // Missing is not here yet; offer it again when E includes it
	Duplicate                   // held already, or handed out to be applied; drop it
	Gap                         // records between Held and its Prev are missing; ask for them
	Fork                        // it claims another successor of a record held; refuse the peer, alarm
	Skewed                      // too far ahead of the wall clock; pause the stream, alarm
	Short                       // an own record that this node lacks: its disk lost something
	Stranger                    // of a lane that is no member's
	Malformed                   // contradicts itself; refuse the peer
)

var actionNames = [...]string{"", "apply", "wait", "duplicate", "gap", "fork", "skewed", "short", "stranger", "malformed"}

func (a Action) String() string {
	if int(a) < len(actionNames) && a > 0 {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Verdict answers Offer.
type Verdict struct {
	Action  Action
	Held    clock.Timestamp // last record of the lane held or handed out; the Prev to go on from
	Missing clock.Stamp     // Wait: first dependency that is not here; its region may be unknown yet
	Ahead   time.Duration   // Skewed: how far it is ahead of the wall clock
}

// fits reports whether a lane has records of a kind: no crash takes a commit back, and only the certifier drops.
func fits(k kv.RecordKind, l clock.Lane) bool {
	return k == kv.RecordGroup || (k == kv.RecordDrop) == (l.Region == 0)
}

// Offer judges a record from a peer. Apply hands it out: the caller must pass it to the store in the
// order of these verdicts, across all lanes, and then call RemoteApplied, or Dropped when the store
// did not take it. So records can follow each other into the store without waiting for one another.
// now is the wall clock's reading.
func (m *Machine) Offer(h kv.Header, now clock.Wall) Verdict {
	l := m.lane(h.Lane)
	if l == nil {
		return Verdict{Action: Stranger}
	}
	v := Verdict{Held: l.taken}
	switch {
	case h.Prev >= h.Time || h.Deps.Max() >= h.Time || !fits(h.Kind, h.Lane):
		v.Action = Malformed
	case h.Time <= l.taken || l == m.own && h.Time <= l.last:
		v.Action = Duplicate
	case l == m.own && !m.recovering:
		v.Action = Short
	case h.Prev > l.taken:
		v.Action = Gap
	case h.Prev < l.taken:
		v.Action = Fork
	case m.ahead(h, now) > m.maxSkew:
		v.Action, v.Ahead = Skewed, m.ahead(h, now)
	default:
		v.Action, v.Missing = m.dependencies(h)
	}
	if v.Action == Apply {
		l.taken = h.Time
	}
	return v
}

// ahead is how far a record's timestamp is ahead of the wall clock. The certifier's are plain
// numbers, which no clock made.
func (m *Machine) ahead(h kv.Header, now clock.Wall) time.Duration {
	if h.Lane.Region == 0 {
		return 0
	}
	return h.Time.Wall().Sub(now)
}

// dependencies compares with what is handed out, not with what is applied: the store applies in the
// order of the verdicts.
func (m *Machine) dependencies(h kv.Header) (Action, clock.Stamp) {
	for _, e := range h.Deps {
		if e.Region == h.Lane.Region {
			continue // the chain orders a lane
		}
		if l := m.region(e.Region); (l == nil || l.taken < e.Time) && !mutant.On(mutant.DependencyLeftOut) {
			return Wait, clock.Stamp(e)
		}
	}
	return Apply, clock.Stamp{}
}

// Ready reports whether a record may be applied at this very moment: it follows the last one of its
// lane, and E includes its dependencies. The store's writer asks before it writes a record that
// Offer handed out; false means that one before it was dropped, and that this one must be too.
func (m *Machine) Ready(h kv.Header) bool {
	l := m.lane(h.Lane)
	if l == nil || l.last != h.Prev || h.Time <= h.Prev || l == m.own && !m.recovering {
		return false
	}
	for _, e := range h.Deps {
		if e.Region != h.Lane.Region && m.open.current.at.At(e.Region) < e.Time && !mutant.On(mutant.DependencyLeftOut) {
			return false
		}
	}
	return true
}

// Dropped takes back everything of a lane that Offer handed out and the store has not applied.
func (m *Machine) Dropped(id clock.Lane) {
	l := m.mustLane(id)
	l.taken = l.exposed
}

// RemoteApplied exposes a record that came from a peer: the store has applied it. It must be Ready.
func (m *Machine) RemoteApplied(h kv.Header) {
	if !m.Ready(h) {
		panic(fmt.Sprintf("causal: record %s, after %s, needing %s, was applied at %s", h.Stamp(), h.Prev, h.Deps, m.Exposed())) // invariants 1, 2
	}
	l := m.lane(h.Lane)
	l.last = h.Time
	m.expose(l, h.Time)
	if h.Lane.Region == 0 {
		m.strong.prove(h.Deps)
	}
}

// Synced says that a lane's records up to t are on disk. For the own lane it exposes them.
func (m *Machine) Synced(id clock.Lane, t clock.Timestamp) {
	l := m.mustLane(id)
	if t > l.last {
		panic(fmt.Sprintf("causal: lane %s is on disk up to %s, but applied up to %s only", id, t, l.last))
	}
	l.durable = max(l.durable, t)
	if l != m.own || m.recovering {
		return
	}
	m.forgetSynced()
	m.expose(l, l.durable)
}

// LocalApplied says that the store has applied an own group, which is not on disk yet. meet is the
// meet of the snapshots of the group's transactions; they may be closed from now on. A group that
// read nothing (a void interval) passes E.
func (m *Machine) LocalApplied(t clock.Timestamp, meet clock.Vector) {
	if m.recovering || t <= m.own.last {
		panic(fmt.Sprintf("causal: own group %s after %s, recovering: %t", t, m.own.last, m.recovering)) // invariant 2
	}
	if !meet.Includes(m.floor) {
		panic(fmt.Sprintf("causal: own group %s has a snapshot of %s, below the floor %s that was told to others", t, meet, m.floor)) // invariant 6
	}
	m.own.last = t
	m.rememberUnsynced(t, meet)
	if mutant.On(mutant.ExposedBeforeDurable) {
		m.expose(m.own, t)
	}
	m.showApplied()
}

// LocalSafe promises that the own lane commits nothing more at or below safe; last is the last
// timestamp that its clock gave to a group before the promise, applied or not. The promise counts
// once that group is on disk.
func (m *Machine) LocalSafe(last, safe clock.Timestamp) { m.hear(m.own, promise{last, safe}) }

// Heard says that a peer promised: the lane's record last is followed by nothing at or below safe.
// It counts once that record is exposed here. What is said of the own lane or of strangers is
// ignored.
func (m *Machine) Heard(id clock.Lane, last, safe clock.Timestamp) {
	if l := m.lane(id); l != nil && l != m.own {
		m.hear(l, promise{last, safe})
	}
}

// hear keeps the later promise when both wait: each record raises the raw entry as well, so a lane
// that is always behind does not starve.
func (m *Machine) hear(l *lane, p promise) {
	if p.safe > l.safe && (p.last <= l.exposed || p.safe > l.heard.safe) {
		l.heard = p
		m.shown(l)
	}
}

// Promise is what may be said of a lane to others: its last record that is on disk here, and the
// time up to which nothing follows it.
func (m *Machine) Promise(id clock.Lane) (last, safe clock.Timestamp) {
	l := m.mustLane(id)
	if l.durable < l.exposed {
		return l.durable, l.durable
	}
	return l.exposed, l.safe
}
