package grpcapi_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// maxPipeCalls is the documented number.
const maxPipeCalls = 1024

func openPipe(t *testing.T, svc kv.Service) grpc.BidiStreamingClient[pb.PipeRequest, pb.PipeResponse] {
	lis := listen(t)
	start(t, lis, grpcapi.Config{Service: svc})
	bounded, cancel := context.WithTimeout(ctx, wait)
	t.Cleanup(cancel)
	stream, err := pb.NewDatabaseClient(raw(t, lis.Addr().String())).Pipe(bounded)
	require.NoError(t, err)
	return stream
}

func call(t *testing.T, id uint64) *pb.PipeCall {
	m, err := convert.EncodeRequest(addRequest())
	require.NoError(t, err)
	return &pb.PipeCall{Id: id, Request: m}
}

// collect reads answers until there are n, or to the end with n < 0.
func collect(t *testing.T, stream grpc.BidiStreamingClient[pb.PipeRequest, pb.PipeResponse], n int) map[uint64]*pb.PipeAnswer {
	answers := map[uint64]*pb.PipeAnswer{}
	for len(answers) != n {
		m, err := stream.Recv()
		if err == io.EOF && n < 0 {
			return answers
		}
		require.NoError(t, err)
		for _, a := range m.Answers {
			require.Nil(t, answers[a.Id], "answered once")
			answers[a.Id] = a
		}
	}
	return answers
}

func TestPipeAnswersEachCallBeforeItEnds(t *testing.T) {
	stream := openPipe(t, memkv.New().Node(1, "eu"))
	var calls []*pb.PipeCall
	for id := range uint64(100) {
		calls = append(calls, call(t, id))
	}
	calls[7].Request = nil // asks for nothing
	calls[8].Request.Operations[0].Type = 99
	calls[9].Request.Options.Token = []byte("junk")
	calls[10].TimeoutMicros = math.MaxUint64
	calls[11].TimeoutMicros = uint64(wait.Microseconds())
	calls[12].Cancellable = true
	require.NoError(t, stream.Send(&pb.PipeRequest{Calls: calls[:50]}))
	require.NoError(t, stream.Send(&pb.PipeRequest{Calls: calls[50:], Cancelled: []uint64{99, 1000}}))
	require.NoError(t, stream.CloseSend())
	answers := collect(t, stream, -1)
	require.Len(t, answers, 100)
	for id, a := range answers {
		switch id {
		case 8, 9, 10:
			require.Nil(t, a.Response)
			require.ErrorIs(t, convert.DecodeFailure(a.Message, a.Error), kv.ErrInvalid)
		default:
			require.NotNil(t, a.Response, id)
		}
	}
}

func TestPipeRefusesOversizedMessages(t *testing.T) {
	stream := openPipe(t, memkv.New().Node(1, "eu"))
	require.NoError(t, stream.Send(&pb.PipeRequest{Calls: make([]*pb.PipeCall, maxPipeCalls+1)}))
	_, err := stream.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	endsWith(t, err, kv.ErrTooLarge)
}

// endsWith asserts that a stream's end says why, as every error does.
func endsWith(t *testing.T, err error, kind error) {
	t.Helper()
	e, ok := convert.DecodeError(err)
	require.True(t, ok, "there is an ErrorDetail: %v", err)
	require.ErrorIs(t, e, kind)
	require.NotContains(t, e.Message, "rpc error")
}

func TestPipeRefusesCallsBeyondItsLimit(t *testing.T) {
	svc := blocking{memkv.New().Node(1, "eu"), make(chan struct{}, 4*maxPipeCalls), make(chan struct{})}
	stream := openPipe(t, svc)
	for i := range uint64(3) {
		m := &pb.PipeRequest{}
		for id := range uint64(maxPipeCalls) {
			c := call(t, i*maxPipeCalls+id)
			c.Cancellable = id == 5
			if id%2 == 1 {
				c.Request.Options = &pb.Options{Attempt: &pb.Attempt{Retry: true}}
			}
			m.Calls = append(m.Calls, c)
		}
		require.NoError(t, stream.Send(m))
	}
	for id, a := range collect(t, stream, 2*maxPipeCalls) {
		require.GreaterOrEqual(t, id, uint64(maxPipeCalls), "these are under way")
		e := convert.DecodeFailure(a.Message, a.Error)
		require.ErrorIs(t, e, kv.ErrOverloaded)
		require.NotZero(t, e.RetryAfter)
		want := kv.NotApplied
		if id%2 == 1 {
			want = kv.OutcomeUnknown // of the tries before it
		}
		require.Equal(t, want, e.Outcome)
	}
	// The stream is read on, so what ends a call gets through, and makes room.
	require.NoError(t, stream.Send(&pb.PipeRequest{Cancelled: []uint64{5}}))
	require.Contains(t, collect(t, stream, 1), uint64(5))
	require.Len(t, svc.entered, maxPipeCalls)
	close(svc.release)
	require.Len(t, collect(t, stream, maxPipeCalls-1), maxPipeCalls-1)
	require.NoError(t, stream.CloseSend())
}

func TestPipeRefusesAnIdThatIsUnderWay(t *testing.T) {
	stream := openPipe(t, newBlocking())
	second := call(t, 1)
	second.Cancellable = true
	require.NoError(t, stream.Send(&pb.PipeRequest{Calls: []*pb.PipeCall{call(t, 1), second}}))
	var err error
	for err == nil { // the first may be answered yet, since the stream's end cancels it
		_, err = stream.Recv()
	}
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	endsWith(t, err, kv.ErrInvalid)
}

// More callers than a pipe has places wait, and all give up: the pipe serves again.
func TestPipeServesAgainAfterAllItsCallersGaveUp(t *testing.T) {
	svc := blocking{memkv.New().Node(1, "eu"), make(chan struct{}, 4*maxPipeCalls), make(chan struct{})}
	db := inMemory(t, grpcapi.Config{Service: svc})
	many, cancel := context.WithCancel(ctx)
	var callers sync.WaitGroup
	for range maxPipeCalls + 100 {
		callers.Go(func() {
			if _, err := db.Counter("c").Get(many); err == nil {
				t.Error("it was answered")
			}
		})
	}
	for range 500 {
		<-svc.entered
	}
	cancel()
	callers.Wait()
	close(svc.release)
	bounded, stop := context.WithTimeout(ctx, wait)
	defer stop()
	_, err := db.Counter("c").Get(bounded)
	require.NoError(t, err)
}

func TestPipeCallsEndByTimeoutCancellationAndWithTheStream(t *testing.T) {
	svc := newBlocking()
	stream := openPipe(t, svc)
	timed, cancelled := call(t, 1), call(t, 2)
	timed.TimeoutMicros, cancelled.Cancellable = 1000, true
	require.NoError(t, stream.Send(&pb.PipeRequest{Calls: []*pb.PipeCall{timed, cancelled}}))
	<-svc.entered
	<-svc.entered
	require.NoError(t, stream.Send(&pb.PipeRequest{Cancelled: []uint64{2}}))
	for _, a := range collect(t, stream, 2) {
		e := convert.DecodeFailure(a.Message, a.Error)
		require.ErrorIs(t, e, kv.ErrDeadline)
		require.Equal(t, kv.OutcomeUnknown, e.Outcome)
	}
	// One more, under way when the test closes the connection: start's clean-up waits for its end.
	require.NoError(t, stream.Send(&pb.PipeRequest{Calls: []*pb.PipeCall{call(t, 3)}}))
	<-svc.entered
}

func TestManyCallersShareAClient(t *testing.T) {
	db := inMemory(t, grpcapi.Config{Service: memkv.New().Node(1, "eu")})
	const callers, each = 32, 50
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, wait)
			defer cancel()
			for j := range each {
				if err := db.Counter("c").Add(ctx, 1); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
				if err := db.Register(fmt.Sprint(i)).SetString(ctx, fmt.Sprint(j)); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
				if got, err := db.Register(fmt.Sprint(i)).GetString(ctx); err != nil || got != fmt.Sprint(j) {
					t.Errorf("caller %d: %q, %v: answers are mixed up", i, got, err)
				}
			}
		})
	}
	wg.Wait()
	n, err := db.Counter("c").Get(ctx)
	require.NoError(t, err)
	require.EqualValues(t, callers*each, n)
}

// Values that a message's text field can't hold must not end the stream for everybody.
func TestErrorTextsAreMadeUTF8(t *testing.T) {
	db := inMemory(t, grpcapi.Config{Service: failing{memkv.New().Node(1, "eu"), kv.Errorf(kv.KindInvalid, "key \xff")}})
	err := db.Counter("c").Add(ctx, 1)
	require.ErrorIs(t, err, client.ErrInvalid)
	require.ErrorContains(t, err, "key \uFFFD")
}
