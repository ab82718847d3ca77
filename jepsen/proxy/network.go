package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Network is all links between some regions. Its methods are safe for concurrent use. A link may be
// named before anything goes over it.
type Network struct {
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	hosts   map[netip.Addr]string // whose address that is
	links   map[[2]string]*link
	sockets []interface{ Close() error }
	closed  bool
}

// New returns a network in which all links are fair.
func New() *Network {
	n := &Network{hosts: map[netip.Addr]string{}, links: map[[2]string]*link{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Host says that what comes from a host is sent by a region.
func (n *Network) Host(region string, host netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = region
}

// Stream opens a front for connections to a region: on a port of host that the system picks, it hands
// on to backend. It returns the front's address.
func (n *Network) Stream(region string, host netip.Addr, backend string) (string, error) {
	return n.stream(region, netip.AddrPortFrom(host, 0).String(), backend, false)
}

// Gossip is Stream for a port that takes connections and datagrams, both of which are gossip.
func (n *Network) Gossip(region string, host netip.Addr, backend string) (string, error) {
	const attempts = 10 // a port that is free for TCP may be taken for UDP
	to, err := net.ResolveUDPAddr("udp", backend)
	if err != nil {
		return "", fmt.Errorf("proxy: gossip to %s: %w", region, err)
	}
	var socket *net.UDPConn
	for range attempts {
		if socket, err = net.ListenUDP("udp", &net.UDPAddr{IP: host.AsSlice()}); err != nil {
			break
		}
		var front string
		if front, err = n.stream(region, socket.LocalAddr().String(), backend, true); err == nil {
			n.keep(socket)
			n.wait.Go(func() { n.datagrams(region, socket, to) })
			return front, nil
		}
		_ = socket.Close()
	}
	return "", fmt.Errorf("proxy: a front of gossip to %s: %w", region, err)
}

func (n *Network) stream(region, address, backend string, gossip bool) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("proxy: a front of %s: %w", region, err)
	}
	n.keep(l)
	n.wait.Go(func() { n.accept(region, l, backend, gossip) })
	return l.Addr().String(), nil
}

// keep has a socket closed by Close.
func (n *Network) keep(s interface{ Close() error }) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = s.Close()
		return
	}
	n.sockets = append(n.sockets, s)
}

// Close closes all fronts and connections, and waits.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	n.cancel()
	for _, s := range n.sockets {
		_ = s.Close()
	}
	n.sockets = nil
	n.mu.Unlock()
	n.wait.Wait()
}

// acceptPause is how long a front waits after it could not accept, for want of descriptors say.
const acceptPause = 50 * time.Millisecond

func (n *Network) accept(region string, l net.Listener, backend string, gossip bool) {
	for {
		near, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			pause(n.ctx, acceptPause)
			continue
		}
		from := n.sender(near.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
		c := newConn(n.ctx, near, backend, n.link(from, region), n.link(region, from), gossip)
		if gossip && (c.there.refuses() || c.back.refuses()) {
			c.reset()
			continue
		}
		n.wait.Go(c.run)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// maxDatagram is the most that UDP carries, in bytes.
const maxDatagram = 64 << 10

func (n *Network) datagrams(region string, socket *net.UDPConn, to *net.UDPAddr) {
	b := make([]byte, maxDatagram)
	for {
		size, from, err := socket.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an earlier datagram met nobody
		}
		drop, after := n.link(n.sender(from.Addr()), region).datagram()
		switch {
		case drop:
		case after == 0:
			_, _ = socket.WriteToUDP(b[:size], to)
		default:
			later := slices.Clone(b[:size])
			n.wait.Go(func() {
				pause(n.ctx, after)
				_, _ = socket.WriteToUDP(later, to)
			})
		}
	}
}

// sender is the region whose address that is; "" is nobody's.
func (n *Network) sender(host netip.Addr) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[host.Unmap()]
}

func (n *Network) link(from, to string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.links[[2]string{from, to}]
	if !ok {
		l = newLink()
		n.links[[2]string{from, to}] = l
	}
	return l
}

// Cut lets nothing through from one region to another; Heal undoes it.
func (n *Network) Cut(from, to string) { n.set(from, to, func(l *link) { l.cut = true }) }

// Heal lets everything through that a cut kept.
func (n *Network) Heal(from, to string) { n.set(from, to, func(l *link) { l.cut = false }) }

// Stall keeps what is sent from one region to another until Flow.
func (n *Network) Stall(from, to string) { n.set(from, to, func(l *link) { l.stalled = true }) }

// Flow undoes Stall.
func (n *Network) Flow(from, to string) { n.set(from, to, func(l *link) { l.stalled = false }) }

// Slow gives a link a weather.
func (n *Network) Slow(from, to string, w Weather) {
	n.set(from, to, func(l *link) { l.weather, l.free = w, time.Time{} })
}

// DropGossip drops gossip from one region to another, and breaks the connections that carry it;
// PassGossip undoes it.
func (n *Network) DropGossip(from, to string) {
	n.set(from, to, func(l *link) { l.mute = true })
	broken := n.breakAll(from, to, func(c *conn) bool { return c.gossip })
	n.set(from, to, func(l *link) { l.counts.GossipReset += broken })
}

// PassGossip lets gossip through again.
func (n *Network) PassGossip(from, to string) { n.set(from, to, func(l *link) { l.mute = false }) }

// Reset breaks the connections between two regions, whoever made them, and says how many.
func (n *Network) Reset(from, to string) int {
	broken := n.breakAll(from, to, func(*conn) bool { return true })
	n.set(from, to, func(l *link) { l.counts.Reset += broken })
	return broken
}

func (n *Network) breakAll(from, to string, which func(*conn) bool) int {
	broken := 0
	for _, c := range n.link(from, to).open(which) {
		if c.reset() {
			broken++
		}
	}
	return broken
}

// Counts are what the link from one region to another did so far.
func (n *Network) Counts(from, to string) Counts { return n.link(from, to).counted() }

func (n *Network) set(from, to string, do func(*link)) {
	l := n.link(from, to)
	l.change(func() { do(l) })
}
