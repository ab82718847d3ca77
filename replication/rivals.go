package replication

import (
	"errors"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Two nodes may claim to be one region, each with a store of its own: somebody took a region for lost and
// started it anew, and it was only cut off. Of the two one goes before the other (claim.before), and that is
// the same one for whoever judges: who connects is judged by it, and who is heard, here and by those in
// reach, since a heartbeat names the stores that its sender hears, and how they stand. So all who reach each
// other hear the same one. The operator is told, and the other node, which is refused, why.
//
// One that recovers comes last: it has acknowledged nothing, and the one that it is to replace may still.
// It writes nothing before all regions have met it, but for those that its operator names as gone, and none
// that hangs up on it for another one counts as met (recovery.unmet). Once it has ended that it goes before all that
// served until then, which nobody heard: what those write is not to displace what it does. First come, first
// served would not do in place of an order, since two regions that heard different ones would each hold on to
// its own; nor does the lower number alone, which may be that of a store without data.
//
// What a region says of this, and what the other one does, cross on their way, and a partition can hide one
// store from the other's peers. Where both come to write, the lane is forked, and found to be once one of the
// two meets who holds what the other wrote (fork.go). Two nodes with copies of one store can't be told apart by
// its number; they take each other's streams, and each new one is judged by what it holds.

// claim is a store that claims to be its region's. Its standing is 0 if it is not known, as of who only wants
// a cut, then whileRecovering or servesFromStart, or else when it last ended a recovery, a timestamp.
type claim struct{ incarnation, standing uint64 }

const (
	whileRecovering uint64 = 1
	servesFromStart uint64 = 2
)

func claimOf(h *peerv1.Hello) claim { return claim{h.GetIncarnation(), h.GetStanding()} }

// before tells which of two stores of one region is heard.
func (c claim) before(o claim) bool {
	if c.standing != o.standing {
		return c.standing > o.standing
	}
	return c.incarnation < o.incarnation
}

// displaces tells whether a store of a region keeps another one from being heard.
func (c claim) displaces(o claim) bool { return c.incarnation != o.incarnation && c.before(o) }

// standing is how this node's store stands among those of its region.
func (r *Replicator) standing() uint64 {
	if r.c.Exposure.Recovering() {
		return whileRecovering
	}
	return r.recovery.standing.Load()
}

// rivalError refuses a node since another one of its region is heard.
type rivalError struct{ err *kv.Error }

func (e rivalError) Error() string { return e.err.Error() }
func (e rivalError) Unwrap() error { return e.err }

func isRival(err error) bool {
	var rival rivalError
	return errors.As(err, &rival)
}

// outrankedError says that a peer refuses this node for that.
type outrankedError struct{ err *kv.Error }

func (e outrankedError) Error() string { return e.err.Error() }
func (e outrankedError) Unwrap() error { return e.err }

// rivalry is since when, and when last, a node of a region was refused since another one is heard.
type rivalry struct {
	first, last time.Duration // monotonic
	told        faults
}

// rival refuses a region's store while another one is heard that goes before it, here or by somebody in reach.
func (r *Replicator) rival(m Member, store claim) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.heardInstead(m, store)
	if err != nil {
		r.refusedRival(m.Region, err)
	}
	return err
}

func (r *Replicator) heardInstead(m Member, store claim) error {
	now := r.c.Time.Monotonic()
	if s := r.streams[m.Region]; s != nil && s.live(now) && s.store.displaces(store) {
		return rivalError{kv.Errorf(kv.KindUnavailable, "another node of region %d (%s), with another store, is connected: stop one of the two", m.Region, m.Name)}
	}
	for _, s := range r.streams {
		if other, ok := s.stores[m.Region]; ok && s.live(now) && other.displaces(store) {
			return rivalError{kv.Errorf(kv.KindUnavailable, "region %s hears another node of region %d (%s), with another store: stop one of the two", s.name, m.Region, m.Name)}
		}
	}
	return nil
}

// replace ends a stream whose peer connects anew, or whose peer's region does with a store that goes before.
func (r *Replicator) replace(old, by *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !old.live(r.c.Time.Monotonic()) || !by.store.displaces(old.store) {
		old.fail(errors.New("replaced by a new connection"))
		return
	}
	err := rivalError{kv.Errorf(kv.KindUnavailable, "another node of region %d (%s), with another store, connects and goes before: stop one of the two", old.peer, old.name)}
	r.tellRivalry(old.peer, err)
	old.hangUp(err)
}

// judgeRivals compares what a peer hears with what is heard here, and hangs up on a store that another one
// goes before. The caller holds mu.
func (r *Replicator) judgeRivals(s *stream) {
	now := r.c.Time.Monotonic()
	for _, o := range r.streams {
		heard, ok := s.stores[o.peer]
		if !ok || heard.incarnation == o.store.incarnation || !o.live(now) {
			continue
		}
		err := rivalError{kv.Errorf(kv.KindUnavailable, "two nodes claim to be region %d (%s), with different stores; region %s hears the other one: stop one of the two", o.peer, o.name, s.name)}
		r.tellRivalry(o.peer, err)
		if heard.displaces(o.store) {
			o.hangUp(err)
		}
	}
}

// outranked heeds that a region refuses this node for another one.
func (r *Replicator) outranked(by clock.Region) {
	r.recovery.unmet(by)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusedRival(r.self.Region, kv.Errorf(kv.KindUnavailable,
		"other regions refuse this node, since they hear another node of region %d (%s), with another store: what is written here does not reach them; stop one of the two", r.self.Region, r.c.Identity.Name))
}

// refusedRival notes that a node was refused. One that comes again and again is the operator's affair; one
// that comes for a moment has only been quicker than the end of the one before was noticed. The caller
// holds mu.
func (r *Replicator) refusedRival(region clock.Region, err error) {
	now := r.c.Time.Monotonic()
	f := r.rivals[region]
	if f == nil || now-f.last > StreamTimeout {
		f = &rivalry{first: now, told: faults{time: r.c.Time}}
		r.rivals[region] = f
		r.c.Hooks.logf("%v", err)
	}
	f.last = now
	if now-f.first > StreamTimeout {
		r.tellRivalry(region, err)
	}
}

func (r *Replicator) tellRivalry(region clock.Region, err error) {
	f := r.rivals[region]
	if f == nil {
		now := r.c.Time.Monotonic()
		f = &rivalry{first: now, last: now, told: faults{time: r.c.Time}}
		r.rivals[region] = f
	}
	if f.told.news(err) {
		r.c.Hooks.fault(region, err)
	}
}
