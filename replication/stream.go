package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// maxControl bounds the control messages that wait to be sent on a stream.
const maxControl = 4 * MaxMembers

// stream is the connection to one other region: a goroutine that reads, always, and one that
// writes.
type stream struct {
	r      *Replicator
	peer   clock.Region
	name   string
	store  claim // with a standing that Replicator.mu guards
	conn   Conn
	wake   chan struct{} // of the writer
	done   chan struct{} // closed when both goroutines have ended
	cancel context.CancelCauseFunc

	// Guarded by Replicator.mu.
	heard   time.Duration // monotonic, when the last message came
	in      map[uint32]*inSub
	refused map[clock.Lane]time.Duration   // lanes that the peer can't serve, until then
	tooOld  map[clock.Lane]clock.Timestamp // lanes that it has truncated beyond that
	control []*peerv1.Message
	hears   map[clock.Region]bool  // regions that the peer hears directly
	stores  map[clock.Region]claim // and which stores of theirs, as far as it knows
	members uint64                 // version of the list of regions that the peer counts by
	told    uint64                 // version of the list last sent to it
	news    news
	parting *parting      // the peer is hung up on; nil: it isn't
	ahead   bool          // the peer finds this node's clock too far ahead
	echo    int64         // the peer's monotonic reading to send back; 0: none came yet
	echoed  time.Duration // monotonic, when it came
	asking  asking
	held    held          // what its voter holds of the raft group's log
	offset  time.Duration // the peer's wall clock less this node's, when a heartbeat came

	// Guarded by mu. Replicator.mu may be held when it is taken, not the other way round.
	mu  sync.Mutex
	out map[clock.Lane]*outSub

	// The peer's questions that wait for the disk here.
	waits   atomic.Int32
	answers sync.WaitGroup

	// The writer's own.
	scratch     []*outSub
	lastRecords time.Duration
	forks       faults // told of lanes that the peer holds otherwise
}

func newStream(r *Replicator, conn Conn, peer Member, store claim) *stream {
	return &stream{
		r: r, conn: conn, peer: peer.Region, name: peer.Name, store: store,
		wake: make(chan struct{}, 1), done: make(chan struct{}), cancel: func(error) {},
		heard: r.c.Time.Monotonic(),
		in:    map[uint32]*inSub{}, refused: map[clock.Lane]time.Duration{}, tooOld: map[clock.Lane]clock.Timestamp{}, out: map[clock.Lane]*outSub{},
		asking:      asking{questions: map[uint64]question{}, pressed: -AskGap, told: -AskGap},
		lastRecords: -MessageGap, forks: faults{time: r.c.Time},
	}
}

// poke wakes the writer.
func (s *stream) poke() { poke(s.wake) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fail ends the stream soon; the first error counts. It does not block.
func (s *stream) fail(err error) { s.cancel(err) }

// parting is why the peer is hung up on, and since when.
type parting struct {
	err   error
	since time.Duration // monotonic
}

// hangUp tells the peer why, and ends the stream: what the peer said counts no more. It does not block. The
// caller holds Replicator.mu.
func (s *stream) hangUp(err error) {
	if s.parting == nil {
		s.parting = &parting{err, s.r.c.Time.Monotonic()}
		s.poke()
	}
}

// hungUp is why the peer is hung up on; nil: it isn't.
func (s *stream) hungUp() error {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.parting == nil {
		return nil
	}
	return s.parting.err
}

// overdue ends the stream when its peer was silent too long, or takes too long to be told that it is hung
// up on. The caller holds Replicator.mu.
func (s *stream) overdue(now time.Duration) {
	switch {
	case now-s.heard > StreamTimeout:
		s.fail(kv.Errorf(kv.KindUnavailable, "nothing heard of region %d (%s) for %v", s.peer, s.name, StreamTimeout))
	case s.parting != nil && now-s.parting.since > StreamTimeout:
		s.fail(s.parting.err)
	}
}

// run reads and writes until one of them fails or ctx ends, and returns why.
func (s *stream) run(ctx context.Context) error {
	stopClose := context.AfterFunc(ctx, s.conn.Close)
	defer stopClose()
	defer s.conn.Close()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		s.cancel(s.write(ctx))
	}()
	s.cancel(s.read(ctx))
	s.conn.Close()
	<-wrote
	s.answers.Wait()
	if err := s.hungUp(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (s *stream) read(ctx context.Context) error {
	for {
		m, err := s.conn.Recv()
		if err != nil {
			return err
		}
		s.r.mu.Lock()
		s.heard = s.r.c.Time.Monotonic()
		s.r.mu.Unlock()
		if err := s.handle(ctx, m); err != nil {
			return err
		}
	}
}

func (s *stream) handle(ctx context.Context, m *peerv1.Message) error {
	switch b := m.GetBody().(type) {
	case *peerv1.Message_Records:
		return s.r.receive(s, b.Records.GetId(), b.Records.GetPacked(), b.Records.GetPartial())
	case *peerv1.Message_Heartbeat:
		return s.r.heartbeat(s, b.Heartbeat)
	case *peerv1.Message_Subscribe:
		return s.subscribe(b.Subscribe)
	case *peerv1.Message_Unsubscribe:
		s.unsubscribe(b.Unsubscribe)
	case *peerv1.Message_Credit:
		s.raiseCredit(b.Credit)
	case *peerv1.Message_LaneError:
		s.r.fork(s.peer, s.r.laneRefused(s, b.LaneError))
	case *peerv1.Message_Members:
		s.heedLater(news{members: b.Members})
	case *peerv1.Message_Joined:
		s.heedLater(news{caughtUp: true})
	case *peerv1.Message_Ask:
		return s.asked(ctx, b.Ask)
	case *peerv1.Message_Answer:
		return s.r.answered(s, b.Answer)
	case *peerv1.Message_Refused:
		return s.r.faulty(s.peer, fmt.Errorf("region %d (%s): %w", s.peer, s.name, refusal(b.Refused)))
	default:
		return kv.Errorf(kv.KindCorrupt, "a message that a stream does not have: %T", b)
	}
	return nil
}

func (s *stream) write(ctx context.Context) error {
	due := s.r.c.Time.Monotonic()
	for ctx.Err() == nil {
		if err := s.hungUp(); err != nil {
			refuse(s.conn, err)
			return err
		}
		if err := s.sendControl(); err != nil {
			return err
		}
		now := s.r.c.Time.Monotonic()
		if now >= due {
			if err := s.conn.Send(s.r.makeHeartbeat(s)); err != nil {
				return err
			}
			due = now + HeartbeatEvery
		}
		sent, err := s.sendRecords(now)
		if err != nil {
			return err
		}
		if !sent {
			s.wait(ctx, due-now)
		}
	}
	return context.Cause(ctx)
}

// wait waits until there is something to send, at most for d, and for MessageGap while records are
// being collected.
func (s *stream) wait(ctx context.Context, d time.Duration) {
	wake := s.wake
	if s.collecting() {
		d = min(d, s.lastRecords+MessageGap-s.r.c.Time.Monotonic())
		wake = nil // what comes meanwhile goes with the rest
	}
	if due := s.nextAsk(); due >= 0 {
		d = min(d, due)
	}
	timer, stop := s.r.c.Time.NewTimer(max(d, 0))
	defer stop()
	select {
	case <-wake:
	case <-timer:
	case <-ctx.Done():
	}
}

// nextAsk is when the next question is due; below 0: none waits.
func (s *stream) nextAsk() time.Duration {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.askDue(s.r.c.Time.Monotonic())
}

// sendControl sends subscriptions, credit, questions and answers.
func (s *stream) sendControl() error {
	for _, m := range s.takeControl() {
		if err := s.conn.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) takeControl() []*peerv1.Message {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.askDue(s.r.c.Time.Monotonic())
	out := s.control
	s.control = nil
	for _, sub := range s.in {
		if c := sub.credit(); c-sub.announced >= LaneWindow/4 {
			sub.announced = c
			out = append(out, &peerv1.Message{Body: &peerv1.Message_Credit{Credit: &peerv1.Credit{Id: sub.id, Total: c}}})
		}
	}
	return out
}

// queue adds a control message. The caller holds Replicator.mu.
func (s *stream) queue(m *peerv1.Message) {
	if len(s.control) >= maxControl {
		s.fail(kv.Errorf(kv.KindOverloaded, "region %d takes no messages", s.peer))
		return
	}
	s.control = append(s.control, m)
	s.poke()
}

// begin subscribes to a lane. The caller holds Replicator.mu.
func (s *stream) begin(l *inLane) {
	s.r.nextSub++
	sub := &inSub{stream: s, lane: l, id: s.r.nextSub, last: l.tail, announced: LaneWindow}
	s.in[sub.id], l.subs[s] = sub, sub
	s.queue(&peerv1.Message{Body: &peerv1.Message_Subscribe{Subscribe: &peerv1.Subscribe{
		Region: uint32(l.lane.Region), Slot: uint32(l.lane.Slot), After: uint64(l.tail), Credit: LaneWindow, Id: sub.id,
		Sum: l.sumAt(l.tail),
	}}})
}

// end ends a subscription. The caller holds Replicator.mu.
func (s *stream) end(sub *inSub) {
	s.forget(sub)
	l := sub.lane.lane
	s.queue(&peerv1.Message{Body: &peerv1.Message_Unsubscribe{Unsubscribe: &peerv1.Unsubscribe{
		Region: uint32(l.Region), Slot: uint32(l.Slot), Id: sub.id,
	}}})
}

func (s *stream) forget(sub *inSub) {
	delete(s.in, sub.id)
	delete(sub.lane.subs, s)
}

// resubscribe begins a subscription anew, from where the lane is now; a second Subscribe replaces
// the first one at the sender. The caller holds Replicator.mu.
func (s *stream) resubscribe(sub *inSub) {
	s.forget(sub)
	s.begin(sub.lane)
}

// live tells whether the peer was heard lately, and counts. The caller holds Replicator.mu.
func (s *stream) live(now time.Duration) bool { return s.parting == nil && now-s.heard < SilenceAfter }

// laneRefused notes that the peer can't serve a lane. The error says that this node's own lane is forked.
func (r *Replicator) laneRefused(s *stream, m *peerv1.LaneError) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	sub := s.in[m.GetId()]
	if sub == nil {
		return nil
	}
	if m.GetForked() && sub.lane.lane == r.self {
		return forkedError{what: shown(m.GetMessage())}
	}
	s.forget(sub)
	s.refused[sub.lane.lane] = r.c.Time.Monotonic() + LaneRetry
	err := fmt.Errorf("region %d (%s) can't serve lane %s from %s on: %w", s.peer, s.name, sub.lane.lane, sub.last,
		kv.Errorf(kv.Kind(m.GetKind()), "%s", shown(m.GetMessage())))
	r.c.Hooks.logf("%v", err)
	if errors.Is(err, kv.ErrTooOld) {
		s.tooOld[sub.lane.lane] = sub.last // others are asked, and else it is fallen behind
	} else if !errors.Is(err, kv.ErrUnavailable) {
		r.c.Hooks.fault(sub.lane.lane.Region, err)
	}
	poke(r.planWake)
	return nil
}
