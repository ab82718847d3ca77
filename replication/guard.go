package replication

import (
	"context"
	"sync/atomic"
)

// guard closes a connection on which nothing has moved for BootstrapTimeout, or whose context has
// ended.
type guard struct {
	moved atomic.Bool
	stop  func()
}

func guardConn(ctx context.Context, t Time, conn Conn) *guard {
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(ctx, conn.Close)
	g := &guard{stop: func() { release(); cancel() }}
	go func() {
		for sleep(ctx, t, BootstrapTimeout) {
			if !g.moved.Swap(false) {
				conn.Close()
				return
			}
		}
	}()
	return g
}
