package grpcapi

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
	"github.com/theriac-db/theriac/kv"
)

// Limits of one pipe.
const (
	maxPipeCalls = 1024      // under way; the stream is read no further beyond
	maxIdle      = 64        // workers that wait for a call; others end
	batchAnswers = 256       // in one message
	batchBytes   = 256 << 10 // after which a message takes no further answer
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
	work    chan piped    // to a worker that is idle
	answers chan answered // has room for every slot, so that workers never wait
	workers sync.WaitGroup
	idle    atomic.Int32 // workers that wait

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // of cancellable calls under way
}

// piped is a call on its way to a worker.
type piped struct {
	call *pb.PipeCall
	ctx  context.Context
}

type answered struct {
	*pb.PipeAnswer
	bytes int // at most
}

// Pipe implements the API's method. It returns when the client has half-closed the stream and all
// its calls are answered, or when the stream broke.
func (d *door) Pipe(stream grpc.BidiStreamingServer[pb.PipeRequest, pb.PipeResponse]) error {
	p := &pipe{
		door:    d,
		stream:  stream,
		slots:   make(chan struct{}, maxPipeCalls),
		work:    make(chan piped),
		answers: make(chan answered, maxPipeCalls),
		cancels: map[uint64]context.CancelFunc{},
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
	return errors.Join(err, <-sent)
}

// receive hands calls to workers until the stream ends: nil when the client half-closed it.
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
		for _, c := range m.Calls {
			select {
			case p.slots <- struct{}{}:
				p.dispatch(c)
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
		}
		for _, id := range m.Cancelled {
			p.forget(id)
		}
	}
}

// dispatch gives a call to an idle worker, or to a new one. There are never more than slots.
func (p *pipe) dispatch(c *pb.PipeCall) {
	w := piped{c, p.ctx}
	if c.GetCancellable() {
		ctx, cancel := context.WithCancel(p.ctx)
		w.ctx = ctx
		p.mu.Lock()
		p.cancels[c.GetId()] = cancel
		p.mu.Unlock()
	}
	select {
	case p.work <- w:
	default:
		p.workers.Add(1)
		go p.worker(w)
	}
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
	if w.call.GetCancellable() {
		p.forget(id)
	}
	if err != nil {
		message, detail := convert.EncodeFailure(err)
		return answered{&pb.PipeAnswer{Id: id, Message: message, Error: detail}, len(message)}
	}
	bytes := 0 // a receipt alone is small
	if len(resp.Values) > 0 {
		bytes = proto.Size(resp)
	}
	return answered{&pb.PipeAnswer{Id: id, Response: resp}, bytes}
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

// forget cancels a call, if it can be and is under way.
func (p *pipe) forget(id uint64) {
	p.mu.Lock()
	cancel := p.cancels[id]
	delete(p.cancels, id)
	p.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// send sends answers until there are none any more, as many at once as are ready, and says once that
// the server is about to stop. After a failure it only takes answers in, so that workers end.
func (p *pipe) send() error {
	var failed error
	stopping := p.door.stopping
	batch := make([]*pb.PipeAnswer, 0, batchAnswers)
	for {
		select {
		case a, more := <-p.answers:
			if !more {
				return failed
			}
			runtime.Gosched() // workers that are about to answer do so, and share the message
			batch = p.gather(append(batch[:0], a.PipeAnswer), a.bytes)
			if failed == nil {
				failed = p.stream.Send(&pb.PipeResponse{Answers: batch})
			}
			for range batch {
				<-p.slots
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
func (p *pipe) gather(batch []*pb.PipeAnswer, bytes int) []*pb.PipeAnswer {
	for len(batch) < batchAnswers && bytes < batchBytes {
		select {
		case a, more := <-p.answers:
			if !more {
				return batch
			}
			batch = append(batch, a.PipeAnswer)
			bytes += a.bytes
		default:
			return batch
		}
	}
	return batch
}
