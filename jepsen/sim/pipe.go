package sim

import (
	"sync"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

// conn is one end of a connection.
type conn struct {
	at      *endpoint
	in, out *pipe
	remote  string
}

var _ replication.Conn = (*conn)(nil)

// pair makes the two ends of a connection.
func (n *network) pair(a, b *endpoint) (here, there *conn) {
	ab, ba := n.newPipe(link{a.name, b.name}), n.newPipe(link{b.name, a.name})
	here = &conn{at: a, in: ba, out: ab, remote: b.name}
	there = &conn{at: b, in: ab, out: ba, remote: a.name}
	ab.conn, ba.conn, ab.back, ba.back = here, there, ba, ab
	return here, there
}

// Remote implements replication.Conn.
func (c *conn) Remote() string { return c.remote }

// Send implements replication.Conn.
func (c *conn) Send(m *peerv1.Message) error { return c.out.send(m) }

// Recv implements replication.Conn.
func (c *conn) Recv() (*peerv1.Message, error) { return c.in.recv() }

// Close implements replication.Conn: this end's reader ends at once, the other's behind what is on
// the way.
func (c *conn) Close() {
	c.in.closeReader()
	c.out.closeWriter(1)
	c.at.forget(c)
}

// severed ends both directions as a lost connection does: of what is on the way only a part arrives.
func (c *conn) severed(keep float64) {
	c.out.closeWriter(keep)
	c.in.closeWriter(keep)
}

// pipe is one direction of a connection. One goroutine sends and one receives.
type pipe struct {
	network *network
	link    link
	conn    *conn  // the sender's end
	back    *pipe  // the other direction
	number  uint64 // in the order of their beginning

	readable, writable chan struct{} // hold one: look again
	arrives            *time.Timer   // when what the receiver waits for is there

	mu     sync.Mutex
	queue  []flight
	last   time.Time // when the last message arrives
	closed bool      // by the writer, or with the connection: nothing follows
	gone   bool      // by the reader: nobody reads

	relayMu sync.Mutex
	relayed map[uint32]bool // subscriptions to lanes of others than the sender
}

// flight is a message on its way.
type flight struct {
	message *peerv1.Message
	due     time.Time
}

func (n *network) newPipe(k link) *pipe {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	p := &pipe{
		network: n, link: k, number: n.made,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), arrives: time.NewTimer(time.Hour),
	}
	p.arrives.Stop() // nothing is on its way
	n.linkLocked(k).pipes[p] = struct{}{}
	return p
}

func (p *pipe) signal() {
	wake(p.readable)
	wake(p.writable)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *pipe) send(m *peerv1.Message) error {
	due := time.Now().Add(p.network.draw(p.link))
	for {
		p.mu.Lock()
		switch {
		case p.conn.at.isDead(), p.closed:
			p.mu.Unlock()
			return errClosed
		case p.gone && !p.network.blocked(link{p.link.to, p.link.from}):
			p.mu.Unlock()
			return errClosed
		case p.gone: // lost on the way, and nobody can say so
			p.mu.Unlock()
			return nil
		case len(p.queue) < window:
			p.push(m, due)
			if n := len(p.queue); n > 0 && n <= 2 { // else the reader is about to look anyway
				p.arrives.Reset(time.Until(p.queue[0].due))
			}
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		<-p.writable
	}
}

func (e *endpoint) isDead() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dead
}

// push puts a message behind the others, or does what no TCP would. The caller holds mu.
func (p *pipe) push(m *peerv1.Message, due time.Time) {
	if due.Before(p.last) {
		due = p.last
	}
	p.last = due
	p.inspect(m)
	u := p.network.unruly
	if _, raft := m.GetBody().(*peerv1.Message_Consensus); raft && p.network.chance(u.lose) {
		p.network.reach.count("message of raft's lost")
		return
	}
	p.queue = append(p.queue, flight{m, due})
	if !ordinary(m) {
		return
	}
	n := len(p.queue)
	if p.network.chance(u.duplicate) {
		p.queue = append(p.queue, flight{m, due})
		p.network.reach.count("message duplicated")
	}
	if n > 1 && ordinary(p.queue[n-2].message) && p.network.chance(u.reorder) {
		p.queue[n-1].message, p.queue[n-2].message = p.queue[n-2].message, p.queue[n-1].message
		p.network.reach.count("message reordered")
	}
}

func (p *pipe) recv() (*peerv1.Message, error) {
	for {
		cut := p.network.blocked(p.link)
		p.mu.Lock()
		switch {
		case p.gone, p.closed && len(p.queue) == 0 && !cut:
			p.mu.Unlock()
			return nil, errClosed
		case len(p.queue) > 0 && !cut:
			wait := time.Until(p.queue[0].due)
			if wait <= 0 {
				m := p.pop()
				p.mu.Unlock()
				return m, nil
			}
			p.arrives.Reset(wait)
		}
		p.mu.Unlock()
		p.pause()
	}
}

// pop takes the head of the queue. The caller holds mu.
func (p *pipe) pop() *peerv1.Message {
	m := p.queue[0].message
	p.queue[0] = flight{}
	p.queue = p.queue[1:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
	wake(p.writable)
	return m
}

// pause waits until there may be something to read.
func (p *pipe) pause() {
	select {
	case <-p.arrives.C:
	case <-p.readable:
	}
}

func (p *pipe) closeReader() {
	p.mu.Lock()
	p.gone, p.queue = true, nil
	p.mu.Unlock()
	p.end()
}

// closeWriter ends the pipe behind so much of what is on the way, from 0 to 1.
func (p *pipe) closeWriter(keep float64) {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		lost := len(p.queue) - int(keep*float64(len(p.queue)))
		if lost > 0 {
			p.network.reach.add("message lost with its connection", lost)
		}
		p.queue = p.queue[:len(p.queue)-lost]
	}
	p.mu.Unlock()
	p.end()
}

// end wakes both sides. A pipe that both have left is forgotten.
func (p *pipe) end() {
	p.signal()
	p.mu.Lock()
	over := p.gone
	p.mu.Unlock()
	if over {
		p.network.mu.Lock()
		delete(p.network.linkLocked(p.link).pipes, p)
		p.network.mu.Unlock()
	}
}

// ordinary reports whether a message is part of a running stream.
func ordinary(m *peerv1.Message) bool {
	switch m.GetBody().(type) {
	case *peerv1.Message_Heartbeat, *peerv1.Message_Records, *peerv1.Message_Consensus, *peerv1.Message_Ask, *peerv1.Message_Answer:
		return true
	}
	return false
}
