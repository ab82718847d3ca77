package memtransport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

// Window is how many messages a direction of a connection holds; Send blocks beyond it.
const Window = 1024

// Errors that the network returns, wrapped in what was tried.
var (
	ErrUnreachable = errors.New("unreachable")
	ErrClosed      = errors.New("connection closed")
)

// Network connects nodes by the addresses that they chose. It is safe for concurrent use.
type Network struct {
	clock replication.Time

	mu    sync.Mutex
	nodes map[string]*Node
	links map[link]*linkState
}

// link is one direction between two addresses.
type link struct{ from, to string }

type linkState struct {
	cut     bool
	delay   time.Duration
	changed chan struct{} // closed and replaced when the above change
}

// New returns a network without nodes. Its delays are those of clock.
func New(clock replication.Time) *Network {
	return &Network{clock: clock, nodes: map[string]*Node{}, links: map[link]*linkState{}}
}

// Node returns the transport of the node at an address. Two calls for one address return the same.
func (n *Network) Node(address string) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	node, ok := n.nodes[address]
	if !ok {
		node = &Node{network: n, address: address, conns: map[*conn]struct{}{}}
		n.nodes[address] = node
	}
	return node
}

// Cut stops everything from one address to another; the other direction goes on.
func (n *Network) Cut(from, to string) { n.change(from, to, func(l *linkState) { l.cut = true }) }

// Heal undoes Cut.
func (n *Network) Heal(from, to string) { n.change(from, to, func(l *linkState) { l.cut = false }) }

// CutBoth and HealBoth are Cut and Heal in both directions.
func (n *Network) CutBoth(a, b string) { n.Cut(a, b); n.Cut(b, a) }

// HealBoth undoes CutBoth.
func (n *Network) HealBoth(a, b string) { n.Heal(a, b); n.Heal(b, a) }

// SetDelay sets how long messages from one address to another are on the way; half a round trip.
func (n *Network) SetDelay(from, to string, d time.Duration) {
	n.change(from, to, func(l *linkState) { l.delay = d })
}

func (n *Network) change(from, to string, set func(*linkState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.linkLocked(link{from, to})
	set(l)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (n *Network) linkLocked(k link) *linkState {
	l, ok := n.links[k]
	if !ok {
		l = &linkState{changed: make(chan struct{})}
		n.links[k] = l
	}
	return l
}

// state reads a link, with a channel that closes when it changes.
func (n *Network) state(k link) (cut bool, delay time.Duration, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.linkLocked(k)
	return l.cut, l.delay, l.changed
}

// Node is one node's transport.
type Node struct {
	network *Network
	address string

	mu     sync.Mutex
	accept func(replication.Conn) // nil while not serving
	wait   *sync.WaitGroup        // of the accepted connections
	conns  map[*conn]struct{}     // open ends at this node
}

var _ replication.Transport = (*Node)(nil)

// Address is where others reach this node.
func (n *Node) Address() string { return n.address }

// Dial connects to another node, once there and back over the link.
func (n *Node) Dial(ctx context.Context, address string) (replication.Conn, error) {
	remote := n.network.Node(address)
	for _, k := range []link{{n.address, address}, {address, n.address}} {
		if err := n.network.cross(ctx, k); err != nil {
			return nil, fmt.Errorf("dial %s from %s: %w", address, n.address, err)
		}
	}
	here, there := n.network.pair(n, remote)
	if !remote.take(there) {
		return nil, fmt.Errorf("dial %s from %s: %w: nothing listens there", address, n.address, ErrUnreachable)
	}
	n.own(here)
	return here, nil
}

// cross waits as long as a message takes over a link.
func (n *Network) cross(ctx context.Context, k link) error {
	cut, delay, _ := n.state(k)
	if cut {
		return fmt.Errorf("%w: the link from %s to %s is cut", ErrUnreachable, k.from, k.to)
	}
	if delay == 0 {
		return ctx.Err()
	}
	timer, stop := n.clock.NewTimer(delay)
	defer stop()
	select {
	case <-timer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Node) own(c *conn) {
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
}

// take hands a new connection to the accept function.
func (n *Node) take(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.accept == nil {
		return false
	}
	n.conns[c] = struct{}{}
	accept, wait := n.accept, n.wait
	wait.Add(1)
	go func() {
		defer wait.Done()
		defer c.Close()
		accept(c)
	}()
	return true
}

// Serve accepts connections until ctx ends.
func (n *Node) Serve(ctx context.Context, accept func(replication.Conn)) error {
	n.mu.Lock()
	if n.accept != nil {
		n.mu.Unlock()
		return fmt.Errorf("listen on %s: address in use", n.address)
	}
	wait := new(sync.WaitGroup)
	n.accept, n.wait = accept, wait
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	n.accept = nil
	n.mu.Unlock()
	n.CloseAll()
	wait.Wait()
	return nil
}

// CloseAll breaks every connection of this node, as a crash of its process would.
func (n *Node) CloseAll() {
	n.mu.Lock()
	open := make([]*conn, 0, len(n.conns))
	for c := range n.conns {
		open = append(open, c)
	}
	n.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// Fail breaks every connection of this node as a power cut would: what it has sent and nobody has
// received yet is gone, also when it only waits for a link to heal.
func (n *Node) Fail() {
	n.mu.Lock()
	for c := range n.conns {
		c.out.lose()
	}
	n.mu.Unlock()
	n.CloseAll()
}

// pair makes the two ends of a connection.
func (n *Network) pair(a, b *Node) (here, there *conn) {
	ab, ba := newPipe(n, link{a.address, b.address}), newPipe(n, link{b.address, a.address})
	return &conn{node: a, in: ba, out: ab, remote: b.address}, &conn{node: b, in: ab, out: ba, remote: a.address}
}

// conn is one end of a connection.
type conn struct {
	node    *Node
	in, out *pipe
	remote  string
}

func (c *conn) Remote() string { return c.remote }

func (c *conn) Send(m *peerv1.Message) error { return c.out.send(m) }

func (c *conn) Recv() (*peerv1.Message, error) { return c.in.recv() }

// Close ends both directions: this end's reader at once, the other's behind what is on the way.
func (c *conn) Close() {
	c.in.closeReader()
	c.out.closeWriter()
	c.node.mu.Lock()
	delete(c.node.conns, c)
	c.node.mu.Unlock()
}
