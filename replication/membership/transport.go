package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Limits of what the gossip port takes. docs/reference/limits.md lists them.
const (
	// maxStream bounds what one connection brings, in bytes: several times what maxNodes nodes say of
	// themselves.
	maxStream = 1 << 20
	// maxStreams bounds the connections that others have made, at a time; further ones are closed. In a
	// healthy cluster each lasts a round trip, a few in a minute.
	maxStreams = 16
	// maxStreamTime bounds how long a connection lasts, either way.
	maxStreamTime = 10 * time.Second
	// bindAttempts is how often a port is looked for that is free for TCP and UDP, where the system picks.
	bindAttempts = 10
)

// guarded is memberlist's transport on sockets, with bounds: memberlist's own let one small connection
// take gigabytes. See head.go for what is let through.
type guarded struct {
	*memberlist.NetTransport
	dialer  net.Dialer
	life    context.Context // of the connections that this node makes
	hangUp  func()          // ends life
	sealed  bool            // gossip is encrypted: what has no key is dropped by memberlist, before it is decoded
	refused func(format string, args ...any)

	packets chan *memberlist.Packet
	streams chan net.Conn
	slots   chan struct{} // taken by each stream that others have opened

	closing, closed chan struct{} // drop everything; end
	pumps           sync.WaitGroup
	shutdown        func() error
}

var _ memberlist.NodeAwareTransport = (*guarded)(nil)

// listen binds the gossip port, TCP and UDP, as the settings say, and puts a port that the system picked
// into them.
func listen(m *memberlist.Config, sealed bool) (*guarded, error) {
	settings := &memberlist.NetTransportConfig{BindAddrs: []string{m.BindAddr}, BindPort: m.BindPort, Logger: m.Logger}
	inner, err := memberlist.NewNetTransport(settings)
	for i := 1; err != nil && m.BindPort == 0 && i < bindAttempts; i++ {
		inner, err = memberlist.NewNetTransport(settings)
	}
	if err != nil {
		return nil, err
	}
	if m.BindPort == 0 {
		m.BindPort = inner.GetAutoBindPort()
		m.AdvertisePort = m.BindPort
	}
	g := &guarded{
		NetTransport: inner, sealed: sealed, dialer: net.Dialer{LocalAddr: local(m.BindAddr)},
		refused: func(format string, args ...any) { m.Logger.Printf("[ERR] gossip: "+format, args...) },
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), slots: make(chan struct{}, maxStreams),
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
	g.life, g.hangUp = context.WithCancel(context.Background())
	g.shutdown = sync.OnceValue(g.stop)
	g.pumps.Go(g.pumpPackets)
	g.pumps.Go(g.pumpStreams)
	return g, nil
}

// local is where connections are dialled from: the host that the node listens on, which packets come from
// as well, so that a proxy before each node can tell links apart. Nil where that is every interface: any.
func local(host string) net.Addr {
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() {
		return nil
	}
	return &net.TCPAddr{IP: ip}
}

// PacketCh implements memberlist.Transport.
func (g *guarded) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements memberlist.Transport.
func (g *guarded) StreamCh() <-chan net.Conn { return g.streams }

// DialTimeout implements memberlist.Transport.
func (g *guarded) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return g.DialAddressTimeout(memberlist.Address{Addr: address}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport. Who answers is held to the same bounds as who
// calls. A node that ends waits for no answer: over a link that loses everything each took maxStreamTime.
func (g *guarded) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.life, timeout)
	defer cancel()
	c, err := g.dialer.DialContext(ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	// A deadline would not do: memberlist sets its own.
	release := context.AfterFunc(g.life, func() { _ = c.Close() })
	return newStream(c, func() { release() }), nil
}

// Shutdown implements memberlist.Transport. Only the first call does something.
func (g *guarded) Shutdown() error { return g.shutdown() }

// stop closes the sockets while the pumps still take what comes, since what listens waits for them.
func (g *guarded) stop() error {
	g.hangUp()
	close(g.closing)
	err := g.NetTransport.Shutdown()
	close(g.closed)
	g.pumps.Wait()
	return err
}

func (g *guarded) pumpPackets() {
	for {
		select {
		case p := <-g.NetTransport.PacketCh():
			if err := g.checkPacket(p.Buf); err != nil {
				g.refused("packet from %s: %v", p.From, err)
				continue
			}
			select {
			case g.packets <- p:
			case <-g.closing:
			}
		case <-g.closed:
			return
		}
	}
}

func (g *guarded) checkPacket(b []byte) error {
	if g.sealed {
		return nil
	}
	return checkPacket(b)
}

func (g *guarded) pumpStreams() {
	for {
		select {
		case c := <-g.NetTransport.StreamCh():
			g.pass(c)
		case <-g.closed:
			return
		}
	}
}

// pass hands a connection on, or closes it.
func (g *guarded) pass(c net.Conn) {
	select {
	case g.slots <- struct{}{}:
	default:
		g.refused("connection from %s: more than %d at a time", c.RemoteAddr(), maxStreams)
		_ = c.Close()
		return
	}
	s := newStream(c, func() { <-g.slots })
	select {
	case g.streams <- s:
	case <-g.closing:
		_ = s.Close()
	}
}

// stream is a connection that brings at most maxStream bytes, for at most maxStreamTime, and begins with
// what checkHead lets through.
type stream struct {
	net.Conn
	until time.Time
	left  int
	head  []byte // read to be checked, and not yet passed on
	err   error
	seen  bool // the head was checked
	close func() error
}

func newStream(c net.Conn, release func()) *stream {
	s := &stream{Conn: c, until: time.Now().Add(maxStreamTime), left: maxStream}
	s.close = sync.OnceValue(func() error { release(); return c.Close() })
	s.err = c.SetDeadline(s.until)
	return s
}

// Close implements net.Conn.
func (s *stream) Close() error { return s.close() }

// SetDeadline implements net.Conn; it brings the end nearer only.
func (s *stream) SetDeadline(t time.Time) error { return s.Conn.SetDeadline(s.sooner(t)) }

// SetReadDeadline implements net.Conn.
func (s *stream) SetReadDeadline(t time.Time) error { return s.Conn.SetReadDeadline(s.sooner(t)) }

// SetWriteDeadline implements net.Conn.
func (s *stream) SetWriteDeadline(t time.Time) error { return s.Conn.SetWriteDeadline(s.sooner(t)) }

func (s *stream) sooner(t time.Time) time.Time {
	if t.IsZero() || t.After(s.until) {
		return s.until
	}
	return t
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	if !s.seen && s.err == nil {
		s.seen = true
		s.err = checkHead(s.next)
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case len(s.head) > 0:
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	return s.read(p)
}

// next reads one more byte of the head.
func (s *stream) next() (byte, error) {
	var b [1]byte
	if _, err := s.read(b[:]); err != nil {
		return 0, err
	}
	s.head = append(s.head, b[0])
	return b[0], nil
}

var errTooLong = errors.New("it is longer than any state")

func (s *stream) read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, fmt.Errorf("after %d bytes: %w", maxStream, errTooLong)
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}
