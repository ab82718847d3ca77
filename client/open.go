package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/theriac-db/theriac/kv"
)

// DefaultPort is where a node serves clients unless told otherwise.
const DefaultPort = "6700"

// MaxAddresses bounds the addresses of one client.
const MaxAddresses = 64

// Pace and limits of connections.
const (
	connectTimeout   = 3 * time.Second       // for one try to connect
	reconnectFirst   = 50 * time.Millisecond // pause before the second try to connect
	reconnectLongest = 1 * time.Second       // pauses grow up to it
	pingAfter        = 10 * time.Second      // of silence while calls wait; gRPC takes no less
	pingTimeout      = 3 * time.Second       // until a connection counts as broken that acknowledges nothing
	bufferBytes      = 64 << 10              // read and write buffer of a connection
	streamWindow     = 1 << 20               // bytes of one answer that may be under way unread
	connWindow       = 4 << 20               // bytes of one connection that may be under way unread
)

// config is what Options set.
type config struct {
	defaults call
	policy   retryPolicy
	tls      *tls.Config
	insecure bool
	dialer   func(ctx context.Context, addr string) (net.Conn, error)
}

func newConfig(opts []Option) *config {
	c := &config{policy: newRetryPolicy()}
	for _, o := range opts {
		o(c)
	}
	return c
}

// WithTLS sets the TLS configuration of connections. Default: the system's root certificates.
func WithTLS(c *tls.Config) Option { return func(cfg *config) { cfg.tls = c } }

// Insecure connects without TLS, to loopback addresses only.
func Insecure() Option { return func(c *config) { c.insecure = true } }

// WithDialer makes connections in place of the system's dialer: through a proxy, or in memory.
func WithDialer(dial func(ctx context.Context, addr string) (net.Conn, error)) Option {
	return func(c *config) { c.dialer = dial }
}

// Open connects to a database. The addresses, "HOST:PORT,HOST:PORT,...", are of nodes of one
// cluster, of one region or of several, the preferred first; at most 64; without a port, 6700 is
// meant. Calls go to the first node that can serve; an address at which there is none, or one that
// speaks no TLS to a client that does, is passed over. Open returns once one answers, or with an error
// when none does after several tries, when ctx ends, or at once when no address can ever serve.
func Open(ctx context.Context, addresses string, opts ...Option) (*DB, error) {
	cfg := newConfig(opts)
	if err := cfg.defaults.Check(); err != nil {
		return nil, err
	}
	addrs, err := parseAddresses(addresses, cfg)
	if err != nil {
		return nil, err
	}
	endpoints := make([]*endpoint, 0, len(addrs))
	var remotes []*remote
	closeAll := func() error {
		var errs []error
		for _, r := range remotes {
			errs = append(errs, r.close())
		}
		return errors.Join(errs...)
	}
	for _, addr := range addrs {
		conn, err := cfg.dial(addr)
		if err != nil {
			return nil, errors.Join(kv.Errorf(kv.KindInvalid, "address %q: %w", addr, err), closeAll())
		}
		r := newRemote(addr, conn)
		remotes = append(remotes, r)
		endpoints = append(endpoints, &endpoint{svc: r, addr: addr, ready: r.ready})
	}
	router := newRouter(endpoints, cfg.policy)
	if _, err := router.Status(ctx); err != nil {
		return nil, errors.Join(err, router.close(closeAll))
	}
	db := newDB(router, cfg)
	db.routed, db.close = true, func() error { return router.close(closeAll) }
	return db, nil
}

// parseAddresses checks addresses and adds the default port.
func parseAddresses(list string, cfg *config) ([]string, error) {
	var addrs []string
	for field := range strings.SplitSeq(list, ",") {
		addr := strings.TrimSpace(field)
		if addr == "" {
			continue
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			host, port = strings.Trim(addr, "[]"), DefaultPort
		}
		if cfg.insecure && cfg.tls == nil && !loopback(host) {
			return nil, kv.Errorf(kv.KindInvalid, "plaintext to %q: only loopback addresses may be used without TLS", addr)
		}
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	if len(addrs) == 0 || len(addrs) > MaxAddresses {
		return nil, kv.Errorf(kv.KindInvalid, "%d addresses in %.200q: want 1 to %d, as HOST:PORT,...", len(addrs), list, MaxAddresses)
	}
	return addrs, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// dial makes a connection that connects when first used. Retries are ours alone: gRPC's would not
// know what is safe.
func (c *config) dial(addr string) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(c.credentials()),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithReadBufferSize(bufferBytes),
		grpc.WithWriteBufferSize(bufferBytes),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectLongest},
			MinConnectTimeout: connectTimeout,
		}),
	}
	if c.dialer != nil {
		opts = append(opts, grpc.WithContextDialer(c.dialer))
		addr = "passthrough:///" + addr
	}
	return grpc.NewClient(addr, opts...)
}

func (c *config) credentials() credentials.TransportCredentials {
	switch {
	case c.tls != nil:
		return credentials.NewTLS(c.tls)
	case c.insecure:
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
}
