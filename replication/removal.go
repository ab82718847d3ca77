package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// A region is removed by two decisions of the raft group. From the first one on, the fence, nobody takes records
// of its lane, whoever offers them, and nobody has a stream to its node; only the raft group's messages still
// pass, since its voter may be needed for its own removal. Every region then says what it holds of the lane
// (Held). The second decision, the close, makes the highest of that the lane's last entry: the others ask those
// who have it, and what comes later is void.
//
// A node lets go of the region once it has the lane up to there, and the certifier's lane up to the close, and all
// that the other regions had on their disks when they heard of the close. Until then it counts: for stability, as
// records that come may still have been written behind its floor; and for majorities, though it acknowledges
// nothing any more. So whoever asks a majority of those that are left sees what a majority of those before had
// acknowledged: what it was acknowledged to before the region that accepted it acted by the fence is here by now, and from
// then on so many had to acknowledge it that any majority of one region less has one of them. Held does not wait for
// the others: what they have may depend on records of the lane that nobody may take before the close.

// Regions decides which regions there are, for all nodes alike: the raft group does. What is decided comes back
// through Replicator.Decided, here before a call returns, at other nodes soon. Add, Serve and Abandon may be
// called again for what was decided, which changes nothing. None is called with a lock of this package held. An error that matches kv.ErrUnavailable says that
// asking again may help.
type Regions interface {
	// Add has a region of a name join, with a store.
	Add(ctx context.Context, name string, store uint64) error
	// Serve has a region that joins with a store serve.
	Serve(ctx context.Context, region clock.Region, store uint64) error
	// Abandon gives up a region that joins.
	Abandon(ctx context.Context, region clock.Region) error
	// Acts tells whether a region is known to act by a version, as all must before a newcomer begins. It does not
	// block; nor does false say that it doesn't.
	Acts(region clock.Region, version uint64) bool
	// Leads tells whether it is this node's to decide on its own what some node has to. It does not block.
	Leads() bool
}

// Decided takes the set of regions as a version of what is decided has it, all that there ever were. Addresses
// in it do not count. It fails when the disk does; a list by which this node's region is no more ends Run.
func (r *Replicator) Decided(ctx context.Context, version uint64, list []Member) error {
	return r.adopted(r.registry.adopt(ctx, version, list))
}

// fencedError refuses a node whose region is being removed.
type fencedError struct{ err *kv.Error }

func (e fencedError) Error() string { return e.err.Error() }
func (e fencedError) Unwrap() error { return e.err }

func isFenced(err error) bool {
	var fenced fencedError
	return errors.As(err, &fenced)
}

// errFenced says that a region is being removed.
func errFenced(m Member) error {
	return fencedError{kv.Errorf(kv.KindUnavailable, "region %d (%s) is being removed: no other region takes what it writes", m.Region, m.Name)}
}

// turnedAway refuses a stream to a region that is being removed.
func (r *Replicator) turnedAway(region clock.Region) error {
	if m, ok := r.registry.find(region); ok && m.Fenced {
		return errFenced(m)
	}
	return nil
}

// bar keeps records of a region that is being removed, or was, from being taken, but for those up to its last
// entry.
func (r *Replicator) bar(m Member) {
	if !m.Fenced || m.Region == r.self.Region {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[m.Region]; s != nil {
		s.hangUp(errFenced(m))
	}
	l := r.in[m.Lane()]
	if l == nil {
		return
	}
	if !l.barred {
		l.barred = true
		for s, sub := range l.subs {
			s.end(sub)
		}
		l.reset()
	}
	l.last = m.Last
}

// takes tells whether a record of a lane may be taken at all. The caller holds Replicator.mu.
func (l *inLane) takes(t clock.Timestamp) bool { return !l.barred || t <= l.last }

// partFromRemoved lets go of removed regions of which all is here, durably: a start begins without them.
func (r *Replicator) partFromRemoved(ctx context.Context) error {
	version, list := r.registry.snapshot()
	for _, m := range list {
		if !m.Removed || m.Region == r.self.Region || !r.hasWhatOthersHad(m.Region, version, list) {
			continue
		}
		if !r.c.Exposure.EndRegion(m.Lane(), m.Last, m.Closed) {
			continue
		}
		if err := r.registry.part(ctx, m.Region); err != nil {
			return err
		}
		r.leave(m)
		r.c.Hooks.logf("region %d (%s) was removed, and all that it left is here: nothing waits for it any more", m.Region, m.Name)
	}
	return nil
}

// leave drops what only a region that counts needs.
func (r *Replicator) leave(m Member) {
	r.holds.release(r, m.Region)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = slices.DeleteFunc(r.order, func(l *inLane) bool { return l.lane == m.Lane() })
	delete(r.leaving, m.Region)
}

// leaving is what regions had on their disks when they were first heard to act by a region's removal: as of the
// version by which this node first did.
type leaving struct {
	version uint64
	had     map[clock.Region]clock.Vector
}

// hasWhatOthersHad tells whether this node has on its disk what every other region that serves had when it was
// first heard to act by a region's removal.
func (r *Replicator) hasWhatOthersHad(removed clock.Region, version uint64, list []Member) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.leaving[removed]
	if l == nil {
		l = &leaving{version, map[clock.Region]clock.Vector{}}
		r.leaving[removed] = l
	}
	now, durable, all := r.c.Time.Monotonic(), r.c.Exposure.Durable(), true
	for _, m := range list {
		if m.Fenced || !m.Serving || m.Region == r.self.Region {
			continue
		}
		had, noted := l.had[m.Region]
		if s := r.streams[m.Region]; !noted && s != nil && s.live(now) && s.members >= l.version {
			report, ok := r.c.Exposure.Reported(m.Region)
			if ok && report.Incarnation == s.store.incarnation {
				had, noted = report.Durable, true
				l.had[m.Region] = had
			}
		}
		all = all && noted && durable.Includes(had)
	}
	return all
}

// Held is what this node holds of all regions that are being removed, or were, applied and on its disk, and acts by
// a version of what is decided, at least. It is not ready while that may still grow.
func (r *Replicator) Held(version uint64) (holds clock.Vector, ready bool) {
	acts, list := r.registry.everybody()
	if acts < version || r.recovery.running() {
		return nil, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	durable := r.c.Exposure.Durable()
	for _, m := range list {
		if !m.Fenced {
			continue
		}
		if l := r.in[m.Lane()]; l != nil && (len(l.flying) > 0 || l.applied > durable.At(m.Region)) {
			return nil, false
		}
		if t := durable.At(m.Region); t != 0 {
			holds = holds.With(m.Region, t)
		}
	}
	return holds, true
}

// uselessKey is the store's metadata that says why its folder is of no use any more.
const uselessKey = "replication/useless"

// endFor ends this node for good: its number is not, or not any more, its own. The next start says so at once.
func (r *Replicator) endFor(err error) {
	if e := r.c.Store.SetMeta(r.context(), uselessKey, []byte(err.Error())); e != nil {
		r.c.Hooks.logf("noting that this folder is of no use any more: %v; the next start finds out again", e)
	}
	r.end(err)
}

// checkUseless refuses a folder whose region was removed or given up, or whose number another node has.
func checkUseless(store Meta) error {
	why, err := store.Meta(uselessKey)
	if err != nil {
		return fmt.Errorf("reading whether the folder is of use: %w", err)
	}
	if len(why) > 0 {
		return kv.Errorf(kv.KindInvalid, "%s", why)
	}
	return nil
}
