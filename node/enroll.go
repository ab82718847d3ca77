package node

import (
	"context"
	"fmt"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// settleInterval is how often a node looks whether the metadata lacks something that it has to put there.
const settleInterval = time.Second

// followMetadata has calls judged by what is decided, as soon as it is, until ctx ends.
func (c *consensus) followMetadata(ctx context.Context) error {
	for {
		if err := c.metadata.enforce(ctx, c.n.store); err != nil {
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

// settle says what this region acts by, and has the leader enter the regions, until ctx ends.
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
	version := c.metadata.table.Load().version
	own, found := c.region(c.n.lane.Region)
	if found && own.Phase == meta.Serving && own.Acknowledged < version {
		return &meta.Acknowledge{Region: own.Number, Version: version}
	}
	r := c.replicator.Load()
	if r == nil || !c.group.Status().Leading {
		return nil
	}
	stores := map[clock.Region]uint64{}
	for _, s := range r.RegionStores() {
		stores[s.Region] = s.Incarnation
	}
	return enter(look(c.metadata, (*meta.State).Regions), r.EveryRegion(), stores)
}

// region is what the metadata knows of a region.
func (c *consensus) region(n clock.Region) (r meta.Region, found bool) {
	c.metadata.mu.Lock()
	defer c.metadata.mu.Unlock()
	return c.metadata.state.Region(n)
}

// enter is the next step by which the metadata comes to know the regions under the numbers that the founder
// has given; nil: it does. stores are those that serving regions have, as far as is known. Numbers are given in
// order here too, so a region that has yet to serve, or whose store nobody knows, holds up those behind it:
// they count as not having acknowledged anything.
func enter(known []meta.Region, all []replication.Member, stores map[clock.Region]uint64) meta.Command {
	for i, m := range all {
		if m.Region != clock.Region(i+1) {
			return nil
		}
		store := stores[m.Region]
		if i >= len(known) {
			return enterNew(m, store)
		}
		switch r := &known[i]; {
		case r.Phase == meta.Joining && m.Abandoned:
			return &meta.Abandon{Region: m.Region}
		case r.Phase == meta.Joining:
			return &meta.Serve{Region: m.Region, Store: r.Store}
		case r.Phase == meta.Serving && store != 0 && store != r.Store:
			return &meta.Replace{Region: m.Region, Was: r.Store, Store: store}
		}
	}
	return nil
}

func enterNew(m replication.Member, store uint64) meta.Command {
	switch {
	case m.Abandoned:
		return &meta.Add{Name: abandonedName(m), Store: 1}
	case !m.Serving || store == 0:
		return nil
	case m.Region == 1:
		return &meta.Found{Name: m.Name, Store: store}
	}
	return &meta.Add{Name: m.Name, Store: store}
}

// abandonedName is what a number is entered under whose region is abandoned: its name may have been taken again.
func abandonedName(m replication.Member) string {
	return fmt.Sprintf("abandoned-%d", m.Region)
}
