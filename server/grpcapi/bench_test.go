package grpcapi_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// instant answers every write at once with a receipt of three regions: what is left is the door's
// and the client's own cost.
type instant struct {
	kv.Service
	receipt kv.Receipt
}

func newInstant() instant {
	at := clock.VectorOf(
		clock.Entry{Region: 1, Time: 1<<62 + 4096}, clock.Entry{Region: 2, Time: 1<<62 + 8192}, clock.Entry{Region: 3, Time: 1 << 62})
	return instant{memkv.New().Node(1, "eu"), kv.Receipt{
		Region: "eu", Incarnation: 1, Lane: clock.Lane{Region: 1}, Snapshot: at,
		Commit: clock.Stamp{Region: 1, Time: 1<<62 + 4097},
		Token:  kv.Token{Cluster: kv.ClusterID{1, 2, 3}, Seen: at.With(1, 1<<62+4097)},
	}}
}

func (s instant) Do(context.Context, kv.Request) (kv.Response, error) {
	return kv.Response{Receipt: s.receipt}, nil
}

func addRequest() kv.Request {
	return kv.Request{
		Options: kv.Options{Attempt: kv.Attempt{ID: client.NewOpID(), Incarnation: 1}},
		Ops: []kv.Op{{
			Object: kv.Object{Bucket: kv.DefaultBucket, Key: "counter/0123456789ab", Type: client.TypeCounter},
			Verb:   kv.VerbIncrement, Int: 1,
		}},
	}
}

// echo is the least that gRPC does: bytes there, and as many bytes back as the answer has.
var echo = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.BytesValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			return srv.(*wrapperspb.BytesValue), nil
		},
	}},
}

// callers is how many goroutines call at once.
const callers = 64

// BenchmarkEcho is the limit that BenchmarkAdd is compared with: the same bytes through bare gRPC.
func BenchmarkEcho(b *testing.B) {
	m, err := convert.EncodeRequest(addRequest())
	require.NoError(b, err)
	answer := convert.EncodeResponse(kv.Response{Receipt: newInstant().receipt})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s := grpc.NewServer()
	s.RegisterService(&echo, &wrapperspb.BytesValue{Value: make([]byte, proto.Size(answer))})
	done := make(chan error, 1)
	go func() { done <- s.Serve(lis) }()
	defer func() { s.Stop(); <-done }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(b, err)
	defer conn.Close()
	in := &wrapperspb.BytesValue{Value: make([]byte, proto.Size(m))}
	b.ReportAllocs()
	b.SetParallelism(callers / 2)
	b.RunParallel(func(p *testing.PB) {
		out := &wrapperspb.BytesValue{}
		for p.Next() {
			if err := conn.Invoke(ctx, "/bench.Echo/Echo", in, out); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkAdd is a one-shot transaction through client and door, to a service that does nothing.
func BenchmarkAdd(b *testing.B) {
	lis := listen(b)
	start(b, lis, grpcapi.Config{Service: newInstant()})
	db, err := client.Open(ctx, lis.Addr().String(), client.Insecure())
	require.NoError(b, err)
	defer db.Close()
	b.ReportAllocs()
	b.SetParallelism(callers / 2)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := db.Counter("counter/0123456789ab").Add(ctx, 1); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkAddAlone is the time of one call when there is no other: what pipes must not make worse.
func BenchmarkAddAlone(b *testing.B) {
	lis := listen(b)
	start(b, lis, grpcapi.Config{Service: newInstant()})
	for name, ctx := range map[string]context.Context{
		"piped": ctx,
		"own":   metadata.AppendToOutgoingContext(ctx, "a", "b"),
	} {
		b.Run(name, func(b *testing.B) {
			db, err := client.Open(ctx, lis.Addr().String(), client.Insecure())
			require.NoError(b, err)
			defer db.Close()
			for b.Loop() {
				if err := db.Counter("counter/0123456789ab").Add(ctx, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTranslate is the cost of the messages alone, both ways and on both sides.
func BenchmarkTranslate(b *testing.B) {
	req, resp := addRequest(), kv.Response{Receipt: newInstant().receipt}
	b.ReportAllocs()
	for b.Loop() {
		m, _ := convert.EncodeRequest(req)
		_, _ = convert.DecodeRequest(m)
		a := convert.EncodeResponse(resp)
		_, _ = convert.DecodeResponse(a)
	}
}
