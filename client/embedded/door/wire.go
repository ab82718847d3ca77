package door

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

// errCut ends what goes over a wire that is cut.
var errCut = errors.New("the node has crashed")

// Wire is the transport of one run of a node, until a crash cuts it: what the node says from that
// moment on, while its goroutines are still being ended, reaches nobody.
type Wire struct {
	replication.Transport
	dead atomic.Bool
}

// NewWire is the transport over another one.
func NewWire(t replication.Transport) *Wire { return &Wire{Transport: t} }

// Cut cuts it, for good. It may be called on any goroutine, and does not block.
func (w *Wire) Cut() { w.dead.Store(true) }

// Dial implements replication.Transport.
func (w *Wire) Dial(ctx context.Context, address string) (replication.Conn, error) {
	if w.dead.Load() {
		return nil, fmt.Errorf("dial %s: %w", address, errCut)
	}
	c, err := w.Transport.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return &wireConn{c, w}, nil
}

// Serve implements replication.Transport.
func (w *Wire) Serve(ctx context.Context, accept func(replication.Conn)) error {
	return w.Transport.Serve(ctx, func(c replication.Conn) { accept(&wireConn{c, w}) })
}

type wireConn struct {
	replication.Conn
	wire *Wire
}

func (c *wireConn) Send(m *peerv1.Message) error {
	if c.wire.dead.Load() {
		return errCut
	}
	return c.Conn.Send(m)
}
