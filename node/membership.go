package node

import (
	"context"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Peer is what membership says of one node.
type Peer struct {
	Cluster   kv.ClusterID
	Region    clock.Region
	Addresses Addresses
}

// Membership finds where the other nodes of the cluster are. It is a help only: addresses once known
// are kept on disk, and who is alive is what the streams say.
type Membership interface {
	// Start begins to tell the others of self and to listen. known lists gossip addresses to
	// contact and is asked again and again; found is told what is learned, on any goroutine, and
	// does not block. logf writes a line to the node's log.
	Start(self Peer, known func() []string, found func(Peer), logf func(format string, args ...any)) error
	// Run contacts the others until ctx ends. Called once, after Start.
	Run(ctx context.Context)
	// Close stops what Start started. Called once, after Run has returned.
	Close() error
}

// foundQueue is how many findings wait to be noted; beyond it they are dropped, and found again.
const foundQueue = 64

// startMembership begins to look for the others, and notes where they are.
func (n *Node) startMembership(ctx context.Context) error {
	m := n.config.Membership
	if m == nil {
		return nil
	}
	found := make(chan Peer, foundQueue)
	r := n.current.Load()
	self := Peer{Cluster: r.identity.Cluster, Region: r.lane.Region, Addresses: n.config.Addresses}
	err := m.Start(self, n.knownGossip, func(p Peer) {
		select {
		case found <- p:
		default:
		}
	}, n.config.logf)
	if err != nil {
		return err
	}
	n.running.Go(func() {
		m.Run(ctx)
		if err := m.Close(); err != nil {
			n.config.logf("ending membership: %v", err)
		}
	})
	n.running.Go(func() { n.noteFound(ctx, found) })
	return nil
}

// noteFound passes findings on. While the data is taken anew they are dropped, and found again.
func (n *Node) noteFound(ctx context.Context, found <-chan Peer) {
	for {
		select {
		case p := <-found:
			if r, done := n.enter(); done != nil {
				if err := r.replicator.SetAddresses(ctx, p.Region, p.Addresses); err != nil && ctx.Err() == nil {
					n.config.logf("noting the addresses of region %d: %v", p.Region, err)
				}
				done()
			}
		case <-ctx.Done():
			return
		}
	}
}

// knownGossip lists the gossip addresses of the other regions.
func (n *Node) knownGossip() []string {
	var out []string
	r := n.current.Load()
	for _, p := range r.replicator.Status() {
		if p.Region != r.lane.Region && p.Addresses.Gossip != "" {
			out = append(out, p.Addresses.Gossip)
		}
	}
	return out
}
