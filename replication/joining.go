package replication

import (
	"context"
	"errors"
	"slices"
	"strings"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// answerJoin answers a node that asks who it is.
func (r *Replicator) answerJoin(conn Conn, h *peerv1.Hello) error {
	if h.GetRegion() != 0 { // it is somebody, and asks only whose this is
		return conn.Send(joinAnswer(pointTo(r.c.Identity, r.c.Addresses.Peer, "you have a number")))
	}
	if len(h.GetCluster()) > 0 {
		if err := r.checkCluster(h); err != nil {
			return err
		}
	}
	r.joining.Lock()
	answer, err := r.decideJoin(h)
	r.joining.Unlock()
	if err != nil {
		return err
	}
	return conn.Send(joinAnswer(answer))
}

func later(message string) *peerv1.JoinAnswer {
	return &peerv1.JoinAnswer{Result: peerv1.JoinAnswer_RESULT_LATER, Message: message}
}

func (r *Replicator) decideJoin(h *peerv1.Hello) (*peerv1.JoinAnswer, error) {
	name := h.GetName()
	m, exists := r.registry.named(name)
	switch {
	case exists && m.Region == r.self.Region:
		return nil, kv.Errorf(kv.KindInvalid, "region name %q is this node's own: choose another, or stop the other node", name)
	case exists && m.Fenced:
		return later("region " + name + " is being removed: take another name, or wait until that is done"), nil
	case exists && r.connected(m.Region) && r.incarnationOf(m.Region) != h.GetIncarnation():
		return later("a node of region " + name + " is connected: stop it first"), nil
	case exists && m.Serving && r.heardBy(m.Region) != "":
		return later("region " + r.heardBy(m.Region) + " hears a node of region " + name + ": stop it first"), nil
	case exists && m.Serving:
		// It lost its disk: whoever it asks may tell it its number.
		if err := r.learnAddresses(m.Region, h); err != nil {
			return nil, err
		}
		return r.granted(m, true), nil
	case r.recovery.running():
		// The recovery waits for a region that joins, too, which may hold some of this lane, and may serve by now
		// for all that this node knows. But the store that was promised its number has not begun if it asks again.
		if exists && m.Incarnation == h.GetIncarnation() {
			r.recovery.hear(m.Region, handed{}, 0)
		}
		return later("region " + r.c.Identity.Name + " is joining or recovering its own data"), nil
	case r.gone(name):
		return nil, kv.Errorf(kv.KindInvalid, "region name %q is one that --gone names in region %s: take it out there, or choose another", name, r.c.Identity.Name)
	}
	return r.handOut(h)
}

// handOut has a region given a number, or the one that it was given while it joins: it keeps that however often
// its node asks with an empty folder, since numbers are few.
func (r *Replicator) handOut(h *peerv1.Hello) (*peerv1.JoinAnswer, error) {
	name := h.GetName()
	m, exists := r.registry.named(name)
	if !exists || m.Incarnation != h.GetIncarnation() {
		ctx, cancel := r.deciding()
		err := r.c.Regions.Add(ctx, name, h.GetIncarnation())
		cancel()
		switch again := errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrDeadline) || errors.Is(err, kv.ErrAborted); {
		case again:
			return later(err.Error()), nil
		case err != nil:
			return nil, err
		}
		if m, exists = r.registry.named(name); !exists {
			return later("region " + name + " was given up at once"), nil
		}
		r.c.Hooks.logf("region %d (%s) joins", m.Region, m.Name)
	}
	r.contact(m.Region)
	if err := r.learnAddresses(m.Region, h); err != nil {
		return nil, err
	}
	return r.grantOnceTold(m), nil
}

// deciding bounds the time that a decision may take whose asker waits on a connection.
func (r *Replicator) deciding() (ctx context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(r.context())
	go func() {
		if sleep(ctx, r.c.Time, DecisionTimeout) {
			cancel()
		}
	}()
	return ctx, cancel
}

func (r *Replicator) granted(m Member, existed bool) *peerv1.JoinAnswer {
	return &peerv1.JoinAnswer{
		Result: peerv1.JoinAnswer_RESULT_GRANTED, Cluster: r.c.Identity.Cluster[:],
		Region: uint32(m.Region), Members: r.registry.message(), Existed: existed,
	}
}

// grantOnceTold lets a new region begin once every other one counts its reports: what a region takes
// for settled without them might be more than the cut has that the new one begins with.
//
// One that is named as gone is not waited for, unless somebody hears it after all. While nobody does, no
// report comes to it that was made after the others counted the new region's, so what it takes for
// settled stays within the cut; and should it come back, it takes the list in the handshake, before
// any report.
func (r *Replicator) grantOnceTold(m Member) *peerv1.JoinAnswer {
	version, list := r.registry.snapshot()
	list = slices.DeleteFunc(slices.Clone(list), func(o Member) bool {
		return o.Region == m.Region || o.Region == r.self.Region || o.Fenced || r.c.Regions.Acts(o.Region, version)
	})
	var waiting []string
	r.mu.Lock()
	for _, o := range list {
		if r.gone(o.Name) && !r.heard(o.Region) {
			continue
		}
		if s := r.streams[o.Region]; s == nil || s.members < version {
			waiting = append(waiting, o.Name)
		}
	}
	r.mu.Unlock()
	if len(waiting) > 0 {
		return later("telling the regions: " + strings.Join(waiting, ", "))
	}
	return r.granted(m, false)
}

func (r *Replicator) connected(region clock.Region) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.streams[region]
	return s != nil && s.live(r.c.Time.Monotonic())
}

// heardBy names a region that is heard here and hears another one; empty: none does. That this node does
// not hear the other may be the network's fault.
func (r *Replicator) heardBy(region clock.Region) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	for _, s := range r.streams {
		if s.live(now) && s.hears[region] {
			return s.name
		}
	}
	return ""
}

func (r *Replicator) incarnationOf(region clock.Region) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.incarnated[region]
}

// askToServe tells all regions in reach that this one has caught up: one of them may be able to have it decided
// that it serves.
func (r *Replicator) askToServe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		if len(s.control) == 0 {
			s.queue(&peerv1.Message{Body: &peerv1.Message_Joined{Joined: &peerv1.Joined{}}})
		}
	}
}

// joined takes a newcomer's word that it has caught up, and has it decided that it serves; once at a time, and
// behind the back of who reads the stream.
func (r *Replicator) joined(s *stream) error {
	m, known := r.registry.find(s.peer)
	if !known || m.Serving || r.recovery.running() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admitting[s.peer] {
		return nil
	}
	r.admitting[s.peer] = true
	r.start(func(context.Context) {
		ctx, cancel := r.deciding()
		err := r.c.Regions.Serve(ctx, m.Region, s.store.incarnation)
		cancel()
		if err == nil {
			r.c.Hooks.logf("region %d (%s) has joined", m.Region, m.Name)
		} else if !errors.Is(err, kv.ErrUnavailable) {
			r.c.Hooks.logf("region %d (%s) can't be counted as serving: %v", m.Region, m.Name, err)
		}
		r.mu.Lock()
		delete(r.admitting, s.peer)
		r.mu.Unlock()
	})
	return nil
}

// serveCut streams what is visible at a cut to a region without data.
func (r *Replicator) serveCut(conn Conn, h *peerv1.Hello) error {
	m, err := r.caller(h)
	if err != nil {
		return err
	}
	if err := errors.Join(r.turnedAway(m.Region), r.rival(m, claimOf(h))); err != nil {
		return err
	}
	r.c.Exposure.Incarnated(m.Region, h.GetIncarnation())
	defer r.parted(m.Region)
	if r.recovery.running() {
		return kv.Errorf(kv.KindUnavailable, "this region is joining or recovering itself: ask another")
	}
	held, err := r.holds.open(r, m.Region)
	if err != nil {
		return err
	}
	defer r.holds.streamed(r, held)
	r.c.Hooks.logf("sending region %d (%s) all data at %s", m.Region, m.Name, held.cut)
	g := guardConn(r.context(), r.c.Time, conn)
	defer g.stop()
	still := func() error { return r.registry.dismissed(m.Region, h.GetIncarnation()) }
	if err := r.sendCut(conn, g, held.cut, still); err != nil {
		return err
	}
	answer, err := conn.Recv()
	if err == nil && answer.GetCutTaken() == nil {
		err = errors.New("the newcomer answered something else")
	}
	return err
}

// sendCut streams a cut for as long as still has no objection.
func (r *Replicator) sendCut(conn Conn, g *guard, at clock.Vector, still func() error) error {
	state, err := r.c.Store.ReadState(r.context())
	if err != nil {
		return err
	}
	cut := &peerv1.Cut{At: at.Append(nil, 0), State: state}
	for _, e := range at {
		cut.Lanes = append(cut.Lanes, &peerv1.LanePosition{Region: uint32(e.Region), Applied: uint64(e.Time), Durable: uint64(e.Time)})
	}
	if err := conn.Send(&peerv1.Message{Body: &peerv1.Message_Cut{Cut: cut}}); err != nil {
		return err
	}
	for shard := range shards {
		if mutant.On(mutant.CutClaimsTooMuch) {
			at = r.c.Exposure.Stable()
		}
		if err := errors.Join(still(), r.sendShard(conn, g, shard, at)); err != nil {
			return err
		}
	}
	return conn.Send(&peerv1.Message{Body: &peerv1.Message_Range{Range: &peerv1.Range{Last: true}}})
}

func (r *Replicator) sendShard(conn Conn, g *guard, shard int, at clock.Vector) error {
	var cursor []byte
	for {
		data, next, err := r.c.Store.ReadRange(r.context(), shard, cursor, at, RangeBytes)
		if err != nil {
			return err
		}
		if len(data) > 0 {
			part := &peerv1.Range{Shard: uint32(shard), Data: data}
			if err := conn.Send(&peerv1.Message{Body: &peerv1.Message_Range{Range: part}}); err != nil {
				return err
			}
		}
		g.moved.Store(true)
		if cursor = next; cursor == nil {
			return nil
		}
	}
}
