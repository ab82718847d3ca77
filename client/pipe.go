package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/theriac-db/theriac/api/theriac/v1"
	"github.com/theriac-db/theriac/api/theriac/v1/convert"
)

// Limits of the pipe to one node.
const (
	maxPiped    = 64 << 10  // bytes of a request that goes through the pipe; larger ones go alone
	maxUnderWay = 768       // calls of a line; more wait in their callers. A node refuses some beyond
	batchCalls  = 256       // in one message
	batchBytes  = 256 << 10 // of the requests in one message, at most one more
)

// pipe carries one-shot transactions to one node over a stream that all callers share, several in a
// message when they come together. A call of its own costs gRPC several times what the transaction
// costs the node.
//
// A line is one such stream. When it breaks, or the node announces that it stops, the next call opens
// another.
type pipe struct {
	api     pb.DatabaseClient
	opening chan struct{} // holds one item while nobody opens a line
	line    atomic.Pointer[line]
	missing atomic.Bool // the node's version has no Pipe
	closed  atomic.Bool
	running sync.WaitGroup // the goroutines of all lines
}

// errNoPipe says that the call was not sent and should go alone.
var errNoPipe = errors.New("client: no pipe")

// lostError is the error of a call without an answer.
type lostError struct {
	err  error
	sent bool // it may have reached the node
}

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

func newPipe(api pb.DatabaseClient) *pipe {
	p := &pipe{api: api, opening: make(chan struct{}, 1)}
	p.opening <- struct{}{}
	return p
}

// close waits for the lines to end, which closing the connection makes them do.
func (p *pipe) close() {
	<-p.opening // whoever was opening a line has done so or failed
	p.closed.Store(true)
	p.opening <- struct{}{}
	if l := p.line.Load(); l != nil {
		l.cancel()
	}
	p.running.Wait()
}

// usable reports whether a call may go through the pipe: metadata is per stream, so calls that bring
// some go alone.
func (p *pipe) usable(ctx context.Context) bool {
	if p.missing.Load() {
		return false
	}
	_, has := metadata.FromOutgoingContext(ctx)
	return !has
}

// own copies what a request shares with its caller's slices: a caller that gives up gets them back
// while the sender may still be reading.
func own(m *pb.DoRequest) {
	for _, op := range m.Operations {
		switch v := op.Verb.(type) {
		case *pb.Operation_Assign:
			v.Assign = bytes.Clone(v.Assign)
		case *pb.Operation_Add:
			v.Add = bytes.Clone(v.Add)
		case *pb.Operation_Remove:
			v.Remove = bytes.Clone(v.Remove)
		}
		if op.Expect != nil {
			op.Expect.Value = bytes.Clone(op.Expect.Value)
		}
	}
	for _, q := range m.Queries {
		if v, ok := q.Question.(*pb.Query_Contains); ok {
			v.Contains = bytes.Clone(v.Contains)
		}
	}
}

// do runs one call. Errors are the node's, or a lostError, or errNoPipe.
func (p *pipe) do(ctx context.Context, m *pb.DoRequest, bound int) (*pb.DoResponse, error) {
	own(m)
	for tries := 1; ; tries++ {
		l, err := p.current(unsentContext(ctx))
		if err != nil {
			return nil, &lostError{err, false}
		}
		resp, err := l.do(ctx, m, bound)
		if err == nil {
			return resp, nil
		}
		var lost *lostError
		if !errors.As(err, &lost) || ctx.Err() != nil || lost.err == errSilent { //nolint:errorlint // it is ours
			return nil, err
		}
		p.line.CompareAndSwap(l, nil)
		if status.Code(lost.err) == codes.Unimplemented {
			p.missing.Store(true)
			return nil, errNoPipe
		}
		if lost.sent || tries > 1 {
			return nil, err
		}
	}
}

// current is the line for new calls; it opens one if there is none.
func (p *pipe) current(ctx context.Context) (*line, error) {
	if l := p.line.Load(); l != nil && !l.closing.Load() {
		return l, nil
	}
	select {
	case <-p.opening:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { p.opening <- struct{}{} }()
	if l := p.line.Load(); l != nil && !l.closing.Load() {
		return l, nil
	}
	if p.closed.Load() {
		return nil, status.Error(codes.Canceled, "the client is closed") // as calls of their own get
	}
	l, err := p.open(ctx)
	if err == nil {
		p.line.Store(l)
	}
	return l, err
}

// open starts a line. The caller's context bounds the opening, not the line.
func (p *pipe) open(ctx context.Context) (*line, error) {
	own, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	stream, err := p.api.Pipe(own)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	l := &line{
		stream: stream,
		cancel: cancel,
		slots:  make(chan struct{}, maxUnderWay),
		queue:  make(chan *piped, maxUnderWay),
		wake:   make(chan struct{}, 1),
		broken: make(chan struct{}),
		drain:  make(chan struct{}),
		calls:  map[uint64]*piped{},
	}
	p.running.Add(2)
	go func() { defer p.running.Done(); l.send() }()
	go func() { defer p.running.Done(); l.receive() }()
	return l, nil
}

// line is one stream with the calls under way on it.
type line struct {
	stream  grpc.BidiStreamingClient[pb.PipeRequest, pb.PipeResponse]
	cancel  context.CancelFunc
	slots   chan struct{} // holds one item for each call in calls
	queue   chan *piped   // has room for each of them
	wake    chan struct{} // holds an item when there are cancels
	closing atomic.Bool   // takes no new calls
	drain   chan struct{} // closed when the node asked to half-close
	broken  chan struct{} // closed when no answer will come any more; err says why
	err     error

	mu      sync.Mutex
	last    uint64
	calls   map[uint64]*piped // that are queued, or sent and not answered, whether or not somebody waits
	cancels []uint64          // of calls that were sent and for which nobody waits; not told to the node yet
}

// piped is a call in a pipe.
type piped struct {
	id      uint64
	message *pb.PipeCall
	size    int
	state   atomic.Int32
	answer  chan *pb.PipeAnswer // takes one without blocking
}

// A call is queued until either the sender takes it, and then it may reach the node, or its caller
// gives up, and then it never does.
const (
	queued int32 = iota
	sending
	dropped
)

func (l *line) do(ctx context.Context, m *pb.DoRequest, bound int) (*pb.DoResponse, error) {
	silent := silence(ctx)
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, &lostError{ctx.Err(), false}
	case <-silent:
		return nil, &lostError{errSilent, false}
	case <-l.broken:
		return nil, &lostError{l.err, false}
	}
	c := l.add(ctx, m, bound)
	l.queue <- c
	return l.wait(ctx, c, silent)
}

// wait waits for the answer to a call. If the node is silent, one that was not sent is taken back.
func (l *line) wait(ctx context.Context, c *piped, silent <-chan struct{}) (*pb.DoResponse, error) {
	select {
	case a := <-c.answer:
		return answerOf(a)
	case <-ctx.Done():
		return nil, l.giveUp(c, ctx.Err())
	case <-silent:
		if c.state.CompareAndSwap(queued, dropped) {
			return nil, &lostError{errSilent, false}
		}
		return l.wait(ctx, c, nil)
	case <-l.broken:
	}
	select {
	case a := <-c.answer: // it came before the end
		return answerOf(a)
	default:
		return nil, l.giveUp(c, l.err)
	}
}

func answerOf(a *pb.PipeAnswer) (*pb.DoResponse, error) {
	if a.GetResponse() == nil {
		return nil, convert.DecodeFailure(a.GetMessage(), a.GetError())
	}
	return a.GetResponse(), nil
}

func (l *line) add(ctx context.Context, m *pb.DoRequest, bound int) *piped {
	c := &piped{
		message: &pb.PipeCall{Request: m, Cancellable: ctx.Done() != nil},
		size:    bound,
		answer:  make(chan *pb.PipeAnswer, 1),
	}
	if deadline, ok := ctx.Deadline(); ok {
		c.message.TimeoutMicros = max(convert.EncodeDuration(time.Until(deadline)), 1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	c.id, c.message.Id = l.last, l.last
	l.calls[c.id] = c
	return c
}

// giveUp takes a call back whose caller waits no longer. One that was sent keeps its place until the
// node has answered it, so that there are never more under way than the node allows.
func (l *line) giveUp(c *piped, err error) error {
	if c.state.CompareAndSwap(queued, dropped) {
		return &lostError{err, false} // its place is free when the sender comes across it
	}
	l.mu.Lock()
	if l.calls[c.id] != nil {
		l.cancels = append(l.cancels, c.id)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // somebody else has woken the sender
	}
	return &lostError{err, true}
}

// send sends what is queued, as many calls at once as there are, until the line ends.
func (l *line) send() {
	var m pb.PipeRequest
	for {
		m.Calls, m.Cancelled = m.Calls[:0], nil
		select {
		case c := <-l.queue:
			runtime.Gosched() // callers that are about to queue do so, and share the message
			m.Cancelled = l.takeCancels()
			l.gather(&m, c)
		case <-l.wake:
			m.Cancelled = l.takeCancels()
		case <-l.drain:
			// What is queued from now on is not sent: its callers find the line broken once the node
			// has answered the others, and open another.
			_ = l.stream.CloseSend() // an error is receive's to find
			return
		case <-l.broken:
			return
		}
		if len(m.Calls) == 0 && len(m.Cancelled) == 0 {
			continue
		}
		if l.stream.Send(&m) != nil {
			return // receive learns why
		}
	}
}

// takeCancels is what to cancel. It is taken before the calls of the same message: the node ends what
// it has before it begins what is new.
func (l *line) takeCancels() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := l.cancels
	l.cancels = nil
	return ids
}

// gather fills a message with a first call and what else is queued.
func (l *line) gather(m *pb.PipeRequest, c *piped) {
	for size := 0; ; {
		if c.state.CompareAndSwap(queued, sending) {
			m.Calls = append(m.Calls, c.message)
			size += c.size
		} else {
			l.remove(c.id)
		}
		if len(m.Calls) >= batchCalls || size >= batchBytes {
			return
		}
		select {
		case c = <-l.queue:
		default:
			return
		}
	}
}

// remove takes a call out, if it is in, and makes room for another.
func (l *line) remove(id uint64) *piped {
	l.mu.Lock()
	c := l.calls[id]
	delete(l.calls, id)
	l.mu.Unlock()
	if c != nil {
		<-l.slots
	}
	return c
}

// receive hands answers to their callers until the line ends.
func (l *line) receive() {
	defer l.cancel()
	for {
		m, err := l.stream.Recv()
		if err != nil {
			l.end(err)
			return
		}
		for _, a := range m.GetAnswers() {
			l.deliver(a)
		}
		if m.GetClosing() && !l.closing.Swap(true) {
			close(l.drain)
		}
	}
}

func (l *line) deliver(a *pb.PipeAnswer) {
	if c := l.remove(a.GetId()); c != nil {
		c.answer <- a
	}
}

// end fails the calls that are left.
func (l *line) end(err error) {
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the node ended the stream")
	}
	l.err = err
	l.closing.Store(true)
	close(l.broken)
}
