package node

import (
	"context"
	"slices"
	"strings"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/causal"
)

// Version is the version of the software.
const Version = "0.1.0"

// Signpost answers on a door that strangers may use: see replication.Signpost. It holds for as long as
// the node lives.
func (n *Node) Signpost() func(replication.Conn) {
	return replication.Signpost(n.current.Load().identity, n.config.Addresses.Peer, n.config.Time)
}

// identify finds out who this node is, and joins its cluster if it is new.
func (n *run) identify(ctx context.Context, first clock.Region) error {
	ask := n.config.Join
	if first != 0 {
		ask = nil // the node is at work, and knows whose it is
	}
	id, err := replication.Identify(ctx, replication.JoinConfig{
		Name: n.config.Region, AnyName: n.config.AnyRegion, Incarnation: n.store.Start().Incarnation, Addresses: n.config.Addresses, Ask: ask, First: first,
		Store: peerStore{Store: n.store}, Transport: n.config.Transport, Time: n.config.Time, Random: n.config.Random,
		Logf: n.config.logf,
	})
	if err != nil {
		return err
	}
	n.config.Region = id.Name
	n.identity, n.lane = id, clock.Lane{Region: id.Region}
	n.exposure, err = n.expose()
	return err
}

func (n *run) expose() (*replication.Exposure, error) {
	start, err := n.startState()
	if err != nil {
		return nil, err
	}
	m, err := causal.New(start)
	if err != nil {
		return nil, err
	}
	if n.config.Core == nil {
		return replication.ExposureOver(start.Self, m), nil
	}
	return replication.ExposureOver(start.Self, n.config.Core(start, m)), nil
}

// tellStrayGone tells of names that are said to be gone and that no region has: a slip of the pen would
// otherwise go unnoticed until somebody waits for the region that was meant.
func (n *run) tellStrayGone() {
	var names []string
	for _, p := range n.replicator.Status() {
		names = append(names, p.Name)
	}
	for _, name := range n.config.Gone {
		switch {
		case name == n.identity.Name:
			n.config.logf("%q is named as gone, and is this region: that means nothing", name)
		case !slices.Contains(names, name):
			n.config.logf("%q is named as gone, and no region has that name (they are %s): correct it, unless the region has been abandoned or has yet to join", name, strings.Join(names, ", "))
		}
	}
}

// startState is what the store holds, as the machine wants it.
func (n *run) startState() (causal.Start, error) {
	proposed, err := n.mayHaveProposed()
	start := causal.Start{
		Self: n.lane, Number: uint64(n.config.Time.Wall()), Incarnation: n.store.Start().Incarnation, MaxSkew: n.config.Skew,
		Recovering: n.recovering(), Undecided: proposed,
		Lanes: []causal.Position{{Lane: n.lane, Held: n.store.Applied(n.lane), Durable: n.store.Applied(n.lane)}},
	}
	for lane, t := range n.store.Lanes() { // not those of Store.Start: a bootstrap may have come since
		if lane != n.lane {
			start.Lanes = append(start.Lanes, causal.Position{Lane: lane, Held: t, Durable: t})
		}
	}
	return start, err
}

// recovering tells whether the own lane may lack what others hold of it.
func (n *run) recovering() bool { return n.identity.Recovering || n.store.Start().Short }

// refuseWrites is how a node begins: until its lane is complete and started (invariant 2).
func (n *run) refuseWrites() {
	n.refuseFor(notYetWhole, kv.Errorf(kv.KindReadOnly, "this node does not have all of its region's own writes back yet"))
}

// becomeWritable waits until the lane is complete, starts it and takes writes.
func (n *run) becomeWritable(ctx context.Context) error {
	floor, err := n.replicator.WaitWritable(ctx)
	if err != nil {
		return err
	}
	if n.recovering() {
		floor = max(floor, n.MayHaveReserved())
	}
	if err := n.Coordinator.Start(ctx, floor); err != nil {
		return err
	}
	n.begun.Store(true)
	if n.recovering() {
		if err := n.replicator.Recovered(ctx); err != nil {
			return err
		}
	}
	n.config.logf("region %s (number %d) takes writes", n.identity.Name, n.lane.Region)
	n.refuseFor(notYetWhole, nil)
	return nil
}
