package grpcapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// slowLink is a connection that takes so many bytes a second.
type slowLink struct {
	net.Conn
	mu   sync.Mutex
	rate int
}

func (c *slowLink) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	time.Sleep(time.Second * time.Duration(len(p)) / time.Duration(c.rate))
	return c.Conn.Write(p)
}

// overSlowLink runs a test on synthetic time with a port and the dialer of a slow link to it.
func overSlowLink(t *testing.T, test func(t *testing.T, dial func(context.Context, string) (net.Conn, error))) {
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(64 << 10)
		s, served := grpcapi.New(grpcapi.Config{Service: memkv.New().Node(1, "eu")}), make(chan error, 1)
		go func() { served <- s.Serve(lis) }()
		t.Cleanup(func() { s.Stop(context.Background()); require.NoError(t, <-served) })
		test(t, func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := lis.DialContext(ctx)
			return &slowLink{Conn: conn, rate: 100 << 10}, err
		})
	})
}

const (
	uploads    = 16
	uploadSize = 3 << 20
	sends      = uploads * uploadSize / (100 << 10) * time.Second
)

// Requests share a link in turns, so that many over a slow one all arrive late, but arrive.
func TestManyLargeRequestsOverASlowLinkArrive(t *testing.T) {
	t.Run("all at once", func(t *testing.T) {
		overSlowLink(t, func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
			conn, err := grpc.NewClient("passthrough:///node", grpc.WithContextDialer(dial),
				grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			part := make([]byte, uploadSize/3)
			upload(t, func(i int) error {
				m := &pb.DoRequest{Options: &pb.Options{Attempt: &pb.Attempt{Id: fmt.Appendf(nil, "%016d", i), Incarnation: 1}}}
				for j := range 3 {
					m.Operations = append(m.Operations, &pb.Operation{
						Bucket: "b", Key: fmt.Appendf(nil, "%d-%d", i, j), Type: pb.Type(client.TypeRegisterLWW),
						Verb: &pb.Operation_Assign{Assign: part},
					})
				}
				_, err := pb.NewDatabaseClient(conn).Do(t.Context(), m)
				return err
			})
		})
	})
	t.Run("of the Go client", func(t *testing.T) {
		overSlowLink(t, func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
			db, err := client.Open(t.Context(), "localhost", client.Insecure(), client.WithDialer(dial))
			require.NoError(t, err)
			defer func() { require.NoError(t, db.Close()) }()
			part := make([]byte, uploadSize/3)
			upload(t, func(i int) error {
				var ops []kv.Op
				for j := range 3 {
					o := db.Register(fmt.Sprintf("%d-%d", i, j)).Object()
					ops = append(ops, kv.Op{Object: o, Verb: kv.VerbAssign, Data: part})
				}
				_, err := db.Do(t.Context(), ops, nil)
				return err
			})
		})
	})
}

// A stream may have nothing to say for as long as it likes.
func TestAPipeWithoutAMessageStays(t *testing.T) {
	overSlowLink(t, func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
		conn, err := grpc.NewClient("passthrough:///node", grpc.WithContextDialer(dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		stream, err := pb.NewDatabaseClient(conn).Pipe(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.NoError(t, stream.Send(&pb.PipeRequest{Calls: []*pb.PipeCall{{Id: 1, Request: &pb.DoRequest{}}}}))
		m, err := stream.Recv()
		require.NoError(t, err)
		require.Len(t, m.GetAnswers(), 1)
		require.NoError(t, stream.CloseSend())
		_, err = stream.Recv()
		require.ErrorIs(t, err, io.EOF)
	})
}

// upload runs all uploads together. None may fail, or be sent twice.
func upload(t *testing.T, one func(i int) error) {
	began := time.Now()
	errs := make(chan error, uploads)
	for i := range uploads {
		go func() { errs <- one(i) }()
	}
	for range uploads {
		require.NoError(t, <-errs)
	}
	require.InEpsilon(t, sends.Seconds(), time.Since(began).Seconds(), 0.02)
}
