package membership

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// leaveTimeout bounds how long a node that stops takes to tell the others.
const leaveTimeout = time.Second

// rejoinEvery is how often a node looks again for others that it knows of and does not hear.
const rejoinEvery = 10 * time.Second

// Config says how a node gossips. Self and Bind are required.
type Config struct {
	// Self is what the others are told of this node.
	Self Node
	// Bind is the address to listen on, HOST:PORT; port 0: the system picks.
	Bind string
	// Advertise is where others reach it, an IP and a port; empty: where it listens.
	Advertise string
	// Keys encrypt gossip (AES: 16, 24 or 32 bytes); the first one is used for what is sent, all are
	// tried on what comes, so that keys can be changed. None: plaintext.
	Keys [][]byte
	// Known lists gossip addresses to contact, each an IP and a port, asked again every 10 s; it may block
	// briefly.
	Known func() []string
	// Found is told what is learned of another node of the cluster. It is called from memberlist's
	// goroutines, one call at a time, and must not block.
	Found func(Node)
	// Logf takes what an operator should know; nil: nothing.
	Logf func(format string, args ...any)
}

// Gossip is a node's part in the gossip.
type Gossip struct {
	config Config
	list   *memberlist.Memberlist
	meta   []byte

	transport *guarded
}

// Start begins to listen. Run contacts the others; Close ends it.
func Start(c Config) (*Gossip, error) {
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	meta, err := c.Self.encode()
	if err != nil {
		return nil, err
	}
	g := &Gossip{config: c, meta: meta}
	settings, err := g.settings()
	if err != nil {
		return nil, err
	}
	if g.transport, err = listen(settings, len(c.Keys) > 0); err != nil {
		return nil, fmt.Errorf("gossip on %s: %w", c.Bind, err)
	}
	settings.Transport = g.transport
	if g.list, err = memberlist.Create(settings); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip on %s: %w", c.Bind, err), g.transport.Shutdown())
	}
	return g, nil
}

// settings are memberlist's for wide-area links, with ours.
func (g *Gossip) settings() (*memberlist.Config, error) {
	m := memberlist.DefaultWANConfig()
	m.Name = g.config.Self.name()
	m.TCPTimeout = maxStreamTime
	m.EnableCompression = false              // what comes compressed is refused: see head.go
	m.Label = g.config.Self.Cluster.String() // another cluster's packets are dropped unread
	var err error
	if m.BindAddr, m.BindPort, err = split(g.config.Bind); err != nil {
		return nil, err
	}
	m.AdvertisePort = m.BindPort
	if g.config.Advertise != "" {
		if m.AdvertiseAddr, m.AdvertisePort, err = split(g.config.Advertise); err != nil {
			return nil, err
		}
	}
	if len(g.config.Keys) > 0 {
		if m.Keyring, err = memberlist.NewKeyring(g.config.Keys, g.config.Keys[0]); err != nil {
			return nil, fmt.Errorf("gossip: encryption keys: %w", err)
		}
	}
	m.Delegate, m.Events, m.Alive = delegate{g}, events{g}, alive{g}
	m.Logger = log.New(&quiet{logf: g.config.Logf, now: time.Now}, "", 0)
	m.DelegateProtocolMin, m.DelegateProtocolMax, m.DelegateProtocolVersion = 1, 1, 1
	return m, nil
}

func split(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("gossip: address %q: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("gossip: port of %q: %w", address, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, int(n), nil
}

// Address is where this node listens.
func (g *Gossip) Address() string {
	n := g.list.LocalNode()
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

// Members is how many nodes gossip, this one included.
func (g *Gossip) Members() int { return g.list.NumMembers() }

// Run contacts the known nodes, again and again, until ctx ends; tick says when, e.g. a ticker of
// RejoinEvery. Connections that it has made or is making then end, whether the others answer or not, and no
// more are made.
func (g *Gossip) Run(ctx context.Context, tick <-chan time.Time) {
	release := context.AfterFunc(ctx, g.transport.hangUp)
	defer release()
	for {
		g.contact(ctx)
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// RejoinEvery is how often Run should contact the known nodes.
const RejoinEvery = rejoinEvery

// contact exchanges state with the known nodes that do not gossip with this one, one after the other. Host
// names, which nobody gossips at, are passed over: memberlist would look them up for as long as that takes.
func (g *Gossip) contact(ctx context.Context) {
	here := map[string]bool{g.Address(): true}
	for _, n := range g.list.Members() {
		here[n.Address()] = true
		if said, err := decode(n.Meta); err == nil {
			here[said.Addresses.Gossip] = true
		}
	}
	for _, address := range g.config.Known() {
		if ctx.Err() != nil {
			return
		}
		if _, err := netip.ParseAddrPort(address); err == nil && !here[address] {
			// Failure is what the next round is for; the streams dial by themselves meanwhile.
			_, _ = g.list.Join([]string{address})
		}
	}
}

// Close tells the others that this node leaves the gossip, and stops listening.
func (g *Gossip) Close() error {
	_ = g.list.Leave(leaveTimeout) // nobody may be there to tell
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// found passes on what is learned of another node of this cluster.
func (g *Gossip) found(n *memberlist.Node) {
	said, err := decode(n.Meta)
	if err != nil {
		g.config.Logf("gossip from %s: %v", n.Address(), err)
		return
	}
	if said.Cluster == g.config.Self.Cluster && said.Region != g.config.Self.Region {
		g.config.Found(said)
	}
}

// delegate answers memberlist's questions about this node.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte           { return d.g.meta }
func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// alive judges nodes before memberlist keeps them, so that it keeps at most maxNodes.
type alive struct{ g *Gossip }

func (a alive) NotifyAlive(n *memberlist.Node) error {
	said, err := decode(n.Meta)
	switch {
	case err != nil:
		return err
	case said.Cluster != a.g.config.Self.Cluster || said.Region > maxNodes || n.Name != said.name():
		return fmt.Errorf("gossip: it is no node of cluster %s", a.g.config.Self.Cluster)
	}
	return nil
}

// events is told what memberlist learns.
type events struct{ g *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.g.found(n) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.g.found(n) }
func (events) NotifyLeave(*memberlist.Node)      {}
