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
// before its cut is taken, so nothing settles, and one joins at a time. It may be abandoned.
//
// That is sound since a region writes nothing before it is decided that it serves, and it is decided
// once between serving and abandoned: an abandoned region's lane is empty and stays so. Its number
// stays in the list of regions, and is refused in every handshake from then on; its name may be used
// again, with another number.

// abandonedError tells this node that its number is not, or not any more, its own. No waiting mends
// that: its folder is of no use.
type abandonedError struct{ err *kv.Error }

func (e abandonedError) Error() string { return e.err.Error() }
func (e abandonedError) Unwrap() error { return e.err }

// dismissedError says the same of a peer; what that is told becomes its abandonedError.
type dismissedError struct{ err *kv.Error }

func (e dismissedError) Error() string { return e.err.Error() }
func (e dismissedError) Unwrap() error { return e.err }

// useless says why a number is not a node's: of two reasons, and what to do.
func useless(m Member) *kv.Error {
	if m.Removed {
		return kv.Errorf(kv.KindInvalid, "region %d (%s) was removed from the cluster: what it has written since, and what no other region had received, counts nowhere. Stop this node; to take part again, start it with an empty data folder under a new name, and --join", m.Region, m.Name)
	}
	why := "another node has joined as region %d (%s) since, from an empty folder"
	if m.Abandoned {
		why = "region %d (%s) had not finished joining and was abandoned"
	}
	return kv.Errorf(kv.KindInvalid, why+": stop this node, delete its data folder, which holds nothing that others lack, and join again", m.Region, m.Name)
}

// Abandon has it decided that a region which has not finished joining never will. A name that no region has is
// kv.ErrNotFound, a region that serves kv.ErrInvalid; other errors are those of Regions.
func (r *Replicator) Abandon(ctx context.Context, name string) error {
	m, ok := r.registry.named(name)
	if !ok {
		return kv.Errorf(kv.KindNotFound, "there is no region %q", name)
	}
	return r.abandon(ctx, m, "on demand")
}

func (r *Replicator) abandon(ctx context.Context, m Member, why string) error {
	if err := r.c.Regions.Abandon(ctx, m.Region); err != nil {
		return err
	}
	r.c.Hooks.logf("region %d (%s) is abandoned %s: it had not finished joining", m.Region, m.Name, why)
	return nil
}

// reviewJoiners has the region that joins abandoned when it has not been heard of for JoinLimit, or is
// named as gone. Only the planner calls it, and only the node that leads does anything, of those that could.
func (r *Replicator) reviewJoiners() {
	if r.recovery.running() || !r.c.Regions.Leads() {
		return
	}
	_, list := r.registry.snapshot()
	for _, m := range list {
		r.reviewJoiner(m)
	}
}

// reviewJoiner takes a region as it was a moment ago: it may have come to serve since, or an operator
// may have abandoned it. Then there is nothing left to do, and the refusal is not news.
func (r *Replicator) reviewJoiner(m Member) {
	why := ""
	switch {
	case m.Serving:
		return
	case r.gone(m.Name):
		why = "since it is named as gone"
	case !r.heardOf(m.Region):
		why = fmt.Sprintf("since nothing was heard of it for %v", JoinLimit)
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admitting[m.Region] || r.ctx == nil {
		return
	}
	r.admitting[m.Region] = true
	r.start(func(context.Context) {
		ctx, cancel := r.deciding()
		defer cancel()
		if err := r.abandon(ctx, m, why); err != nil && !errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, kv.ErrInvalid) {
			r.c.Hooks.logf("region %d (%s) can't be abandoned: %v", m.Region, m.Name, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.admitting, m.Region)
	})
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
// whose number is another's, or whose region is being removed.
func (r *Replicator) letGo() error {
	_, all := r.registry.everybody()
	for _, m := range all {
		r.hangUp(m)
		r.bar(m)
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
	return m.Abandoned || m.Removed || !m.Serving && m.Incarnation != 0 && m.Incarnation != incarnation
}

// dismissed refuses a node that is not the region that it says to be, or whose region was removed.
func (g *registry) dismissed(region clock.Region, incarnation uint64) error {
	_, all := g.everybody()
	for _, m := range all {
		if m.Region == region && m.isNot(incarnation) {
			return dismissedError{useless(m)}
		}
	}
	return nil
}

// stillSelf refuses a newer list by which this node is not, or no longer, its region. While it joins, a list
// that says "serving" must not let it write when another node is meant.
func (g *registry) stillSelf(list []Member) error {
	before, ok := g.find(g.self)
	if !ok {
		return nil
	}
	for _, m := range list {
		another := m.Incarnation != 0 && m.Incarnation != g.incarnation && !before.Serving
		if m.Region == g.self && (m.Abandoned || m.Removed || another) {
			return abandonedError{useless(m)}
		}
	}
	return nil
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
