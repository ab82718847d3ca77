package limits

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const echoMethod = "/theriac.bench.Echo/Call"

// EchoServer answers every message with one of a fixed size: gRPC with nothing behind it.
type EchoServer struct{ server *grpc.Server }

// NewEchoServer prepares a server whose answers carry as many bytes as given.
func NewEchoServer(answer int) *EchoServer {
	body := wrapperspb.Bytes(make([]byte, answer))
	call := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.BytesValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return body, nil
	}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "theriac.bench.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Call", Handler: call}},
	}, nil)
	return &EchoServer{s}
}

// Serve answers on l until Stop.
func (s *EchoServer) Serve(l net.Listener) error { return s.server.Serve(l) }

// Stop closes the listener and all connections.
func (s *EchoServer) Stop() { s.server.Stop() }

// EchoClient is one connection to an EchoServer, safe for concurrent use.
type EchoClient struct{ conn *grpc.ClientConn }

// DialEcho prepares a connection in plaintext; the first call makes it.
func DialEcho(address string) (*EchoClient, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("limits: dial %s: %w", address, err)
	}
	return &EchoClient{conn}, nil
}

// Call sends request and waits for the answer, whose length it returns.
func (c *EchoClient) Call(ctx context.Context, request []byte) (int, error) {
	out := new(wrapperspb.BytesValue)
	if err := c.conn.Invoke(ctx, echoMethod, wrapperspb.Bytes(request), out); err != nil {
		return 0, err
	}
	return len(out.GetValue()), nil
}

// Close closes the connection.
func (c *EchoClient) Close() error { return c.conn.Close() }
