package node

import (
	"context"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/txn/strong/meta"
)

// decisions implements replication.Regions.
type decisions struct{ *consensus }

var _ replication.Regions = decisions{}

// Add implements replication.Regions.
func (d decisions) Add(ctx context.Context, name string, store uint64) error {
	return d.decideHere(ctx, &meta.Add{Name: name, Store: store})
}

// Serve implements replication.Regions.
func (d decisions) Serve(ctx context.Context, region clock.Region, store uint64) error {
	return d.decideHere(ctx, &meta.Serve{Region: region, Store: store})
}

// Abandon implements replication.Regions.
func (d decisions) Abandon(ctx context.Context, region clock.Region) error {
	return d.decideHere(ctx, &meta.Abandon{Region: region})
}

// Acts implements replication.Regions.
func (d decisions) Acts(region clock.Region, version uint64) bool {
	r, found := d.region(region)
	return found && r.Phase == meta.Serving && r.Acknowledged >= version
}

// Leads implements replication.Regions.
func (d decisions) Leads() bool { return d.group.Status().Leading }

// decideHere has a command decided, and waits until this node acts by what was decided; also by what refused it,
// which may be news here.
func (c *consensus) decideHere(ctx context.Context, command meta.Command) error {
	result, err := c.command(ctx, command)
	if late := c.metadata.await(ctx, result.Version); err == nil && late != nil {
		return kv.Errorf(kv.KindDeadline, "it is decided, and this node does not act by it yet: %w", late).WithOutcome(kv.Applied)
	}
	return err
}

// RemoveRegion implements kv.Service.
func (n *run) RemoveRegion(ctx context.Context, name string) error {
	c := n.consensus
	if err := c.metadata.await(ctx, 1); err != nil {
		return kv.Errorf(kv.KindUnavailable, "removing region %q: the regions have not agreed on any metadata yet: %w; try again", name, err)
	}
	r, err := c.removable(name)
	if err != nil {
		return err
	}
	if r.Phase == meta.Joining {
		return c.decideHere(ctx, &meta.Abandon{Region: r.Number})
	}
	if err := c.decideHere(ctx, &meta.Fence{Region: r.Number}); err != nil {
		return err
	}
	return c.awaitRemoval(ctx, r)
}

// removable finds the region that is to be removed, or says why it can't be.
func (c *consensus) removable(name string) (meta.Region, error) {
	var names []string
	var last meta.Region
	for _, r := range look(c.metadata, (*meta.State).Regions) {
		if r.Phase != meta.Removed && r.Phase != meta.Abandoned {
			names = append(names, r.Name)
		}
		if r.Name == name {
			last = r
		}
	}
	switch {
	case last.Number == 0:
		return last, kv.Errorf(kv.KindNotFound, "there is no region %q (they are %s)", name, strings.Join(names, ", "))
	case last.Phase == meta.Removed:
		return last, kv.Errorf(kv.KindInvalid, "region %q, number %d, was removed already", name, last.Number)
	case last.Phase == meta.Abandoned:
		return last, kv.Errorf(kv.KindInvalid, "region %q, number %d, was abandoned while it joined: there is nothing to remove", name, last.Number)
	case last.Number == c.n.lane.Region && len(names) > 1:
		return last, kv.Errorf(kv.KindInvalid, "region %q is this node's own: ask a node of another region to remove it", name)
	}
	return last, nil
}

// awaitRemoval waits until a region that is fenced is closed.
func (c *consensus) awaitRemoval(ctx context.Context, r meta.Region) error {
	for {
		version := c.metadata.table.Load().version
		if now, _ := c.region(r.Number); now.Phase == meta.Removed {
			return nil
		}
		if err := c.metadata.await(ctx, version+1); err != nil {
			return kv.Errorf(kv.KindDeadline, "region %q is fenced: no other region takes what it writes, and that stays so; its removal ends by itself%s (%w)",
				r.Name, c.awaited(), err).WithOutcome(kv.Applied)
		}
	}
}

// awaited says which regions a removal waits for, for people.
func (c *consensus) awaited() string {
	missing := c.missing()
	if len(missing) == 0 {
		return ""
	}
	return " once it is known what these hold of it: " + strings.Join(missing, ", ") + "; one that never comes back must be removed too"
}

// missing names the regions that have yet to say what they hold of those that are being removed. All others wait
// for one that has not even heard of it, so only such ones are named while there are any.
func (c *consensus) missing() []string {
	return look(c.metadata, func(s *meta.State) []string {
		var deaf, all []string
		for _, n := range s.Missing() {
			r, _ := s.Region(n)
			if all = append(all, r.Name); r.Acknowledged < s.Asked() {
				deaf = append(deaf, r.Name)
			}
		}
		if len(deaf) > 0 {
			return deaf
		}
		return all
	})
}

// phase is how far a region is in its life, and whom its removal waits for.
func (c *consensus) phase(n clock.Region) (phase string, awaits []string) {
	r, found := c.region(n)
	if !found {
		return "", nil
	}
	if r.Phase == meta.Fenced {
		awaits = c.missing()
	}
	return r.Phase.String(), awaits
}

// regionIsRemoved refuses writes from here on: nobody takes them any more.
func (n *run) regionIsRemoved() {
	if !n.refusesFor(isRemoved) {
		n.config.logf("this region is being removed from the cluster: it takes no more writes")
		n.refuseFor(isRemoved, kv.Errorf(kv.KindReadOnly, "region %q is being removed from the cluster, so that what is written here would be lost: use another region", n.identity.Name))
	}
}
