package grpcapi

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/kv"
)

// Limits of one pipe.
const (
	maxPipeCalls = 1024                   // under way; one more is refused
	pipeHint     = 100 * time.Millisecond // after which to send again what was refused
	maxUntaken   = 64 << 20               // bytes of answers that wait to be sent; an answer beyond is an error instead
	maxIdle      = 64                     // workers that wait for a call; others end
	batchAnswers = 256                    // in one message
	batchBytes   = 256 << 10              // after which a message takes no further answer
)

// pipe serves one Pipe stream: the stream's goroutine receives, one sends, and workers run the
// calls. gRPC's cost for a call of its own (headers, a stream, a goroutine whose stack has to grow)
// is several times that of a one-shot transaction; a pipe pays it once.
type pipe struct {
	door    *door
	stream  grpc.BidiStreamingServer[pb.PipeRequest, pb.PipeResponse]
	ctx     context.Context
	cancel  context.CancelFunc
	slots   chan struct{} // holds one item for each call whose answer is not sent
	refused chan struct{} // and this one for each that was refused
	work    chan piped    // to a worker that is idle
	answers chan answered // has room for every item of both, so that workers never wait
	workers sync.WaitGroup
	idle    atomic.Int32 // workers that wait
	untaken atomic.Int64 // bytes of the answers that are not sent

	mu    sync.Mutex
	calls map[uint64]context.CancelFunc // what cancels those under way, if they can be
}

// piped is a call on its way to a worker.
type piped struct {
	call *pb.PipeCall
	ctx  context.Context
}

type answered struct {
	*pb.PipeAnswer
	bytes int           // about
	slot  chan struct{} // one item of it is taken out once this is sent
}

// Pipe implements the API's method. It returns when the client has half-closed the stream and all
// its calls are answered, or when the stream broke.
func (d *door) Pipe(stream grpc.BidiStreamingServer[pb.PipeRequest, pb.PipeResponse]) error {
	p := &pipe{
		door:    d,
		stream:  stream,
		slots:   make(chan struct{}, maxPipeCalls),
		refused: make(chan struct{}, maxPipeCalls),
		work:    make(chan piped),
		answers: make(chan answered, 2*maxPipeCalls),
		calls:   map[uint64]context.CancelFunc{},
	}
	p.ctx, p.cancel = context.WithCancel(stream.Context())
	defer p.cancel()
	sent := make(chan error, 1)
	go func() { sent <- p.send() }()
	err := p.receive()
	if err != nil {
		p.cancel()
	}
	close(p.work)
	p.workers.Wait()
	close(p.answers)
	if failed := <-sent; err == nil {
		err = failed
	}
	return err // as it is: its status carries the ErrorDetail
}

// receive hands calls to workers until the stream ends: nil when the client half-closed it. It reads on
// whatever the calls under way wait for, since what ends them may come next. Only a client that takes
// no answers is made to wait.
func (p *pipe) receive() error {
	for {
		m, err := p.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(m.Calls) > maxPipeCalls {
			return convert.EncodeError(kv.Errorf(kv.KindTooLarge, "%d calls in one message: the limit is %d", len(m.Calls), maxPipeCalls))
		}
		for _, id := range m.Cancelled {
			p.forget(id)
		}
		for _, c := range m.Calls {
			if err := p.take(c); err != nil {
				return err
			}
		}
	}
}

// take runs a call if there is room for it, else refuses it.
func (p *pipe) take(c *pb.PipeCall) error {
	select {
	case p.slots <- struct{}{}:
		return p.dispatch(c)
	default:
	}
	select {
	case p.refused <- struct{}{}:
		p.answers <- p.failed(c.GetId(), overloaded(c.GetRequest()), p.refused)
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// overloaded refuses a call that was not looked at. What became of the earlier tries of a retry it
// does not say.
func overloaded(m *pb.DoRequest) error {
	e := kv.Errorf(kv.KindOverloaded, "%d calls of this stream are under way; send it again later", maxPipeCalls)
	e.RetryAfter = pipeHint
	if m.GetOptions().GetAttempt().GetRetry() {
		e = e.WithOutcome(kv.OutcomeUnknown)
	}
	return e
}

// dispatch gives a call to an idle worker, or to a new one. There are never more than slots.
func (p *pipe) dispatch(c *pb.PipeCall) error {
	w, cancel := piped{c, p.ctx}, func() {}
	if c.GetCancellable() {
		w.ctx, cancel = context.WithCancel(p.ctx)
	}
	if !p.begin(c.GetId(), cancel) { // nobody could tell its answer from the other's
		cancel()
		return convert.EncodeError(kv.Errorf(kv.KindInvalid, "call %d is under way already", c.GetId()))
	}
	select {
	case p.work <- w:
	default:
		p.workers.Add(1)
		go p.worker(w)
	}
	return nil
}

// worker runs a first call, then others until the pipe ends or enough workers wait.
func (p *pipe) worker(w piped) {
	defer p.workers.Done()
	for more := true; more; {
		p.answers <- p.run(w)
		if p.idle.Add(1) > maxIdle {
			p.idle.Add(-1)
			return
		}
		w, more = <-p.work
		p.idle.Add(-1)
	}
}

func (p *pipe) run(w piped) answered {
	id := w.call.GetId()
	resp, err := p.do(w)
	p.ended(id)
	if err != nil {
		return p.failed(id, err, p.slots)
	}
	bytes := 0 // a receipt alone is small
	if len(resp.Values) > 0 {
		bytes = proto.Size(resp)
	}
	if waiting := p.untaken.Add(int64(bytes)); waiting > maxUntaken && waiting > int64(bytes) {
		p.untaken.Add(-int64(bytes))
		return p.failed(id, kv.WithToken(untaken(w.call.GetRequest(), waiting), tokenOf(resp)), p.slots)
	}
	return answered{&pb.PipeAnswer{Id: id, Response: resp}, bytes, p.slots}
}

// untaken refuses the answer to a call that was carried out.
func untaken(m *pb.DoRequest, waiting int64) error {
	e := kv.Errorf(kv.KindOverloaded, "answers of %d bytes wait on this stream for the client to take them", waiting)
	e.RetryAfter = pipeHint
	if len(m.GetOperations()) > 0 {
		e = e.WithOutcome(kv.Applied)
	}
	return e
}

// tokenOf is the token of an answer that the node itself has made.
func tokenOf(m *pb.DoResponse) kv.Token {
	t, err := kv.DecodeToken(m.GetReceipt().GetToken())
	if err != nil {
		panic("grpcapi: an answer with a malformed token: " + err.Error())
	}
	return t
}

// failed is the answer to a call that came to nothing.
func (p *pipe) failed(id uint64, err error, slot chan struct{}) answered {
	message, detail := convert.EncodeFailure(err)
	p.untaken.Add(int64(len(message)))
	return answered{&pb.PipeAnswer{Id: id, Message: message, Error: detail}, len(message), slot}
}

func (p *pipe) do(w piped) (*pb.DoResponse, error) {
	if w.call.GetTimeoutMicros() == 0 {
		return p.door.do(w.ctx, w.call.GetRequest())
	}
	timeout, err := convert.DecodeDuration(w.call.GetTimeoutMicros())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(w.ctx, timeout)
	defer cancel()
	return p.door.do(ctx, w.call.GetRequest())
}

// begin notes a call, and what cancels it, unless one of this id is under way.
func (p *pipe) begin(id uint64, cancel context.CancelFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[id] != nil {
		return false
	}
	p.calls[id] = cancel
	return true
}

// forget cancels a call, if it can be and is under way.
func (p *pipe) forget(id uint64) {
	p.mu.Lock()
	cancel := p.calls[id]
	p.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// ended frees the id of a call, and what cancels it.
func (p *pipe) ended(id uint64) {
	p.mu.Lock()
	cancel := p.calls[id]
	delete(p.calls, id)
	p.mu.Unlock()
	cancel()
}

// send sends answers until there are none any more, as many at once as are ready, and says once that
// the server is about to stop. After a failure it only takes answers in, so that workers end.
func (p *pipe) send() error {
	var failed error
	stopping := p.door.stopping
	batch := make([]answered, 0, batchAnswers)
	message := make([]*pb.PipeAnswer, 0, batchAnswers)
	for {
		select {
		case a, more := <-p.answers:
			if !more {
				return failed
			}
			runtime.Gosched() // workers that are about to answer do so, and share the message
			batch, message = p.gather(append(batch[:0], a)), message[:0]
			for _, a := range batch {
				message = append(message, a.PipeAnswer)
			}
			if failed == nil {
				failed = p.stream.Send(&pb.PipeResponse{Answers: message})
			}
			for _, a := range batch {
				p.untaken.Add(-int64(a.bytes))
				<-a.slot
			}
		case <-stopping:
			stopping = nil
			if failed == nil {
				failed = p.stream.Send(&pb.PipeResponse{Closing: true})
			}
		}
		if failed != nil {
			p.cancel()
		}
	}
}

// gather adds what else is ready to a batch.
func (p *pipe) gather(batch []answered) []answered {
	bytes := batch[0].bytes
	for len(batch) < batchAnswers && bytes < batchBytes {
		select {
		case a, more := <-p.answers:
			if !more {
				return batch
			}
			batch = append(batch, a)
			bytes += a.bytes
		default:
			return batch
		}
	}
	return batch
}
