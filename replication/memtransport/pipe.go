package memtransport

import (
	"sync"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
)

// pipe is one direction of a connection. The sender appends to the queue; the receiver takes the
// head once its delay has passed and the link is not cut.
type pipe struct {
	network *Network
	link    link

	mu     sync.Mutex
	queue  []flight
	closed bool          // by the writer: nothing follows
	gone   bool          // by the reader: nobody reads
	moved  chan struct{} // closed and replaced when any of the above change
}

// flight is a message on its way.
type flight struct {
	message *peerv1.Message
	due     time.Duration // monotonic
}

func newPipe(n *Network, l link) *pipe {
	return &pipe{network: n, link: l, moved: make(chan struct{})}
}

// move wakes everybody who waits for this pipe. The caller holds mu.
func (p *pipe) move() {
	close(p.moved)
	p.moved = make(chan struct{})
}

func (p *pipe) send(m *peerv1.Message) error {
	_, delay, _ := p.network.state(p.link)
	news, _, _ := p.network.state(link{p.link.to, p.link.from}) // how the sender learns that nobody reads
	due := p.network.clock.Monotonic() + delay
	for {
		p.mu.Lock()
		if p.closed || p.gone && !news {
			p.mu.Unlock()
			return ErrClosed
		}
		if p.gone {
			p.mu.Unlock()
			return nil // lost on the way
		}
		if len(p.queue) < Window {
			p.queue = append(p.queue, flight{m, due})
			p.move()
			p.mu.Unlock()
			return nil
		}
		moved := p.moved
		p.mu.Unlock()
		<-moved
	}
}

func (p *pipe) recv() (*peerv1.Message, error) {
	for {
		p.mu.Lock()
		// Within mu, so that what is in the queue was sent before: what was sent behind a cut finds the cut here.
		cut, _, changed := p.network.state(p.link)
		moved := p.moved
		switch {
		case p.gone, p.closed && len(p.queue) == 0 && !cut:
			p.mu.Unlock()
			return nil, ErrClosed
		case len(p.queue) > 0 && !cut:
			wait := p.queue[0].due - p.network.clock.Monotonic()
			if wait <= 0 {
				m := p.pop()
				p.mu.Unlock()
				return m, nil
			}
			p.mu.Unlock()
			p.pause(wait, moved, changed)
		default:
			p.mu.Unlock()
			p.pause(0, moved, changed)
		}
	}
}

// pop takes the head of the queue. The caller holds mu.
func (p *pipe) pop() *peerv1.Message {
	m := p.queue[0].message
	p.queue[0] = flight{}
	p.queue = p.queue[1:]
	p.move()
	return m
}

// pause waits until the pipe moves or the link changes, or for wait where that is not 0.
func (p *pipe) pause(wait time.Duration, moved, changed <-chan struct{}) {
	var timer <-chan time.Time
	if wait > 0 {
		var stop func()
		timer, stop = p.network.clock.NewTimer(wait)
		defer stop()
	}
	select {
	case <-timer:
	case <-moved:
	case <-changed:
	}
}

func (p *pipe) closeReader() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		p.gone, p.queue = true, nil
		p.move()
	}
}

// lose ends the pipe without what is still on the way.
func (p *pipe) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.queue = true, nil
	p.move()
}

func (p *pipe) closeWriter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.move()
	}
}
