package grpcapi

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/kv"
)

// Limits on what clients can make the door hold. docs/reference/limits.md lists them.
const (
	DefaultMaxConnections = 1024                            // connections at once; more wait to be accepted
	DefaultMaxStreams     = 1024                            // calls under way on one connection; more wait at the client
	DefaultMaxRequest     = 4 << 20                         // bytes of one request
	MaxMaxStreams         = maxConnPartial / 2 / streamCost // the most that can be set
	MaxMaxRequest         = maxConnPartial / 2              // the most that can be set
	MaxAnswer             = 16 << 20                        // bytes of one answer; larger values must be paged through
	MaxHeaderBytes        = 16 << 10                        // bytes of one call's headers

	handshakeTimeout = 10 * time.Second // from accept to the end of the HTTP/2 handshake, TLS included
	idleTimeout      = 10 * time.Minute // without a call on a connection, until the server ends it
	pingAfter        = 30 * time.Second // of silence on a connection
	pingTimeout      = 10 * time.Second // until a silent connection is closed
	minClientPing    = 5 * time.Second  // clients that ping more often are disconnected
	bufferBytes      = 64 << 10         // read and write buffer of a connection
	streamWindow     = 1 << 20          // bytes of one call that may be under way unread
	connWindow       = 4 << 20          // bytes of one connection that may be under way unread
)

// Config is what a door needs.
type Config struct {
	// Service answers the calls.
	Service kv.Service
	// TLS of the listener; NextProtos is set to HTTP/2. nil: plaintext.
	TLS *tls.Config
	// Authenticate tells who calls, from the call's metadata or certificate. It runs on the call's
	// goroutine and should not block for long. Its errors are returned to the caller. nil: everybody
	// is the empty principal.
	Authenticate func(ctx context.Context) (Principal, error)
	// Authorizer decides what the caller may do. nil: AllowAll.
	Authorizer Authorizer
	// MaxConnections bounds connections at once. Default DefaultMaxConnections; range 1 and up.
	// Each costs about 200 KiB.
	MaxConnections int
	// MaxStreams bounds the calls under way on one connection. Default DefaultMaxStreams; range 1 to
	// MaxMaxStreams, which is what is used of more: their own cost leaves half of what a connection may
	// hold of unfinished requests.
	MaxStreams uint32
	// MaxRequest bounds a request's bytes. Default DefaultMaxRequest; range 2 MiB, which holds any one
	// operation, to MaxMaxRequest, which is what is used of more: half of what a connection may hold of
	// unfinished requests. Those of all connections hold at most 512 MiB together, those that are being
	// carried out 256 MiB.
	MaxRequest int
}

func (c Config) withDefaults() Config {
	if c.Authorizer == nil {
		c.Authorizer = AllowAll{}
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	if c.MaxRequest <= 0 {
		c.MaxRequest = DefaultMaxRequest
	}
	c.MaxStreams, c.MaxRequest = min(c.MaxStreams, MaxMaxStreams), min(c.MaxRequest, MaxMaxRequest)
	return c
}

// Server is the door. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	grpc   *grpc.Server
	health *health.Server
	door   *door
	stop   sync.Once
}

// New makes a door that serves nothing yet. Its health is NOT_SERVING until SetServing.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg:    cfg,
		grpc:   grpc.NewServer(options(cfg)...),
		health: health.NewServer(),
		door:   &door{cfg: cfg, open: newOpenTable(maxOpen), stopping: make(chan struct{})},
	}
	s.SetServing(false)
	pb.RegisterDatabaseServer(s.grpc, s.door)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s
}

func options(cfg Config) []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(cfg.MaxRequest),
		grpc.MaxConcurrentStreams(cfg.MaxStreams),
		grpc.MaxHeaderListSize(MaxHeaderBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.ReadBufferSize(bufferBytes),
		grpc.WriteBufferSize(bufferBytes),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: minClientPing, PermitWithoutStream: true,
		}),
	}
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	return append(opts, grpc.Creds(meteredCredentials{creds, newAllowance()}))
}

// SetServing changes what the health service answers, for the server as a whole and for
// theriac.v1.Database. Calls are served in either state.
func (s *Server) SetServing(serving bool) {
	state := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	s.health.SetServingStatus(pb.Database_ServiceDesc.ServiceName, state)
}

// Serve accepts connections on lis, which it closes in the end. It blocks until Stop, then returns
// nil, or until accepting fails for good.
func (s *Server) Serve(lis net.Listener) error {
	return s.grpc.Serve(newLimitedListener(lis, s.cfg.MaxConnections))
}

// Stop ends the door: no new calls at once, calls under way may finish until ctx ends and are
// cancelled then. It returns when all have ended.
func (s *Server) Stop(ctx context.Context) {
	s.health.Shutdown()
	s.stop.Do(func() { close(s.door.stopping) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop() // makes GracefulStop return
		<-done
	}
}
