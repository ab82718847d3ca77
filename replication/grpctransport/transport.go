package grpctransport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

// Limits of a connection. docs/reference/limits.md lists them.
const (
	// MaxMessage bounds a message, before and after decompression, in bytes. Replication cuts what
	// is larger into parts (replication.MaxPart).
	MaxMessage = 4 << 20
	// StreamWindow bounds what is in flight on a stream and not yet read, in bytes: 100 ms of
	// round trip at 40 MB/s. It is also what an unread stream costs in memory.
	StreamWindow = 4 << 20
	// MaxConns bounds accepted streams of all peers together; a cluster needs one a region, and one
	// for each that joins.
	MaxConns = 256
	// MaxAsking bounds the streams that Register's door has open at a time; who asks there gets one answer.
	MaxAsking = 64
	// maxStreamsPerConn bounds the streams that one TCP connection opens; nodes open one.
	maxStreamsPerConn = 4
	// maxHeader bounds the headers of a request, in bytes.
	maxHeader = 8 << 10
	// handshakeTimeout bounds TLS and HTTP/2 handshakes of an accepted connection.
	handshakeTimeout = 5 * time.Second
)

// Config says how a node listens and dials.
type Config struct {
	// Listener accepts the peers' connections; Serve closes it. Nil for a node that only dials.
	Listener net.Listener
	// ServerTLS and ClientTLS secure accepted and dialled connections. Nil: plaintext.
	ServerTLS, ClientTLS *tls.Config
	// LocalHost is the address that dials come from: the host that the node listens on, so that a
	// proxy before each node can tell links apart. Empty or unspecified (0.0.0.0, ::): any.
	LocalHost string
}

// Transport is replication's transport over gRPC.
type Transport struct {
	config Config
	dialer net.Dialer
	peers  *acceptor
}

var _ replication.Transport = (*Transport)(nil)

// New returns a transport. It does nothing until it dials or serves.
func New(config Config) (*Transport, error) {
	t := &Transport{config: config, peers: newAcceptor(MaxConns)}
	if config.LocalHost == "" {
		return t, nil
	}
	local, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(config.LocalHost, "0"))
	if err != nil {
		return nil, fmt.Errorf("peer transport: local address %q: %w", config.LocalHost, err)
	}
	if !local.IP.IsUnspecified() {
		t.dialer.LocalAddr = local
	}
	return t, nil
}

// Dial opens a connection to a peer.
func (t *Transport) Dial(ctx context.Context, address string) (replication.Conn, error) {
	secure := insecure.NewCredentials()
	if t.config.ClientTLS != nil {
		secure = credentials.NewTLS(t.config.ClientTLS)
	}
	client, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return t.dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		grpc.WithStaticStreamWindowSize(StreamWindow), grpc.WithStaticConnWindowSize(StreamWindow),
		grpc.WithMaxHeaderListSize(maxHeader),
		grpc.WithDefaultCallOptions(grpc.UseCompressor(compressorName),
			grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	c, err := open(ctx, client)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("dial %s: %w", address, plainly(err))
	}
	c.remote = address
	return c, nil
}

// open starts the stream; ctx bounds that only.
func open(ctx context.Context, client *grpc.ClientConn) (*clientConn, error) {
	life, cancel := context.WithCancel(context.Background())
	release := context.AfterFunc(ctx, cancel)
	stream, err := peerv1.NewPeerClient(client).Stream(life)
	if !release() || err != nil {
		cancel()
		if ctx.Err() != nil {
			err = errors.Join(plainly(err), ctx.Err())
		}
		return nil, err
	}
	return &clientConn{stream: stream, client: client, cancel: cancel}, nil
}

// clientConn is the dialling end.
type clientConn struct {
	stream peerv1.Peer_StreamClient
	client *grpc.ClientConn
	cancel context.CancelFunc
	remote string
}

func (c *clientConn) Send(m *peerv1.Message) error {
	if err := c.stream.Send(m); err != nil {
		return fmt.Errorf("send to %s: %w", c.remote, plainly(err))
	}
	return nil
}

func (c *clientConn) Recv() (*peerv1.Message, error) {
	m, err := c.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", c.remote, plainly(err))
	}
	return m, nil
}

func (c *clientConn) Close() {
	c.cancel()
	_ = c.client.Close() // the only error is that it is closed already
}

func (c *clientConn) Remote() string { return c.remote }

// Serve accepts streams until ctx ends.
func (t *Transport) Serve(ctx context.Context, accept func(replication.Conn)) error {
	if err := t.peers.begin(accept); err != nil {
		return err
	}
	defer t.peers.end()
	if t.config.Listener == nil {
		<-ctx.Done()
		return nil
	}
	server := t.server()
	peerv1.RegisterPeerServer(server, t.peers)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(t.config.Listener) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("accept peers on %s: %w", t.config.Listener.Addr(), err)
		failed <- nil
	}
	t.peers.end()
	server.Stop()
	<-failed
	return err
}

func (t *Transport) server() *grpc.Server {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(StreamWindow), grpc.StaticConnWindowSize(StreamWindow),
		grpc.MaxConcurrentStreams(maxStreamsPerConn), grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(handshakeTimeout),
	}
	if t.config.ServerTLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(t.config.ServerTLS)))
	}
	return grpc.NewServer(options...)
}
