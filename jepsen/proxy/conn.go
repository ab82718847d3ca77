package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Sizes of what is under way. docs/reference/limits.md lists them.
const (
	// Piece bounds what is read of a connection at a time, in bytes, and delayed as one.
	Piece = 16 << 10
	// Window bounds what of a connection waits each way, in bytes: 64 MB/s at 60 ms.
	Window = 256 * Piece
	// connectTimeout bounds dialling a node, which is on this machine.
	connectTimeout = 5 * time.Second
)

// conn is a connection through the proxy: from is the region that dialled.
type conn struct {
	gossip   bool
	there    *link // what the dialler sends
	back     *link // what it is sent
	near     net.Conn
	backend  string
	ended    context.Context
	end      context.CancelFunc
	once     sync.Once
	far      net.Conn
	farReady chan struct{} // closed when far is set
}

// piece is some bytes and when they arrive. Without bytes it says how the sender ended.
type piece struct {
	bytes []byte
	at    time.Time
	err   error // io.EOF in order; otherwise it is told by a reset
}

func newConn(ctx context.Context, near net.Conn, backend string, there, back *link, gossip bool) *conn {
	c := &conn{near: near, backend: backend, there: there, back: back, gossip: gossip, farReady: make(chan struct{})}
	c.ended, c.end = context.WithCancel(ctx)
	return c
}

// run moves bytes until both ends are done or the connection is reset.
func (c *conn) run() {
	c.there.add(c)
	c.back.add(c)
	defer c.there.remove(c)
	defer c.back.remove(c)
	stop := context.AfterFunc(c.ended, func() { c.reset() })
	defer stop()
	defer c.end()
	var both sync.WaitGroup
	queue := make(chan piece, Window/Piece)
	both.Go(func() { read(c.ended, c.near, c.there, queue) })
	if c.connect() {
		answers := make(chan piece, Window/Piece)
		both.Go(func() { read(c.ended, c.far, c.back, answers) })
		both.Go(func() { c.write(c.near, c.back, c.there, answers) })
		c.write(c.far, c.there, c.back, queue)
	}
	both.Wait()
	_ = c.near.Close()
	if c.far != nil {
		_ = c.far.Close()
	}
}

// reset breaks the connection at both ends, at once, and reports whether it had not ended before.
func (c *conn) reset() (broken bool) {
	c.once.Do(func() {
		broken = c.ended.Err() == nil
		c.end()
		abort(c.near)
		select {
		case <-c.farReady:
			abort(c.far)
		default:
		}
	})
	return broken
}

// connect dials the node once both ways are open. Where nobody listens the dialler is reset, as the
// system would.
func (c *conn) connect() bool {
	now := time.Now()
	at := c.back.arrival(0, c.there.arrival(0, now))
	if !wait(c.ended, c.there, at) || !wait(c.ended, c.back, at) {
		return false
	}
	dialer := net.Dialer{Timeout: connectTimeout}
	// Not until c.ended: the dialer would end in order what it has just made.
	far, err := dialer.Dial("tcp", c.backend)
	if err != nil {
		wait(c.ended, c.back, time.Now())
		c.reset()
		return false
	}
	c.far = far
	close(c.farReady)
	if c.ended.Err() != nil { // reset came before there was a far end
		abort(far)
		return false
	}
	return true
}

// read reads from one end until that ends, and says so last.
func read(ctx context.Context, from net.Conn, l *link, to chan<- piece) {
	defer close(to)
	for {
		b := make([]byte, Piece)
		n, err := from.Read(b)
		if n > 0 && !put(ctx, to, piece{bytes: b[:n], at: l.arrival(n, time.Now())}) {
			return
		}
		if err != nil {
			put(ctx, to, piece{err: err, at: l.arrival(0, time.Now())})
			return
		}
	}
}

func put(ctx context.Context, to chan<- piece, p piece) bool {
	select {
	case to <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// write hands pieces on as they arrive. Where an end takes no more, the other one is told by a reset, over
// the link that would carry it.
func (c *conn) write(to net.Conn, l, back *link, from <-chan piece) {
	for p := range from {
		if !wait(c.ended, l, p.at) {
			return
		}
		switch {
		case errors.Is(p.err, io.EOF):
			if t, ok := to.(*net.TCPConn); ok {
				_ = t.CloseWrite()
			}
			return
		case p.err != nil:
			c.reset()
			return
		}
		if _, err := to.Write(p.bytes); err != nil {
			wait(c.ended, back, back.arrival(0, time.Now()))
			c.reset()
			return
		}
	}
}

// wait returns once it is time and the link is open; a link that has become fair hurries what is
// under way. It is false when ctx has ended.
func wait(ctx context.Context, l *link, at time.Time) bool {
	for {
		open, fair, changed := l.state()
		left := time.Until(at)
		if open && (fair || left <= 0) {
			return ctx.Err() == nil
		}
		var timer <-chan time.Time
		if open {
			timer = time.After(left)
		}
		select {
		case <-timer:
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
