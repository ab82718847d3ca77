package embedded

import (
	"context"
	"fmt"
	"sync/atomic"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// wire is the transport of one run of a node, until a crash cuts it: what the node says from that
// moment on, while its goroutines are still being ended, reaches nobody.
type wire struct {
	replication.Transport
	dead atomic.Bool
}

func (w *wire) cut() { w.dead.Store(true) }

func (w *wire) Dial(ctx context.Context, address string) (replication.Conn, error) {
	if w.dead.Load() {
		return nil, fmt.Errorf("dial %s: %w", address, memtransport.ErrUnreachable)
	}
	c, err := w.Transport.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return &wireConn{c, w}, nil
}

func (w *wire) Serve(ctx context.Context, accept func(replication.Conn)) error {
	return w.Transport.Serve(ctx, func(c replication.Conn) { accept(&wireConn{c, w}) })
}

type wireConn struct {
	replication.Conn
	wire *wire
}

func (c *wireConn) Send(m *peerv1.Message) error {
	if c.wire.dead.Load() {
		return memtransport.ErrClosed
	}
	return c.Conn.Send(m)
}
