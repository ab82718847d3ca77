package node

import (
	"context"
	"sync"

	"github.com/theriac-db/theriac/replication"
)

// door is a Transport that may be served again and again over one that is served once: a node that
// takes its data anew has one replicator after the other, on one listener.
type door struct {
	replication.Transport
	ended chan struct{} // closed once the transport no longer serves
	err   error         // why, then

	mu     sync.Mutex
	accept func(replication.Conn) // nil: nobody serves, and who comes is told so
	conns  map[replication.Conn]struct{}
	open   *sync.WaitGroup // of the calls of accept
}

func newDoor(t replication.Transport) *door {
	return &door{Transport: t, ended: make(chan struct{}), conns: map[replication.Conn]struct{}{}}
}

// serve serves the transport until ctx ends or it fails, which Serve then returns.
func (d *door) serve(ctx context.Context) {
	d.err = d.Transport.Serve(ctx, d.take)
	close(d.ended)
}

func (d *door) take(c replication.Conn) {
	d.mu.Lock()
	accept, open := d.accept, d.open
	if accept == nil {
		d.mu.Unlock()
		replication.NotYet(c)
		return
	}
	d.conns[c] = struct{}{}
	open.Add(1)
	d.mu.Unlock()
	defer open.Done()
	defer func() {
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
	}()
	accept(c)
}

// Serve implements replication.Transport. One call at a time.
func (d *door) Serve(ctx context.Context, accept func(replication.Conn)) error {
	open := new(sync.WaitGroup)
	d.mu.Lock()
	d.accept, d.open = accept, open
	d.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
	case <-d.ended:
		err = d.err
	}
	d.mu.Lock()
	d.accept = nil
	for c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	open.Wait()
	return err
}
