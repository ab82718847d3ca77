package grpctransport

import (
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

// Register adds a door for strangers to another server: the client port's, which asks nobody for a
// certificate. accept answers them and must give nothing away; it is called as Transport.Serve's is. What
// is open there takes no peer's place. Call it before that server serves, whose own limits hold too.
func Register(r grpc.ServiceRegistrar, accept func(replication.Conn)) {
	a := newAcceptor(MaxAsking)
	a.accept = accept
	peerv1.RegisterPeerServer(r, a)
}

// acceptor is the gRPC service: it hands accepted streams over, at most so many at a time.
type acceptor struct {
	peerv1.UnimplementedPeerServer
	most int

	mu     sync.Mutex
	accept func(replication.Conn) // nil while not serving
	conns  map[*serverConn]struct{}
	wait   sync.WaitGroup
}

func newAcceptor(most int) *acceptor {
	return &acceptor{most: most, conns: map[*serverConn]struct{}{}}
}

func (a *acceptor) begin(accept func(replication.Conn)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.accept != nil {
		return errors.New("peer transport: serving already")
	}
	a.accept = accept
	return nil
}

// end refuses new streams, closes the open ones and waits for them. A second call does nothing.
func (a *acceptor) end() {
	a.mu.Lock()
	a.accept = nil
	for c := range a.conns {
		c.Close()
	}
	a.mu.Unlock()
	a.wait.Wait()
}

// Stream runs one accepted connection.
func (a *acceptor) Stream(stream peerv1.Peer_StreamServer) error {
	c := newServerConn(stream)
	accept, err := a.admit(c)
	if err != nil {
		return err
	}
	go func() {
		defer a.release(c)
		accept(c)
	}()
	// Returning is what closes a stream on this side and frees a blocked receiver.
	select {
	case <-c.closed:
	case <-stream.Context().Done():
		c.Close()
	}
	return nil
}

func (a *acceptor) admit(c *serverConn) (func(replication.Conn), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.accept == nil:
		return nil, status.Error(codes.Unavailable, "the node does not serve peers yet")
	case len(a.conns) >= a.most:
		return nil, status.Errorf(codes.ResourceExhausted, "more than %d peer streams", a.most)
	}
	a.conns[c] = struct{}{}
	a.wait.Add(1)
	return a.accept, nil
}

func (a *acceptor) release(c *serverConn) {
	c.Close()
	a.mu.Lock()
	delete(a.conns, c)
	a.mu.Unlock()
	a.wait.Done()
}
