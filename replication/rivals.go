package replication

import (
	"errors"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Two nodes may claim to be one region, each with a store of its own: somebody took a region for lost and
// started it anew, and it was only cut off. Whoever hears one of them takes nothing from the other, and
// asks those in reach which one they hear: a heartbeat names the stores. So all who reach each other hear
// the same one, the lower number if each was met by somebody first. The operator is told, and the other
// node, which is refused, why.
//
// The second one writes nothing before all regions have met it (recovery), but for those that its operator
// names as gone. Where it comes to write all the same, and the first does too, the lane is forked, and
// found to be once the links are back (fork.go). Two nodes with copies of one store can't be told apart by
// its number; they take each other's streams, and each new one is judged by what it holds.

// rivalError refuses a node since another one of its region is heard.
type rivalError struct{ err *kv.Error }

func (e rivalError) Error() string { return e.err.Error() }
func (e rivalError) Unwrap() error { return e.err }

func isRival(err error) bool {
	var rival rivalError
	return errors.As(err, &rival)
}

// rivalry is since when, and when last, a node of a region was refused since another one is heard.
type rivalry struct {
	first, last time.Duration // monotonic
	told        faults
}

// rival refuses a region's store while another one is heard, here or by somebody in reach.
func (r *Replicator) rival(m Member, store uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.heardInstead(m, store)
	if err != nil {
		r.refusedRival(m.Region, err)
	}
	return err
}

func (r *Replicator) heardInstead(m Member, store uint64) error {
	now := r.c.Time.Monotonic()
	if s := r.streams[m.Region]; s != nil && s.incarnation != store && s.live(now) {
		return rivalError{kv.Errorf(kv.KindUnavailable, "another node of region %d (%s), with another store, is connected: stop one of the two", m.Region, m.Name)}
	}
	for _, s := range r.streams {
		if s.peer != m.Region && s.live(now) && s.hearsOther(m.Region, store) {
			return rivalError{kv.Errorf(kv.KindUnavailable, "region %s hears another node of region %d (%s), with another store: stop one of the two", s.name, m.Region, m.Name)}
		}
	}
	return nil
}

// hearsOther tells whether the peer hears another store of a region than this one.
func (s *stream) hearsOther(region clock.Region, store uint64) bool {
	heard := s.stores[region]
	return heard != 0 && heard != store
}

// judgeRivals compares what a peer hears with what is heard here, and hangs up on the store with the
// higher number. The caller holds mu.
func (r *Replicator) judgeRivals(s *stream) {
	now := r.c.Time.Monotonic()
	for _, o := range r.streams {
		if !o.live(now) || !s.hearsOther(o.peer, o.incarnation) {
			continue
		}
		err := rivalError{kv.Errorf(kv.KindUnavailable, "two nodes claim to be region %d (%s), with different stores; region %s hears the other one: stop one of the two", o.peer, o.name, s.name)}
		r.tellRivalry(o.peer, err)
		if s.stores[o.peer] < o.incarnation {
			o.fail(err)
		}
	}
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
