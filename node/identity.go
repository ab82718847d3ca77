package node

import (
	"context"

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
	id, err := replication.Identify(ctx, replication.JoinConfig{
		Name: n.config.Region, Incarnation: n.store.Start().Incarnation, Addresses: n.config.Addresses, Ask: n.config.Join, First: first,
		Store: peerStore{Store: n.store}, Transport: n.config.Transport, Time: n.config.Time, Random: n.config.Random,
		Logf: n.config.logf,
	})
	if err != nil {
		return err
	}
	n.identity, n.lane = id, clock.Lane{Region: id.Region}
	n.exposure, err = replication.NewExposure(n.startState())
	return err
}

// startState is what the store holds, as the machine wants it.
func (n *run) startState() causal.Start {
	start := causal.Start{
		Self: n.lane, Number: uint64(n.config.Time.Wall()), Incarnation: n.store.Start().Incarnation, MaxSkew: n.config.Skew,
		Recovering: n.recovering(),
		Lanes:      []causal.Position{{Lane: n.lane, Held: n.store.Applied(n.lane), Durable: n.store.Applied(n.lane)}},
	}
	for lane, t := range n.store.Lanes() { // not those of Store.Start: a bootstrap may have come since
		if lane != n.lane {
			start.Lanes = append(start.Lanes, causal.Position{Lane: lane, Held: t, Durable: t})
		}
	}
	return start
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
