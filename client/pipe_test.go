package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/kv"
)

// fakeAPI is a node's side of pipes, and of calls of their own, under the test's control.
type fakeAPI struct {
	pb.DatabaseClient
	open func(ctx context.Context) (*fakeStream, error)

	mu      sync.Mutex
	streams []*fakeStream
	alone   int // calls of their own
}

func (f *fakeAPI) Pipe(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[pb.PipeRequest, pb.PipeResponse], error) {
	s, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	if s.ctx == nil {
		s.ctx = ctx
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams = append(f.streams, s)
	return s, nil
}

func (f *fakeAPI) Do(context.Context, *pb.DoRequest, ...grpc.CallOption) (*pb.DoResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alone++
	return &pb.DoResponse{Receipt: &pb.Receipt{Region: "alone"}}, nil
}

// fakeStream passes what the client sends to got, and to the client what is put into answers.
type fakeStream struct {
	grpc.ClientStream
	ctx     context.Context
	got     chan *pb.PipeRequest
	answers chan *pb.PipeResponse
	fail    chan error
	hold    chan struct{} // Send waits for it, if it is there
	shut    chan struct{} // closed by CloseSend
}

func newFakeStream() *fakeStream {
	return &fakeStream{
		got: make(chan *pb.PipeRequest, 100), answers: make(chan *pb.PipeResponse, 100),
		fail: make(chan error, 1), shut: make(chan struct{}),
	}
}

func (s *fakeStream) Send(m *pb.PipeRequest) error {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-s.ctx.Done():
			return io.EOF
		}
	}
	s.got <- &pb.PipeRequest{Calls: append([]*pb.PipeCall(nil), m.Calls...), Cancelled: append([]uint64(nil), m.Cancelled...)}
	return nil
}

func (s *fakeStream) Recv() (*pb.PipeResponse, error) {
	select {
	case m := <-s.answers:
		return m, nil
	case err := <-s.fail:
		return nil, err
	case <-s.ctx.Done():
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *fakeStream) CloseSend() error { close(s.shut); return nil }

// answer answers a call.
func (s *fakeStream) answer(c *pb.PipeCall) {
	s.answers <- &pb.PipeResponse{Answers: []*pb.PipeAnswer{{Id: c.Id, Response: &pb.DoResponse{Receipt: &pb.Receipt{Region: "piped"}}}}}
}

// piping is a remote whose node is fake. Its streams open with the given one first, then new ones.
func piping(first *fakeStream) (*remote, *fakeAPI) {
	api := &fakeAPI{}
	next := first
	api.open = func(context.Context) (*fakeStream, error) {
		s := next
		next = newFakeStream()
		return s, nil
	}
	return &remote{addr: "test", api: api, pipe: newPipe(api), large: newRoom(maxLarge)}, api
}

func write(ctx context.Context, r *remote, data string) (kv.Receipt, error) {
	resp, err := r.Do(ctx, kv.Request{Ops: []kv.Op{{
		Object: kv.Object{Bucket: "b", Key: "k", Type: TypeSetAW}, Verb: kv.VerbAdd, Data: []byte(data)}}})
	return resp.Receipt, err
}

type result struct {
	kv.Receipt
	error
}

// start runs a write on its own goroutine.
func startWrite(ctx context.Context, r *remote) chan result {
	out := make(chan result, 1)
	go func() {
		receipt, err := write(ctx, r, "x")
		out <- result{receipt, err}
	}()
	return out
}

func TestCallsShareAMessageWhenTheyComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStream()
		s.hold = make(chan struct{})
		r, _ := piping(s)
		const n = 10
		var outs []chan result
		for range n {
			outs = append(outs, startWrite(ctx, r))
		}
		synctest.Wait() // the first is being sent, the others queue
		close(s.hold)
		calls := 0
		for messages := 1; calls < n; messages++ {
			m := <-s.got
			require.LessOrEqual(t, messages, 2)
			for _, c := range m.Calls {
				require.False(t, c.Cancellable)
				require.Zero(t, c.TimeoutMicros)
				s.answer(c)
			}
			calls += len(m.Calls)
		}
		for _, out := range outs {
			got := <-out
			require.NoError(t, got.error)
			require.Equal(t, "piped", got.Region)
		}
		r.pipe.close()
	})
}

func TestMessagesAreBounded(t *testing.T) {
	l := &line{queue: make(chan *piped, maxUnderWay)}
	for range maxUnderWay {
		l.queue <- &piped{message: &pb.PipeCall{}, size: 1 << 10}
	}
	var m pb.PipeRequest
	l.gather(&m, <-l.queue)
	require.Len(t, m.Calls, batchBytes>>10)
	for len(l.queue) > 0 {
		<-l.queue
	}
	m.Calls = nil
	for range maxUnderWay {
		l.queue <- &piped{message: &pb.PipeCall{}}
	}
	l.gather(&m, <-l.queue)
	require.Len(t, m.Calls, batchCalls)
}

func TestCallerThatGivesUpBeforeSendingWroteNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStream()
		s.hold = make(chan struct{})
		r, _ := piping(s)
		first := startWrite(ctx, r)
		synctest.Wait() // it blocks the sender
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := write(short, r, "x")
		require.ErrorIs(t, err, ErrDeadline)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		close(s.hold)
		m := <-s.got
		require.Len(t, m.Calls, 1)
		s.answer(m.Calls[0])
		require.NoError(t, (<-first).error)
		synctest.Wait()
		require.Empty(t, s.got, "the call that was taken back is never sent")
		r.pipe.close()
	})
}

func TestCallerThatGivesUpLaterCancelsAndDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStream()
		r, _ := piping(s)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		out := startWrite(short, r)
		call := (<-s.got).Calls[0]
		require.True(t, call.Cancellable)
		require.EqualValues(t, time.Second.Microseconds(), call.TimeoutMicros)
		got := <-out
		require.ErrorIs(t, got.error, ErrDeadline)
		require.Equal(t, OutcomeUnknown, OutcomeOf(got.error))
		require.Equal(t, []uint64{call.Id}, (<-s.got).Cancelled)
		s.answer(call) // for nobody
		synctest.Wait()
		r.pipe.close()
	})
}

// Callers that leave must not fill the node with what nobody waits for, nor keep the next one out.
func TestCallsThatWereGivenUpKeepTheirPlacesUntilTheyAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStream()
		r, _ := piping(s)
		many, cancel := context.WithCancel(ctx)
		for range maxUnderWay {
			startWrite(many, r)
		}
		var sent []*pb.PipeCall
		for len(sent) < maxUnderWay {
			sent = append(sent, (<-s.got).Calls...)
		}
		waiting := startWrite(many, r)
		synctest.Wait()
		cancel()
		require.Equal(t, OutcomeNotApplied, OutcomeOf((<-waiting).error), "there was no place for it")
		cancelled := map[uint64]bool{}
		for len(cancelled) < maxUnderWay {
			m := <-s.got
			require.Empty(t, m.Calls)
			for _, id := range m.Cancelled {
				cancelled[id] = true
			}
		}
		next := startWrite(ctx, r)
		synctest.Wait()
		require.Empty(t, s.got, "the node has answered none")
		s.answer(sent[7])
		call := (<-s.got).Calls[0]
		s.answer(call)
		require.NoError(t, (<-next).error)
		r.pipe.close()
	})
}

func TestWaitingForAPlaceEndsWithTheLine(t *testing.T) {
	l := &line{slots: make(chan struct{}), broken: make(chan struct{}), err: status.Error(codes.Unavailable, "reset")}
	close(l.broken)
	_, err := l.do(ctx, &pb.DoRequest{}, 0)
	var lost *lostError
	require.ErrorAs(t, err, &lost)
	require.False(t, lost.sent)
}

func TestBrokenLine(t *testing.T) {
	reset := status.Error(codes.Unavailable, "reset")
	t.Run("what was sent is unknown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeStream()
			r, api := piping(s)
			out := startWrite(ctx, r)
			<-s.got
			s.fail <- reset
			got := <-out
			require.ErrorIs(t, got.error, ErrUnavailable)
			require.Equal(t, OutcomeUnknown, OutcomeOf(got.error))
			require.Len(t, api.streams, 1)
			r.pipe.close()
		})
	})
	t.Run("a read is not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeStream()
			r, _ := piping(s)
			go func() { <-s.got; s.fail <- reset }()
			_, err := r.Do(ctx, kv.Request{Queries: []kv.Query{{Object: kv.Object{Bucket: "b", Type: TypeCounter}}}})
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
			r.pipe.close()
		})
	})
	t.Run("what was not sent goes through the next", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeStream()
			s.hold = make(chan struct{})
			r, api := piping(s)
			first := startWrite(ctx, r)
			synctest.Wait()
			second := startWrite(ctx, r)
			synctest.Wait()
			s.fail <- reset
			require.Equal(t, OutcomeUnknown, OutcomeOf((<-first).error))
			synctest.Wait()
			require.Len(t, api.streams, 2)
			api.streams[1].answer((<-api.streams[1].got).Calls[0])
			require.NoError(t, (<-second).error)
			r.pipe.close()
		})
	})
	t.Run("an answer that came before counts", func(t *testing.T) {
		l := &line{slots: make(chan struct{}, 1), queue: make(chan *piped, 1), broken: make(chan struct{}), calls: map[uint64]*piped{}, err: reset}
		go func() {
			c := <-l.queue
			l.deliver(&pb.PipeAnswer{Id: c.id, Response: &pb.DoResponse{}})
			close(l.broken)
		}()
		_, err := l.do(ctx, &pb.DoRequest{}, 0)
		require.NoError(t, err)
	})
}

func TestNodeThatStopsIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStream()
		r, api := piping(s)
		first := startWrite(ctx, r)
		call := (<-s.got).Calls[0]
		s.answers <- &pb.PipeResponse{Closing: true}
		s.answers <- &pb.PipeResponse{Closing: true}
		<-s.shut
		second := startWrite(ctx, r)
		synctest.Wait()
		require.Len(t, api.streams, 2, "further calls go elsewhere")
		api.streams[1].answer((<-api.streams[1].got).Calls[0])
		require.NoError(t, (<-second).error)
		s.answer(call)
		require.NoError(t, (<-first).error, "those under way are answered")
		s.fail <- io.EOF
		r.pipe.close()
	})
}

func TestPipeThatCannotBeOpened(t *testing.T) {
	t.Run("nothing was sent", func(t *testing.T) {
		r, api := piping(nil)
		api.open = func(context.Context) (*fakeStream, error) { return nil, status.Error(codes.Unavailable, "refused") }
		_, err := write(ctx, r, "x")
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
		r.pipe.close()
	})
	t.Run("the caller's context bounds the opening", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, api := piping(nil)
			api.open = func(ctx context.Context) (*fakeStream, error) { <-ctx.Done(); return nil, ctx.Err() }
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			out := startWrite(short, r)
			synctest.Wait()
			waiting := startWrite(short, r)
			for _, out := range []chan result{out, waiting} {
				got := <-out
				require.ErrorIs(t, got.error, ErrDeadline)
				require.Equal(t, OutcomeNotApplied, OutcomeOf(got.error))
			}
			r.pipe.close()
		})
	})
	t.Run("a node without pipes", func(t *testing.T) {
		s := newFakeStream()
		r, api := piping(s)
		s.fail <- status.Error(codes.Unimplemented, "no Pipe")
		for range 2 {
			got, err := write(ctx, r, "x")
			require.NoError(t, err)
			require.Equal(t, "alone", got.Region)
		}
		require.Equal(t, 2, api.alone)
		require.Len(t, api.streams, 1, "it is asked once")
		r.pipe.close()
	})
	t.Run("closed", func(t *testing.T) {
		r, _ := piping(newFakeStream())
		r.pipe.close()
		_, err := write(ctx, r, "x")
		require.Error(t, err)
		require.Equal(t, OutcomeNotApplied, OutcomeOf(err))
	})
}

func TestCallsThatDoNotFitThePipeGoAlone(t *testing.T) {
	set := kv.Object{Bucket: "b", Key: "k", Type: TypeSetAW}
	counterIn := kv.Query{Object: kv.Object{Bucket: "b", Key: "k", Type: TypeMap}, Path: kv.Path{{Type: TypeCounter}}}
	for name, c := range map[string]struct {
		ctx   context.Context
		req   kv.Request
		alone int
	}{
		"large":            {ctx, kv.Request{Ops: []kv.Op{{Object: set, Verb: kv.VerbAdd, Data: make([]byte, maxPiped)}}}, 1},
		"whole collection": {ctx, kv.Request{Queries: []kv.Query{{Object: set}}}, 1},
		"metadata":         {metadata.AppendToOutgoingContext(ctx, "a", "b"), kv.Request{}, 1},
		"membership":       {ctx, kv.Request{Queries: []kv.Query{{Object: set, Kind: kv.QueryContains}}}, 0},
		"a map's counter":  {ctx, kv.Request{Queries: []kv.Query{counterIn}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStream()
			r, api := piping(s)
			if c.alone == 0 {
				go func() { s.answer((<-s.got).Calls[0]) }()
			}
			_, err := r.Do(c.ctx, c.req)
			require.NoError(t, err)
			require.Equal(t, c.alone, api.alone)
			r.pipe.close()
		})
	}
}

// A caller that gives up may use its slices again while the sender still reads the request.
func TestPipedRequestsShareNothingWithTheirCallers(t *testing.T) {
	data, expect, element := []byte("data"), []byte("expect"), []byte("element")
	object := kv.Object{Bucket: "b", Key: "k", Type: TypeRegisterLWW}
	req := kv.Request{Queries: []kv.Query{{Object: object, Kind: kv.QueryContains, Data: element}}}
	for _, v := range []kv.Verb{kv.VerbAssign, kv.VerbAdd, kv.VerbRemove} {
		req.Ops = append(req.Ops, kv.Op{Object: object, Verb: v, Data: data, Expect: &kv.Expectation{Value: expect}})
	}
	m, err := convert.EncodeRequest(req)
	require.NoError(t, err)
	own(m)
	clear(data)
	clear(expect)
	clear(element)
	got, err := convert.DecodeRequest(m)
	require.NoError(t, err)
	for _, op := range got.Ops {
		require.Equal(t, "data", string(op.Data))
		require.Equal(t, "expect", string(op.Expect.Value))
	}
	require.Equal(t, "element", string(got.Queries[0].Data))
}

func TestErrorsThatTheNodeAnswersInAPipe(t *testing.T) {
	s := newFakeStream()
	r, _ := piping(s)
	want := kv.Errorf(kv.KindBound, "below 0")
	go func() {
		message, detail := convert.EncodeFailure(want)
		s.answers <- &pb.PipeResponse{Answers: []*pb.PipeAnswer{{Id: (<-s.got).Calls[0].Id, Message: message, Error: detail}}}
	}()
	_, err := write(ctx, r, "x")
	require.Equal(t, want, err)
	r.pipe.close()
}

func TestManyCallersOnFailingLines(t *testing.T) {
	r, api := piping(nil)
	serve := func(s *fakeStream, most int) {
		for n := 0; n < most; {
			select {
			case m := <-s.got:
				for _, c := range m.Calls {
					s.answer(c)
					n++
				}
			case <-s.ctx.Done():
				return
			}
		}
		s.fail <- errors.New("reset")
	}
	api.open = func(ctx context.Context) (*fakeStream, error) {
		s := newFakeStream()
		s.ctx = ctx
		go serve(s, 10)
		return s, nil
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 50 {
				if _, err := write(ctx, r, fmt.Sprint(i)); err != nil && OutcomeOf(err) == OutcomeApplied {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	r.pipe.close()
}
