package serve

import (
	"context"
	"time"

	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication/membership"
)

// gossip is a node's Membership over memberlist.
type gossip struct {
	server *server
	gossip *membership.Gossip
}

// Start implements node.Membership. The port was found by a listener that makes room now.
func (g *gossip) Start(self node.Peer, known func() []string, found func(node.Peer), logf func(string, ...any)) error {
	s := g.server
	bind := s.gossip.Addr().String()
	if err := s.gossip.Close(); err != nil {
		return kv.Errorf(kv.KindUnavailable, "--gossip-listen %s: %w", bind, err)
	}
	var keys [][]byte
	if s.config.GossipKey != nil {
		keys = [][]byte{s.config.GossipKey}
	}
	var err error
	g.gossip, err = membership.Start(membership.Config{
		Self: membership.Node(self), Bind: bind, Advertise: self.Addresses.Gossip, Keys: keys, Known: known,
		Found: func(n membership.Node) { found(node.Peer(n)) },
		Logf:  logf,
	})
	return err
}

// Run implements node.Membership.
func (g *gossip) Run(ctx context.Context) {
	tick := time.NewTicker(membership.RejoinEvery)
	defer tick.Stop()
	g.gossip.Run(ctx, tick.C)
}

// Close implements node.Membership.
func (g *gossip) Close() error { return g.gossip.Close() }
