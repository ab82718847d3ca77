package admin

import (
	"net"
	"sync"
)

// boundedListener closes connections beyond a number as soon as it accepts them. It does not leave
// them in the backlog: a health check should fail at once, not wait.
type boundedListener struct {
	net.Listener
	slots chan struct{}
}

func newBoundedListener(l net.Listener, n int) *boundedListener {
	return &boundedListener{Listener: l, slots: make(chan struct{}, n)}
}

// Accept returns the next connection for which there is room.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &boundedConn{Conn: conn, free: func() { <-l.slots }}, nil
		default:
			conn.Close() // nobody to tell: the other side sees it closed
		}
	}
}

// boundedConn frees its slot when it is closed, once.
type boundedConn struct {
	net.Conn
	once sync.Once
	free func()
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.free)
	return err
}
