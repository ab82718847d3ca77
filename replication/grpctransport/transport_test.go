package grpctransport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/replication"
)

// listen opens a port that the system picks.
func listen(t *testing.T, host string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	require.NoError(t, err)
	return l
}

// serve runs a transport until the test ends and hands its connections over.
func serve(t *testing.T, c Config) (string, <-chan replication.Conn) {
	t.Helper()
	transport, err := New(c)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	accepted, done := make(chan replication.Conn, 8), make(chan error, 1)
	go func() {
		done <- transport.Serve(ctx, func(conn replication.Conn) {
			accepted <- conn
			<-ctx.Done()
		})
	}()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	return c.Listener.Addr().String(), accepted
}

func dial(t *testing.T, c Config, address string) replication.Conn {
	t.Helper()
	transport, err := New(c)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := transport.Dial(ctx, address)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	return conn
}

func records(size int) *peerv1.Message {
	return &peerv1.Message{Body: &peerv1.Message_Records{Records: &peerv1.Records{Packed: make([]byte, size)}}}
}

func TestMessagesTravelBothWays(t *testing.T) {
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1")})
	a := dial(t, Config{}, address)
	require.NoError(t, a.Send(records(1)))
	b := <-accepted
	for _, size := range []int{1, 0, 100, replication.MaxPart + 64<<10} {
		if size != 1 {
			require.NoError(t, a.Send(records(size)))
		}
		m, err := b.Recv()
		require.NoError(t, err)
		require.Len(t, m.GetRecords().GetPacked(), size)
		require.NoError(t, b.Send(records(size)))
		m, err = a.Recv()
		require.NoError(t, err)
		require.Len(t, m.GetRecords().GetPacked(), size)
	}
	require.Equal(t, address, a.Remote())
	require.Contains(t, b.Remote(), "127.0.0.1:")
}

func TestClosingEndsBothEnds(t *testing.T) {
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1")})
	for _, first := range []string{"dialer", "acceptor"} {
		a := dial(t, Config{}, address)
		require.NoError(t, a.Send(records(1)))
		b := <-accepted
		_, err := b.Recv()
		require.NoError(t, err)
		one, other := a, b
		if first == "acceptor" {
			one, other = b, a
		}
		blocked := make(chan error, 1)
		go func() { _, err := one.Recv(); blocked <- err }()
		one.Close()
		one.Close()
		require.Error(t, <-blocked, first)
		_, err = other.Recv()
		require.Error(t, err, first)
		require.Error(t, one.Send(records(1)), first)
	}
}

func TestAFinalMessageArrivesBeforeTheEnd(t *testing.T) {
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1")})
	a := dial(t, Config{}, address)
	require.NoError(t, a.Send(records(1)))
	b := <-accepted
	require.NoError(t, b.Send(records(7)))
	b.Close()
	m, err := a.Recv()
	require.NoError(t, err)
	require.Len(t, m.GetRecords().GetPacked(), 7)
	_, err = a.Recv()
	require.Error(t, err)
}

// A sender that is blocked by a peer that does not read is freed by Close, on both sides.
func TestCloseFreesABlockedSender(t *testing.T) {
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1")})
	noise := records(replication.MaxPart)
	_, err := rand.Read(noise.GetRecords().GetPacked())
	require.NoError(t, err)
	for i := range 2 {
		a := dial(t, Config{}, address)
		require.NoError(t, a.Send(records(1)))
		c := [2]replication.Conn{a, <-accepted}[i]
		sent, failed := make(chan struct{}, 1024), make(chan error, 1)
		go func() {
			for {
				if err := c.Send(noise); err != nil {
					failed <- err
					return
				}
				sent <- struct{}{}
			}
		}()
		<-sent
		c.Close()
		require.Error(t, <-failed)
	}
}

func TestNobodyThere(t *testing.T) {
	l := listen(t, "127.0.0.1")
	address := l.Addr().String()
	require.NoError(t, l.Close())
	transport, err := New(Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := transport.Dial(ctx, address)
	if err == nil { // gRPC may notice with the first message only
		require.NoError(t, conn.Send(records(1)))
		_, err = conn.Recv()
	}
	require.ErrorContains(t, err, address)
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	_, err = transport.Dial(cancelled, address)
	require.ErrorIs(t, err, context.Canceled)
}

func TestDialsComeFromTheListenAddress(t *testing.T) {
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1")})
	a := dial(t, Config{LocalHost: "127.0.0.2"}, address)
	require.NoError(t, a.Send(records(1)))
	require.True(t, strings.HasPrefix((<-accepted).Remote(), "127.0.0.2:"))
	for _, any := range []string{"0.0.0.0", "::", ""} {
		require.NoError(t, dial(t, Config{LocalHost: any}, address).Send(records(1)))
	}
	_, err := New(Config{LocalHost: "no such host."})
	require.Error(t, err)
}

func TestGarbageClosesTheConnection(t *testing.T) {
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1")})
	for name, garbage := range map[string]string{
		"http":        "GET / HTTP/1.1\r\n\r\n",
		"zeroes":      strings.Repeat("\x00", 1<<16),
		"huge frame":  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01",
		"preface ...": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1<<12),
	} {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, _ = c.Write([]byte(garbage))
		require.NoError(t, c.SetReadDeadline(time.Now().Add(15*time.Second)))
		_, err = io.Copy(io.Discard, c)
		require.False(t, isTimeout(err), name)
		require.NoError(t, c.Close())
	}
	require.Empty(t, accepted)
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// raw sends bytes that are not what the other end expects as a message.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (rawCodec) Unmarshal([]byte, any) error   { return nil }
func (rawCodec) Name() string                  { return "proto" }

func TestMessagesThatAreNoneCloseTheConnection(t *testing.T) {
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1")})
	bomb := make([]byte, 64<<20) // compresses to a few KiB
	for name, message := range map[string][]byte{"no protobuf": []byte("\xff\xff\xff\xff"), "bomb": bomb} {
		client, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		stream, err := client.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			peerv1.Peer_Stream_FullMethodName, grpc.ForceCodec(rawCodec{}), grpc.UseCompressor(compressorName), grpc.MaxCallSendMsgSize(1<<30))
		require.NoError(t, err)
		require.NoError(t, stream.SendMsg(message))
		_, err = (<-accepted).Recv()
		require.Error(t, err, name)
		require.NoError(t, client.Close())
	}
}

func TestTooManyStreams(t *testing.T) {
	for _, most := range []int{MaxConns, MaxAsking} {
		a := newAcceptor(most)
		a.accept = func(replication.Conn) {}
		for range most {
			_, err := a.admit(new(serverConn))
			require.NoError(t, err)
		}
		_, err := a.admit(new(serverConn))
		require.ErrorContains(t, err, "more than")
	}
}

func TestServingTwiceAndABrokenListenerAreErrors(t *testing.T) {
	l := listen(t, "127.0.0.1")
	require.NoError(t, l.Close())
	transport, err := New(Config{Listener: l})
	require.NoError(t, err)
	require.ErrorContains(t, transport.Serve(t.Context(), func(replication.Conn) {}), "accept peers on")
	transport.peers.accept = func(replication.Conn) {}
	require.ErrorContains(t, transport.Serve(t.Context(), func(replication.Conn) {}), "serving already")
}

func TestStreamsBeforeServingAreRefused(t *testing.T) {
	transport, err := New(Config{})
	require.NoError(t, err)
	server, l := grpc.NewServer(), listen(t, "127.0.0.1")
	peerv1.RegisterPeerServer(server, transport.peers)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	_, err = dial(t, Config{}, l.Addr().String()).Recv()
	require.ErrorContains(t, err, "does not serve peers yet")
}

// What is registered at another server answers there, whatever the transport's peers are given, and takes
// none of their places.
func TestAnotherServerHasADoorOfItsOwn(t *testing.T) {
	peers := listen(t, "127.0.0.1")
	address, accepted := serve(t, Config{Listener: peers})
	server, l := grpc.NewServer(), listen(t, "127.0.0.1")
	Register(server, func(c replication.Conn) { _ = c.Send(records(3)) })
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	m, err := dial(t, Config{}, l.Addr().String()).Recv()
	require.NoError(t, err)
	require.Len(t, m.GetRecords().GetPacked(), 3)
	require.Empty(t, accepted)
	a := dial(t, Config{}, address)
	require.NoError(t, a.Send(records(1)))
	require.NotNil(t, <-accepted)
}

func TestTLS(t *testing.T) {
	server, client := certificates(t)
	address, accepted := serve(t, Config{Listener: listen(t, "127.0.0.1"), ServerTLS: server})
	a := dial(t, Config{ClientTLS: client}, address)
	require.NoError(t, a.Send(records(5)))
	m, err := (<-accepted).Recv()
	require.NoError(t, err)
	require.Len(t, m.GetRecords().GetPacked(), 5)
	transport, err := New(Config{})
	require.NoError(t, err)
	plain, err := transport.Dial(t.Context(), address)
	if err == nil {
		_, err = plain.Recv()
	}
	require.Error(t, err, "plaintext is refused")
	require.Empty(t, accepted)
}

// certificates makes a server's certificate and a client that trusts it.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
}
