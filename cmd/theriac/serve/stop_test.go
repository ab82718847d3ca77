package serve

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
)

// hang opens a stream of calls on the client port that does not end when the server says that it stops.
func (r *running) hang(ctx context.Context) pb.Database_PipeClient {
	conn, err := grpc.NewClient(r.addresses["clients"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, conn.Close()) })
	stream, err := pb.NewDatabaseClient(conn).Pipe(ctx)
	require.NoError(r.t, err)
	require.NoError(r.t, stream.Send(&pb.PipeRequest{Calls: []*pb.PipeCall{{Id: 1, Request: &pb.DoRequest{}}}}))
	_, err = stream.Recv()
	require.NoError(r.t, err)
	return stream
}

// A client that does not hang up takes callsTimeout of a stop's time, and not the rest: the lane ends in order,
// so that the next start has nothing to log.
func TestAStopIsOrderlyThoughAClientHangsOn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	folder := t.TempDir()
	begin := func(calls time.Duration) (*running, *bytes.Buffer) {
		var log bytes.Buffer // read when the node has ended
		s := newServer(settings(t, "--insecure", "--data", folder), &log)
		require.Equal(t, callsTimeout, s.callsTimeout)
		s.callsTimeout = calls
		return startOf(t, s), &log
	}
	r, log := begin(time.Millisecond)
	require.NoError(t, r.db(ctx).Counter("n").Add(ctx, 1))
	wrote := exposed(ctx, t, r.db(ctx))
	stream := r.hang(ctx)
	r.end()
	require.NotContains(t, log.String(), "stopping:")
	var err error
	for err == nil { // it may have been told that the server stops
		_, err = stream.Recv()
	}
	require.ErrorContains(t, err, "Unavailable", "cut off")
	r, _ = begin(callsTimeout)
	require.Equal(t, wrote, exposed(ctx, t, r.db(ctx)))
}
