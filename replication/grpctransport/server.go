package grpctransport

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/peer"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
)

var errClosed = errors.New("connection closed")

// serverConn is the accepting end.
type serverConn struct {
	stream peerv1.Peer_StreamServer
	remote string
	once   sync.Once
	closed chan struct{}
}

func newServerConn(stream peerv1.Peer_StreamServer) *serverConn {
	c := &serverConn{stream: stream, remote: "unknown", closed: make(chan struct{})}
	if p, ok := peer.FromContext(stream.Context()); ok {
		c.remote = p.Addr.String()
	}
	return c
}

func (c *serverConn) Send(m *peerv1.Message) error {
	select {
	case <-c.closed:
		return fmt.Errorf("send to %s: %w", c.remote, errClosed)
	default:
	}
	if err := c.stream.Send(m); err != nil {
		return fmt.Errorf("send to %s: %w", c.remote, err)
	}
	return nil
}

func (c *serverConn) Recv() (*peerv1.Message, error) {
	m, err := c.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", c.remote, err)
	}
	return m, nil
}

func (c *serverConn) Close() { c.once.Do(func() { close(c.closed) }) }

func (c *serverConn) Remote() string { return c.remote }
