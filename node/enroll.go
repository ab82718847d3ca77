package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn/strong"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// settleInterval is how often a node looks whether the metadata lacks something that it has to put there.
const settleInterval = time.Second

// followMetadata has calls judged by what is decided, as soon as it is, until ctx ends.
func (c *consensus) followMetadata(ctx context.Context) error {
	for {
		if err := c.metadata.enforce(ctx, c.n.store, c.act); err != nil {
			return err
		}
		poke(c.behind)
		select {
		case <-c.metadata.news:
		case <-ctx.Done():
			return nil
		}
	}
}

// act has replication go by the regions that are decided.
func (c *consensus) act(ctx context.Context, version uint64, regions []meta.Region) error {
	r := c.replicator.Load()
	if r == nil || version == 0 {
		return nil
	}
	err := r.Decided(ctx, version, membersOf(regions))
	if errors.Is(err, kv.ErrInvalid) {
		// What this node knew of regions was decided by a group whose stores are lost, and not by the one that was
		// founded in its place; or the node is no more, which ends replication.
		c.n.config.logf("regions as of version %d: %v", version, err)
		return nil
	}
	return err
}

// membersOf is what is decided of regions as replication wants it.
func membersOf(regions []meta.Region) []replication.Member {
	list := make([]replication.Member, len(regions))
	for i := range regions {
		r := &regions[i]
		list[i] = replication.Member{
			Region: r.Number, Name: r.Name, Incarnation: r.Store, Last: r.Last, Closed: r.Closed,
			Serving:   r.Phase == meta.Serving || r.Phase == meta.Fenced || r.Phase == meta.Removed,
			Fenced:    r.Phase == meta.Fenced || r.Phase == meta.Removed,
			Removed:   r.Phase == meta.Removed,
			Abandoned: r.Phase == meta.Abandoned,
		}
	}
	return list
}

// settle says what this region acts by and holds, and has the leader decide what it has to, until ctx ends.
func (c *consensus) settle(ctx context.Context) {
	for {
		fired, release := c.n.config.Time.NewTimer(settleInterval)
		for command := c.owed(); command != nil && c.decide(ctx, command) == nil; {
			command = c.owed()
		}
		select {
		case <-c.behind:
			release()
		case <-fired:
		case <-ctx.Done():
			release()
			return
		}
	}
}

// decide has one command of this node's own decided. What is refused is looked at again later, and so is what no
// majority could be reached for, which status tells of.
func (c *consensus) decide(ctx context.Context, command meta.Command) error {
	_, err := c.command(ctx, command)
	if err != nil && ctx.Err() == nil && kv.KindOf(err) != kv.KindUnavailable {
		c.n.config.logf("metadata: %v", err)
	}
	return err
}

// command has a command decided, and returns what became of it.
func (c *consensus) command(ctx context.Context, command meta.Command) (meta.Result, error) {
	body, err := meta.Encode(command)
	if err != nil {
		return meta.Result{}, err
	}
	answer, err := c.certifier.Command(ctx, body)
	if err != nil {
		return meta.Result{}, err
	}
	result, err := meta.DecodeAnswer(answer)
	if err == nil && result.Err != nil {
		err = result.Err
	}
	return result, err
}

// owed is the next command that this node has to see decided; nil: there is none.
func (c *consensus) owed() meta.Command {
	r, version := c.replicator.Load(), c.metadata.table.Load().version
	if r == nil {
		return nil
	}
	own, found := c.region(c.n.lane.Region)
	if found && own.Phase == meta.Serving && own.Acknowledged < version {
		return &meta.Acknowledge{Region: own.Number, Version: version}
	}
	if asked := look(c.metadata, func(s *meta.State) uint64 { return askedOf(s, own.Number) }); asked != 0 {
		if holds, ready := r.Held(asked); ready {
			return &meta.Held{Reporter: own.Number, Version: asked, Holds: holds}
		}
	}
	group := c.group.Status()
	if !group.Leading {
		return nil
	}
	stores, founding := r.RegionStores(), c.n.founding()
	return look(c.metadata, func(s *meta.State) meta.Command { return lead(s, stores, founding, members(&group)) })
}

// askedOf is the version since which a region is to say what it holds of those that are being removed; 0: it has.
func askedOf(s *meta.State, r clock.Region) uint64 {
	if !slices.Contains(s.Missing(), r) {
		return 0
	}
	return s.Asked()
}

// founding is the decision by which there is a cluster of this node's region alone.
func (n *run) founding() *meta.Found {
	return &meta.Found{Name: n.identity.Name, Store: n.store.Start().Incarnation}
}

// members are the regions that have a member in the raft group.
func members(s *strong.Status) (of []clock.Region) {
	for _, id := range slices.Concat(s.Voters, s.Outgoing, s.Learners) {
		of = append(of, strong.RegionOf(id))
	}
	return of
}

// lead is the next command that it is up to the leader to see decided; nil: there is none. stores are those of
// the regions that are reached, members the regions that take part in the group.
func lead(s *meta.State, stores []replication.RegionStore, founding *meta.Found, members []clock.Region) meta.Command {
	regions := s.Regions()
	if len(regions) == 0 {
		return founding
	}
	for _, r := range stores {
		if g, found := s.Region(r.Region); found && g.Phase == meta.Serving && r.Incarnation != 0 && r.Incarnation != g.Store {
			return &meta.Replace{Region: g.Number, Was: g.Store, Store: r.Incarnation}
		}
	}
	if len(s.Missing()) > 0 {
		return nil
	}
	for i := range regions { // one that the group may still need is not told that it has ended
		if g := &regions[i]; g.Phase == meta.Fenced && !slices.Contains(members, g.Number) {
			return &meta.Close{Region: g.Number}
		}
	}
	return nil
}

// region is what the metadata knows of a region.
func (c *consensus) region(n clock.Region) (r meta.Region, found bool) {
	c.metadata.mu.Lock()
	defer c.metadata.mu.Unlock()
	return c.metadata.state.Region(n)
}
