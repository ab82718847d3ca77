package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/nemesis"
	"github.com/theriac-db/theriac/jepsen/proxy"
)

// proxies is the network on loopback: 127.A.B.N for the Nth region, with A and B drawn, so that
// clusters that run side by side do not wait for each other's ports.
type proxies struct {
	net  *proxy.Network
	next netip.Addr
}

func newProxies() *proxies {
	return &proxies{net: proxy.New(), next: netip.AddrFrom4([4]byte{127, byte(1 + rand.N(254)), byte(rand.N(256)), 1})}
}

// place implements network: ports for a node, and the fronts that it advertises in their place.
func (p *proxies) place(region string) (place, error) {
	host := p.next
	p.next = host.Next()
	p.net.Host(region, host)
	ports, err := freePorts(host, 4)
	if err != nil {
		return place{}, err
	}
	listen, peer, gossip, admin := ports[0], ports[1], ports[2], ports[3]
	fronts := make([]string, 3)
	for i, front := range []struct {
		open    func(string, netip.Addr, string) (string, error)
		backend string
	}{{p.net.Stream, listen}, {p.net.Stream, peer}, {p.net.Gossip, gossip}} {
		if fronts[i], err = front.open(region, host, front.backend); err != nil {
			return place{}, err
		}
	}
	return place{
		client: listen, admin: admin, joins: fronts[0],
		flags: []string{
			"--insecure", "--listen", listen, "--peer-listen", peer, "--gossip-listen", gossip, "--admin-listen", admin,
			"--advertise", fronts[0], "--peer-advertise", fronts[1], "--gossip-advertise", fronts[2],
		},
	}, nil
}

// Ports of nodes are drawn from here: below those that systems give to whoever dials or asks for any, so
// that nobody gets one in the time between its being found and its node's start.
const firstPort, lastPort = 10_000, 30_000

// freePorts finds ports that are free for TCP and UDP, as HOST:PORT. They are closed again for the node to
// take; nobody else uses that host.
func freePorts(host netip.Addr, n int) ([]string, error) {
	const attempts = 20
	var out []string
	for try := 0; len(out) < n; try++ {
		at := netip.AddrPortFrom(host, uint16(firstPort+rand.N(lastPort-firstPort))).String()
		l, u, err := listenBoth(at)
		switch {
		case err == nil:
			defer l.Close() // when all are found, so that none is found twice
			defer u.Close()
			out = append(out, at)
		case try >= attempts:
			return nil, fmt.Errorf("cluster: nothing can listen on %s: %w; outside Linux give loopback the address first: ifconfig lo0 alias %s", host, err, host)
		}
	}
	return out, nil
}

// listenBoth listens for TCP and UDP.
func listenBoth(at string) (net.Listener, net.PacketConn, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, nil, err
	}
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, u, nil
}

func (*proxies) options() []client.Option { return []client.Option{client.Insecure()} }

func (*proxies) admin() (*http.Client, bool) { return http.DefaultClient, false }

func (p *proxies) close() error {
	p.net.Close()
	return nil
}

// effects implements network.
func (p *proxies) effects(links []nemesis.Link) (nemesis.Effects, error) {
	sum := nemesis.Effects{}
	for _, l := range links {
		c := p.net.Counts(l.From, l.To)
		sum[nemesis.BytesHeld] += c.BytesHeld
		sum[nemesis.EndsHeld] += c.EndsHeld
		sum[nemesis.BytesDelayed] += c.BytesDelayed
		sum[nemesis.ConnsReset] += c.Reset
		sum[nemesis.GossipDropped] += c.DatagramsDropped
		sum[nemesis.GossipDelayed] += c.DatagramsDelayed
		sum[nemesis.GossipReset] += c.GossipReset
	}
	return sum, nil
}

// Cut implements nemesis.Cutter.
func (p *proxies) Cut(_ context.Context, l nemesis.Link) error {
	p.net.Cut(l.From, l.To)
	return nil
}

// Heal implements nemesis.Cutter.
func (p *proxies) Heal(_ context.Context, l nemesis.Link) error {
	p.net.Heal(l.From, l.To)
	return nil
}

// Slow implements nemesis.Slower.
func (p *proxies) Slow(_ context.Context, l nemesis.Link, w nemesis.Weather) error {
	p.net.Slow(l.From, l.To, proxy.Weather(w))
	return nil
}

// Stall implements nemesis.Staller.
func (p *proxies) Stall(_ context.Context, l nemesis.Link) error {
	p.net.Stall(l.From, l.To)
	return nil
}

// Flow implements nemesis.Staller.
func (p *proxies) Flow(_ context.Context, l nemesis.Link) error {
	p.net.Flow(l.From, l.To)
	return nil
}

// Reset implements nemesis.Resetter.
func (p *proxies) Reset(_ context.Context, l nemesis.Link) error {
	p.net.Reset(l.From, l.To)
	return nil
}

// DropGossip implements nemesis.GossipDropper.
func (p *proxies) DropGossip(_ context.Context, l nemesis.Link) error {
	p.net.DropGossip(l.From, l.To)
	return nil
}

// PassGossip implements nemesis.GossipDropper.
func (p *proxies) PassGossip(_ context.Context, l nemesis.Link) error {
	p.net.PassGossip(l.From, l.To)
	return nil
}
