package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication/grpctransport"
	"github.com/theriac-db/theriac/server/admin"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// How long an orderly stop takes at most, whatever the network does, while the disk works.
// docs/reference/limits.md lists them.
const (
	// stopTimeout bounds all of it; what is then not done is left to recovery.
	stopTimeout = 30 * time.Second
	// callsTimeout is what of it calls under way get. A client that does not take its answer, or can't be
	// reached, must not keep the node from ending its lane, which is what makes a stop orderly.
	callsTimeout = 10 * time.Second
)

// server is one node with its doors.
type server struct {
	config       config.Serve
	log          io.Writer
	callsTimeout time.Duration

	clients, peers, gossip, admins net.Listener
	addresses                      kv.Addresses

	transport *grpctransport.Transport
	node      *node.Node
	faults    *faults // nil: the node can't be made ill
	door      *grpcapi.Server
	operators *admin.Server

	running sync.WaitGroup
	broken  chan error // buffered; the first failure that ends the process
}

// Run runs a node until ctx ends or the node fails. It prints the ready line on stdout and log lines
// on log.
func Run(ctx context.Context, c config.Serve, stdout, log io.Writer) error {
	return newServer(c, log).run(ctx, stdout)
}

func newServer(c config.Serve, log io.Writer) *server {
	return &server{config: c, log: log, callsTimeout: callsTimeout, broken: make(chan error, 1)}
}

func (s *server) run(ctx context.Context, stdout io.Writer) error {
	defer s.stop()
	for _, step := range []func(context.Context) error{s.listen, s.makeTransport, s.startNode, s.openDoors} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(stdout, config.ReadyLine(s.node.Region(), s.addresses)); err != nil {
		return fmt.Errorf("printing the ready line: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.broken:
		return err
	}
}

// fail ends Run.
func (s *server) fail(err error) {
	select {
	case s.broken <- err:
	default:
	}
}

// listen binds all ports before anything else happens, so that one in use is found first.
func (s *server) listen(context.Context) error {
	c := &s.config
	for _, l := range []struct {
		flag, address string
		to            *net.Listener
	}{
		{"listen", c.Listen, &s.clients}, {"peer-listen", c.PeerListen, &s.peers}, {"admin-listen", c.AdminListen, &s.admins},
		{"gossip-listen", c.GossipListen, &s.gossip}, // memberlist binds itself: this one only finds the port
	} {
		bound, err := net.Listen("tcp", l.address)
		if err != nil {
			return kv.Errorf(kv.KindUnavailable, "--%s %s can't be bound: %w; choose another address, or port 0", l.flag, l.address, err)
		}
		*l.to = bound
	}
	bound := kv.Addresses{
		Client: s.clients.Addr().String(), Peer: s.peers.Addr().String(), Gossip: s.gossip.Addr().String(), Admin: s.admins.Addr().String(),
	}
	var err error
	s.addresses, err = c.Advertised(bound)
	return err
}

func (s *server) makeTransport(context.Context) error {
	host, _, err := net.SplitHostPort(s.config.Listen)
	if err != nil {
		return kv.Errorf(kv.KindInvalid, "--listen %s: %w", s.config.Listen, err)
	}
	accept, dial, err := s.peerTLS()
	if err != nil {
		return err
	}
	s.transport, err = grpctransport.New(grpctransport.Config{
		Listener: s.peers, ServerTLS: accept, ClientTLS: dial, LocalHost: host,
	})
	return err
}

// peerTLS is how nodes know each other; nil for both: plaintext.
func (s *server) peerTLS() (accept, dial *tls.Config, err error) {
	if s.config.Insecure {
		return nil, nil, nil
	}
	if accept, err = s.config.TLS.Listener(true); err != nil {
		return nil, nil, err
	}
	dial, err = s.config.TLS.Dialer()
	return accept, dial, err
}

func (s *server) startNode(ctx context.Context) error {
	c := &s.config
	config := node.Config{
		Region: c.Region, AnyRegion: !c.Named, Dir: c.Data, Join: c.Join, Gone: c.Gone, Addresses: s.addresses, Transport: s.transport, Membership: &gossip{server: s},
		Skew: c.MaxSkew, LogAge: c.LogAge, LogBytes: int64(c.LogSize), LogLimit: logLimit(c.LogLimit),
		CacheBytes: int64(c.CacheSize), LeafCacheBytes: int64(c.LeafCacheSize), MemTableBytes: int64(c.MemTableSize),
		Log: s.log, Fatal: s.fail,
	}
	if c.TestFaults {
		s.faults = newFaults()
		config.Time, config.FS = s.faults, s.faults.disk
	}
	var err error
	if s.node, err = node.Start(ctx, config); err != nil {
		return err
	}
	if s.faults != nil {
		s.node.Logf("warning: %s", faultsOn)
	}
	return nil
}

// logLimit is --log-limit as a node takes it.
func logLimit(size config.Bytes) int64 {
	if size == 0 {
		return node.NoLogLimit
	}
	return int64(size)
}

func (s *server) openDoors(context.Context) error {
	var clientTLS, adminTLS *tls.Config
	if !s.config.Insecure {
		var err error
		if clientTLS, err = s.config.TLS.Listener(false); err != nil {
			return err
		}
		if adminTLS, err = s.config.TLS.Listener(true); err != nil {
			return err
		}
	}
	s.door = grpcapi.New(grpcapi.Config{Service: s.node, TLS: clientTLS})
	grpctransport.Register(s.door, s.node.Signpost())
	s.door.SetServing(true)
	operators := admin.Config{
		Health: s.node, Status: s.node, Regions: s.node, Metrics: admin.NewRegistry(admin.NewCollector(s.metrics)), TLS: adminTLS,
		Logf: s.node.Logf,
	}
	if s.faults != nil {
		operators.Health, operators.Faults = ailing{s.node}, s.faults
	}
	s.operators = admin.New(operators)
	s.serve("clients", func() error { return s.door.Serve(s.clients) })
	s.serve("admin", func() error { return s.operators.Serve(s.admins) })
	return nil
}

func (s *server) metrics() admin.Snapshot {
	out := snapshot(s.node.Stats(), s.node.Refused() == nil)
	if s.faults != nil {
		out.Warnings++
	}
	return out
}

// serve runs a door; one that ends by itself ends the server.
func (s *server) serve(what string, run func() error) {
	s.running.Go(func() {
		if err := run(); err != nil {
			s.fail(fmt.Errorf("the %s port failed: %w", what, err))
		}
	})
}

// stop closes what was opened: doors first, so that calls under way are answered.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := s.closeDoors(ctx)
	if s.node != nil {
		err = errors.Join(err, s.node.Close(ctx))
	}
	for _, l := range []net.Listener{s.clients, s.peers, s.gossip, s.admins} {
		if l != nil {
			if e := l.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	}
	s.running.Wait()
	if err != nil {
		fmt.Fprintf(s.log, "stopping: %v\n", err)
	}
}

// closeDoors takes no more calls, and cuts off those that don't end in time.
func (s *server) closeDoors(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.callsTimeout)
	defer cancel()
	if s.door != nil {
		s.door.SetServing(false)
		s.door.Stop(ctx)
	}
	if s.operators != nil {
		return s.operators.Shutdown(ctx)
	}
	return nil
}
