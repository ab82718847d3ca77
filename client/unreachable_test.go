package client

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/theriac-db/theriac/kv"
)

// serveOn runs serve on a loopback port until the test ends.
func serveOn(t *testing.T, serve func(net.Listener) error) (addr string) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- serve(lis) }()
	t.Cleanup(func() {
		_ = lis.Close() // whoever serves may have closed it
		<-done
	})
	return lis.Addr().String()
}

// openWithin opens a client that would go on trying for long.
func openWithin(t *testing.T, addr string, opts ...Option) error {
	short, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	db, err := Open(short, addr, append(opts, WithTries(1000))...)
	require.Nil(t, db)
	require.NoError(t, short.Err(), "retried")
	return err
}

func TestPlaintextNodeIsNamedAndNotRetried(t *testing.T) {
	server := grpc.NewServer()
	t.Cleanup(server.Stop)
	addr := serveOn(t, server.Serve)
	err := openWithin(t, addr)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "the node at "+addr+" speaks no TLS: add --insecure (client.Insecure())")
}

func TestWrongPortsAreNamedAndNotRetried(t *testing.T) {
	peers := grpc.NewServer() // without the Database service
	t.Cleanup(peers.Stop)
	admin := &http.Server{Handler: http.NotFoundHandler()}
	t.Cleanup(func() { _ = admin.Close() })
	for name, serve := range map[string]func(net.Listener) error{"peers": peers.Serve, "admin": admin.Serve} {
		addr := serveOn(t, serve)
		err := openWithin(t, addr, Insecure())
		require.ErrorIs(t, err, ErrInvalid, name)
		require.ErrorContains(t, err, addr+" is not a client port", name)
	}
}

func TestGossipPortHangsUp(t *testing.T) {
	addr := serveOn(t, func(lis net.Listener) error {
		for {
			c, err := lis.Accept()
			if err != nil {
				return err
			}
			_ = c.(*net.TCPConn).CloseWrite() // a reader sees the end, not a reset
		}
	})
	_, err := Open(context.Background(), addr, Insecure(), WithTries(1))
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "what is at "+addr+" hung up: it wants TLS, or")
	_, err = Open(context.Background(), addr, WithTries(1))
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "what is at "+addr+" hung up: it speaks no TLS, or")
}

func TestNobodyListens(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, lis.Close())
	addr := lis.Addr().String()
	_, err = Open(context.Background(), addr, Insecure(), WithTries(1))
	require.ErrorIs(t, err, ErrUnavailable)
	require.Equal(t, codes.Unavailable, status.Code(err), "the cause is kept")
	require.ErrorContains(t, err, "no node answers at "+addr+" (connection refused)")
}

func TestPlaintextBeyondLoopbackIsNotAdvised(t *testing.T) {
	kind, message, ok := unreachable("db.example:1", status.New(codes.Unavailable, "x: "+saysPlaintext), false)
	require.True(t, ok)
	require.ErrorIs(t, &Error{Kind: kind}, ErrInvalid)
	require.NotContains(t, message, "--insecure")
	_, _, ok = unreachable("db.example:1", status.New(codes.Unavailable, "shutting down"), false)
	require.False(t, ok)
}

func TestNodeThatServedIsNoWrongPort(t *testing.T) {
	for _, says := range []string{saysHungUp, saysNoHandshake} {
		st := status.New(codes.Unavailable, "x: "+says)
		_, message, ok := unreachable("node:1", st, false)
		require.True(t, ok)
		require.Contains(t, message, notClientPort)
		kind, message, ok := unreachable("node:1", st, true)
		require.True(t, ok)
		require.Equal(t, kv.KindUnavailable, kind)
		require.NotContains(t, message, notClientPort)
		require.NotContains(t, message, "TLS")
	}
	s := newFakeStream()
	r, _ := piping(s)
	out := startWrite(context.Background(), r)
	s.answer((<-s.got).Calls[0])
	require.NoError(t, (<-out).error)
	require.True(t, r.served.Load())
	r.pipe.close()
}

func TestReasonsOfDialling(t *testing.T) {
	require.Equal(t, "no such host", lastReason(`dial tcp: lookup x: no such host"`))
	require.Equal(t, "odd", lastReason("odd"))
}
