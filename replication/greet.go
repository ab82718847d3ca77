package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// A node with data needs nobody to ask who it is, and serves at once. But its operator may have told it whom
// to join, and it may have come upon data of another cluster: its own folder of before, or somebody else's.
// Nothing would ever show that, since it looks for the regions of its own list only. So it asks whose those
// are that it is told to join, until each has said that it is of the cluster. One that is of another is a
// fault that an operator hears of. It is no reason not to serve: it may be that one, a region that lost its
// disk and founded a cluster by mistake, that is wrong. With one that is of the cluster it exchanges addresses.

// otherCluster says that an address leads to another cluster.
type otherCluster struct {
	address string
	cluster []byte
}

// greet asks a node whether it is of the cluster, and returns what it says of itself.
func (c *JoinConfig) greet(ctx context.Context, address string, id Identity) (*peerv1.JoinAnswer, error) {
	h := c.hello(peerv1.Purpose_PURPOSE_JOIN)
	h.Name, h.Cluster, h.Region = id.Name, id.Cluster[:], uint32(id.Region)
	answer, err := c.ask(ctx, address, h)
	switch {
	case err != nil:
		return nil, err
	case len(answer.GetCluster()) != len(id.Cluster):
		return nil, kv.Errorf(kv.KindUnavailable, "%s does not say whose it is", address)
	case !bytes.Equal(answer.GetCluster(), id.Cluster[:]):
		return nil, otherCluster{address, answer.GetCluster()}
	}
	return answer, nil
}

func (o otherCluster) Error() string { return fmt.Sprintf("%s is of cluster %x", o.address, o.cluster) }

// misplaced says what an operator should do about it.
func (id Identity) misplaced(o otherCluster) error {
	return kv.Errorf(kv.KindInvalid, "the data folder is region %q of cluster %s, but the address to join, %s, is of cluster %x: correct the address or the folder; if this region is to join that cluster, move the folder away and start on an empty one, which takes none of the folder's data there; or, if the node at the address lost its disk and founded a cluster, stop it, delete its data folder and start it with --join, or this one without",
		id.Name, id.Cluster, o.address, o.cluster)
}

// greeting is what came of asking at an address.
type greeting struct {
	address string
	answer  *peerv1.JoinAnswer
	err     error
}

// greetAll asks at all addresses at a time, at most for GreetTimeout.
func (c *JoinConfig) greetAll(ctx context.Context, addresses []string, id Identity) (all []greeting) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if sleep(ctx, c.Time, GreetTimeout) {
			cancel()
		}
	}()
	answers := make(chan greeting, len(addresses))
	for _, a := range addresses {
		go func() {
			answer, err := c.greet(ctx, a, id)
			answers <- greeting{a, answer, err}
		}()
	}
	for range addresses {
		all = append(all, <-answers)
	}
	return all
}

// greetOn asks those that this node is told to join until each has said that it is of the cluster, and both
// know where the other is.
func (r *Replicator) greetOn(ctx context.Context) error {
	c := JoinConfig{
		Name: r.c.Identity.Name, Incarnation: r.c.Incarnation, Addresses: r.c.Addresses, Transport: r.c.Transport, Time: r.c.Time,
	}
	told := map[string]*faults{}
	for _, a := range r.c.Ask {
		told[a] = &faults{time: r.c.Time}
	}
	b := backoff{random: r.c.Random, limit: TellEvery}
	for left := r.c.Ask; len(left) > 0; {
		all := c.greetAll(ctx, left, r.c.Identity)
		left = nil
		for _, g := range all {
			err := g.err
			if err == nil {
				err = r.acquaint(ctx, g.answer)
			}
			var other otherCluster
			if errors.As(err, &other) && told[g.address].news(err) {
				r.c.Hooks.fault(0, r.c.Identity.misplaced(other))
			}
			if err != nil {
				left = append(left, g.address)
			}
		}
		if !sleep(ctx, r.c.Time, b.next()) {
			return nil
		}
	}
	return nil
}

// acquaint tells a node that answers where an operator says that one is where this node is, and learns its
// addresses: where both have moved, each knows of the other only where it was.
func (r *Replicator) acquaint(ctx context.Context, a *peerv1.JoinAnswer) error {
	m, ok := r.registry.find(clock.Region(a.GetRegion()))
	if !ok || m.Region == r.self.Region || r.connected(m.Region) {
		return nil
	}
	m.Addresses.Peer = a.GetAsk()
	return r.announce(ctx, m)
}
