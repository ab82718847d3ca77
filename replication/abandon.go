package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// A region that has a number and never finishes joining holds everything up: its reports count
// before its cut is taken, so nothing settles, and one joins at a time. The founder may abandon it.
//
// That is sound since a region writes nothing before the founder counts it as serving, and the
// founder decides between serving and abandoned under one lock, durably, once: an abandoned
// region's lane is empty and stays so. Its number stays in the list of regions, and is refused in
// every handshake from then on; its name may be used again, with another number.

// abandonedError tells this node that its number is not, or not any more, its own. No waiting mends
// that: its folder is of no use.
type abandonedError struct{ err *kv.Error }

func (e abandonedError) Error() string { return e.err.Error() }
func (e abandonedError) Unwrap() error { return e.err }

// dismissedError says the same of a peer; what that is told becomes its abandonedError.
type dismissedError struct{ err *kv.Error }

func (e dismissedError) Error() string { return e.err.Error() }
func (e dismissedError) Unwrap() error { return e.err }

// decidedError says that a region can't be abandoned since it doesn't join any more: it serves, or was
// abandoned.
type decidedError struct{ err *kv.Error }

func (e decidedError) Error() string { return e.err.Error() }
func (e decidedError) Unwrap() error { return e.err }

// useless says why a number is not a node's: of two reasons, and what to do.
func useless(m Member) *kv.Error {
	why := "another node has joined as region %d (%s) since, from an empty folder"
	if m.Abandoned {
		why = "region %d (%s) had not finished joining and was abandoned"
	}
	return kv.Errorf(kv.KindInvalid, why+": stop this node, delete its data folder, which holds nothing that others lack, and join again", m.Region, m.Name)
}

// Abandon gives up a region that has not finished joining, durably. Only the founder does
// (kv.ErrInvalid); a name that no region has is kv.ErrNotFound, a region that serves kv.ErrInvalid.
func (r *Replicator) Abandon(ctx context.Context, name string) error {
	if r.self.Region != founder {
		f, _ := r.registry.find(founder)
		return kv.Errorf(kv.KindInvalid, "only the founder abandons a region that joins: ask region %q", f.Name)
	}
	return r.abandon(ctx, name, "on demand")
}

func (r *Replicator) abandon(ctx context.Context, name, why string) error {
	if r.recovery.running() {
		return kv.Errorf(kv.KindUnavailable, "the founder is recovering its own data: it decides on no other region before")
	}
	r.joining.Lock()
	defer r.joining.Unlock()
	m, ok := r.registry.named(name)
	if !ok {
		return decidedError{kv.Errorf(kv.KindNotFound, "there is no region %q", name)}
	}
	if err := r.registry.abandon(ctx, m.Region); err != nil {
		return err
	}
	r.c.Hooks.logf("region %d (%s) is abandoned %s: it had not finished joining", m.Region, m.Name, why)
	return r.membersChanged()
}

// reviewJoiners abandons the region that joins when it has not been heard of for JoinLimit, or is
// named as gone. Only the planner calls it, and only the founder does anything.
func (r *Replicator) reviewJoiners(ctx context.Context) error {
	if r.self.Region != founder || r.recovery.running() {
		return nil
	}
	_, list := r.registry.snapshot()
	for _, m := range list {
		if err := r.reviewJoiner(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// reviewJoiner takes a region as it was a moment ago: it may have come to serve since, or an operator
// may have abandoned it. Then there is nothing left to do.
func (r *Replicator) reviewJoiner(ctx context.Context, m Member) error {
	why := ""
	switch {
	case m.Serving:
		return nil
	case r.gone(m.Name):
		why = "since it is named as gone"
	case !r.heardOf(m.Region):
		why = fmt.Sprintf("since nothing was heard of it for %v", JoinLimit)
	default:
		return nil
	}
	var decided decidedError
	if err := r.abandon(ctx, m.Name, why); err != nil && !errors.As(err, &decided) {
		return err
	}
	return nil
}

// gone tells whether the operator has named a region as gone for good.
func (r *Replicator) gone(name string) bool { return slices.Contains(r.c.Gone, name) }

// heard tells whether there is a stream to a region, or a region that is heard here hears it. The
// caller holds mu.
func (r *Replicator) heard(region clock.Region) bool {
	now := r.c.Time.Monotonic()
	heard := r.streams[region] != nil
	for _, s := range r.streams {
		heard = heard || s.live(now) && s.hears[region]
	}
	return heard
}

// heardOf tells whether a region that joins was heard of within JoinLimit, here or by a region that
// is heard here.
func (r *Replicator) heardOf(region clock.Region) bool {
	r.mu.Lock()
	now, heard := r.c.Time.Monotonic(), r.heard(region)
	last, ok := r.joiners[region]
	r.mu.Unlock()
	if heard || !ok || slices.Contains(r.holds.streamingTo(), uint32(region)) {
		r.contact(region)
		return true
	}
	return now-last < JoinLimit
}

// contact notes that a region that joins was heard of.
func (r *Replicator) contact(region clock.Region) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joiners[region] = r.c.Time.Monotonic()
}

// letGo drops what this node has of regions that were abandoned, and ends the streams of nodes
// whose number is another's.
func (r *Replicator) letGo() error {
	_, all := r.registry.everybody()
	for _, m := range all {
		r.hangUp(m)
		if !m.Abandoned {
			continue
		}
		if err := r.c.Exposure.RemoveRegion(m.Lane()); err != nil {
			return err
		}
		r.holds.release(r, m.Region)
	}
	return nil
}

func (r *Replicator) hangUp(m Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[m.Region]; s != nil {
		if err := r.registry.dismissed(m.Region, s.store.incarnation); err != nil {
			s.fail(err)
		}
	}
	l := r.in[m.Lane()]
	if !m.Abandoned || l == nil {
		return
	}
	// The lane itself stays until the next start, empty: streams may still speak of it.
	for s, sub := range l.subs {
		s.end(sub)
	}
	r.order = slices.DeleteFunc(r.order, func(o *inLane) bool { return o == l })
	delete(r.joiners, m.Region)
}

// end makes Run return an error.
func (r *Replicator) end(err error) {
	r.mu.Lock()
	if r.short == nil {
		r.short = err
	}
	r.mu.Unlock()
	poke(r.planWake)
}

// isNot tells whether the node with a store is not the region that it says to be, by what the list
// says of the region: its number was given up, or has gone to another node while it joined.
func (m Member) isNot(incarnation uint64) bool {
	return m.Abandoned || !m.Serving && m.Incarnation != 0 && m.Incarnation != incarnation
}

// dismissed refuses a node that is not the region that it says to be.
func (g *registry) dismissed(region clock.Region, incarnation uint64) error {
	_, all := g.everybody()
	for _, m := range all {
		if m.Region == region && m.isNot(incarnation) {
			return dismissedError{useless(m)}
		}
	}
	return nil
}

// stillSelf refuses a newer list by which this node is not, or no longer, its region. It matters
// while it joins: a list that says "serving" must not let it write when another node is meant.
func (g *registry) stillSelf(list []Member) error {
	before, ok := g.find(g.self)
	if !ok || before.Serving {
		return nil
	}
	for _, m := range list {
		another := m.Incarnation != 0 && m.Incarnation != g.incarnation
		if m.Region == g.self && (m.Abandoned || another) {
			return abandonedError{useless(m)}
		}
	}
	return nil
}

// regrant notes that another node asks to be a region that joins, and tells whether that is news.
// Only the founder calls it.
func (g *registry) regrant(ctx context.Context, r clock.Region, incarnation uint64) (bool, error) {
	g.change.Lock()
	defer g.change.Unlock()
	m, ok := g.find(r)
	if !ok || m.Serving || m.Incarnation == incarnation {
		return false, nil
	}
	m.Incarnation = incarnation
	return true, g.alter(ctx, g.version+1, m)
}

// abandon makes a region that joins one that is abandoned. Only the founder calls it.
func (g *registry) abandon(ctx context.Context, r clock.Region) error {
	g.change.Lock()
	defer g.change.Unlock()
	m, ok := g.find(r)
	if !ok {
		return nil // it was abandoned meanwhile
	}
	if m.Serving {
		return decidedError{kv.Errorf(kv.KindInvalid, "region %d (%s) has joined: a region that serves can't be abandoned", m.Region, m.Name)}
	}
	m.Abandoned, m.Addresses = true, kv.Addresses{}
	return g.alter(ctx, g.version+1, m)
}

// streamingTo lists the regions that are being sent a cut.
func (h *holds) streamingTo() (out []uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.list {
		if c.streaming {
			out = append(out, uint32(c.region))
		}
	}
	return out
}

// release lets go of the cuts that are held for a region.
func (h *holds) release(r *Replicator, region clock.Region) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(r, func(c *heldCut) bool { return c.region == region })
}
