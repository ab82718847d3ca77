package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/kv"
)

// A node with data needs nobody to ask who it is, and serves at once. But its operator may have told it whom
// to join, and it may have come upon data of another cluster: its own folder of before, or somebody else's.
// Nothing would ever show that, since it looks for the regions of its own list only. So it asks whose those
// are that it is told to join, until each has said that it is of the cluster. One that is of another is a
// fault that an operator hears of. It is no reason not to serve: it may be that one, a region that lost its
// disk and founded a cluster by mistake, that is wrong.

// otherCluster says that an address leads to another cluster.
type otherCluster struct {
	address string
	cluster []byte
}

// greet asks a node whether it is of the cluster.
func (c *JoinConfig) greet(ctx context.Context, address string, id Identity) error {
	h := c.hello(peerv1.Purpose_PURPOSE_JOIN)
	h.Name, h.Cluster, h.Region = id.Name, id.Cluster[:], uint32(id.Region)
	answer, err := c.ask(ctx, address, h)
	switch {
	case err != nil:
		return err
	case len(answer.GetCluster()) != len(id.Cluster):
		return kv.Errorf(kv.KindUnavailable, "%s does not say whose it is", address)
	case !bytes.Equal(answer.GetCluster(), id.Cluster[:]):
		return otherCluster{address, answer.GetCluster()}
	}
	return nil
}

func (o otherCluster) Error() string { return fmt.Sprintf("%s is of cluster %x", o.address, o.cluster) }

// misplaced says what an operator should do about it.
func (id Identity) misplaced(o otherCluster) error {
	return kv.Errorf(kv.KindInvalid, "the data folder is region %q of cluster %s, but the address to join, %s, is of cluster %x: correct the address or the folder; if this region is to join that cluster, move the folder away and start on an empty one, which takes none of the folder's data there; or, if the node at the address lost its disk and founded a cluster, stop it, delete its data folder and start it with --join, or this one without",
		id.Name, id.Cluster, o.address, o.cluster)
}

// greetAll asks all addresses at a time, at most for GreetTimeout, and returns what each said, by address.
func (c *JoinConfig) greetAll(ctx context.Context, addresses []string, id Identity) map[string]error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if sleep(ctx, c.Time, GreetTimeout) {
			cancel()
		}
	}()
	type said struct {
		address string
		err     error
	}
	answers := make(chan said, len(addresses))
	for _, a := range addresses {
		go func() { answers <- said{a, c.greet(ctx, a, id)} }()
	}
	out := map[string]error{}
	for range addresses {
		s := <-answers
		out[s.address] = s.err
	}
	return out
}

// greetOn asks those that this node is told to join until they have said that they are of the cluster.
func (r *Replicator) greetOn(ctx context.Context) error {
	c := JoinConfig{
		Name: r.c.Identity.Name, Incarnation: r.c.Incarnation, Addresses: r.c.Addresses, Transport: r.c.Transport, Time: r.c.Time,
	}
	left := r.c.Ask
	for len(left) > 0 {
		met := c.greetAll(ctx, left, r.c.Identity)
		left = nil
		for _, a := range r.c.Ask {
			err, asked := met[a]
			if !asked || err == nil {
				continue
			}
			left = append(left, a)
			var other otherCluster
			if errors.As(err, &other) {
				r.c.Hooks.fault(0, r.c.Identity.misplaced(other))
			}
		}
		if !sleep(ctx, r.c.Time, TellEvery) {
			return nil
		}
	}
	return nil
}
