package replication

import (
	"errors"
	"fmt"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// outSub is one stream's delivery of a lane to the peer. stream.mu guards it.
type outSub struct {
	id     uint32
	lane   clock.Lane
	out    *outLane
	after  clock.Timestamp // last record sent
	sent   uint64          // bytes
	credit uint64          // that may be sent, a total
	sum    uint64          // of the subscriber's record at its first position; 0: it can't tell

	resumed bool // the position was judged
}

// encode is where a record's encoding comes from: the tail, or the log.
func (s *stream) load(o *outSub) ([]Durable, error) {
	if err := s.resume(o); err != nil {
		return nil, err
	}
	records, end, inTail := o.out.read(o.after, BatchBytes)
	if inTail {
		return records, nil
	}
	encoded, err := s.r.c.Store.Log(o.lane, o.after, BatchBytes)
	if err != nil {
		return nil, err
	}
	records = records[:0]
	for _, e := range encoded {
		h, err := kv.DecodeHeader(e)
		if err != nil {
			return nil, err
		}
		if h.Time > end {
			break // not durable yet
		}
		records = append(records, Durable{Time: h.Time, Encoded: e})
	}
	return records, nil
}

// sendRecords sends the next records of every subscription that has credit, one message each, and
// tells whether there were any.
func (s *stream) sendRecords(now time.Duration) (sent bool, err error) {
	for _, o := range s.ready() {
		if s.r.forked.Load() {
			return false, nil
		}
		if !s.due(o, now) {
			continue
		}
		records, err := s.load(o)
		var forked forkedError
		if errors.As(err, &forked) {
			s.r.fork(s.peer, err)
			return false, nil
		}
		if errors.Is(err, kv.ErrLost) {
			return false, err // the own lane is short: this node ends
		}
		if err != nil {
			if err := s.refuseLane(o, err); err != nil {
				return false, err
			}
			continue
		}
		if len(records) == 0 {
			continue
		}
		if err := s.sendBatch(o, records); err != nil {
			return false, err
		}
		s.lastRecords, sent = now, true
	}
	return sent, nil
}

// due tells whether a subscription's next message is worth sending: little is collected first.
func (s *stream) due(o *outSub, now time.Duration) bool {
	return now-s.lastRecords >= MessageGap || o.out.waiting(o.after, GapBytes) >= GapBytes
}

// ready lists the subscriptions with credit.
func (s *stream) ready() []*outSub {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scratch = s.scratch[:0]
	for _, o := range s.out {
		if o.sent < o.credit {
			s.scratch = append(s.scratch, o)
		}
	}
	return s.scratch
}

// collecting tells whether records wait for MessageGap to pass.
func (s *stream) collecting() bool {
	for _, o := range s.ready() {
		if o.out.waiting(o.after, 1) > 0 {
			return true
		}
	}
	return false
}

// sendBatch packs records and sends them, in parts where they are large.
func (s *stream) sendBatch(o *outSub, records []Durable) error {
	p := newPacker(o.lane, o.after)
	bytes := 0
	for _, d := range records {
		if _, err := p.add(d.Encoded); err != nil {
			return s.refuseLane(o, err)
		}
		bytes += len(d.Encoded)
	}
	s.mu.Lock()
	o.after = records[len(records)-1].Time
	o.sent += uint64(bytes)
	s.mu.Unlock()
	for packed := p.out; ; {
		n := min(len(packed), MaxPart)
		part := &peerv1.Records{Id: o.id, Packed: packed[:n:n], Partial: n < len(packed)}
		if err := s.conn.Send(&peerv1.Message{Body: &peerv1.Message_Records{Records: part}}); err != nil {
			return err
		}
		if packed = packed[n:]; len(packed) == 0 {
			s.r.c.Hooks.sent(s.peer, len(records), len(p.out))
			return nil
		}
	}
}

// refuseLane ends a subscription that can't be served from here.
func (s *stream) refuseLane(o *outSub, cause error) error {
	s.mu.Lock()
	s.dropOut(o)
	s.mu.Unlock()
	s.r.c.Hooks.logf("lane %s can't be sent to region %d from %s on: %v", o.lane, s.peer, o.after, cause)
	kind := kv.KindOf(cause)
	if kind == 0 {
		kind = kv.KindUnavailable
	}
	var diverged divergedError
	forked := errors.As(cause, &diverged)
	if forked && s.forks.news(cause) {
		s.r.c.Hooks.fault(o.lane.Region, cause)
	}
	e := &peerv1.LaneError{Id: o.id, Kind: uint32(kind), Message: cause.Error(), Forked: forked}
	return s.conn.Send(&peerv1.Message{Body: &peerv1.Message_LaneError{LaneError: e}})
}

// subscribe begins to send a lane. A subscription that the peer has for the lane ends.
func (s *stream) subscribe(m *peerv1.Subscribe) error {
	lane, err := laneFrom(m.GetRegion(), m.GetSlot())
	if err != nil {
		return err
	}
	out := s.r.outLane(lane)
	if out == nil { // this node has not been told of the region, or is still writing that down
		s.answerLater(m.GetId(), lane)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.out[lane]; old != nil {
		s.dropOut(old)
	}
	o := &outSub{id: m.GetId(), lane: lane, out: out, after: clock.Timestamp(m.GetAfter()), credit: m.GetCredit(), sum: m.GetSum()}
	s.out[lane] = o
	out.join(s)
	s.poke()
	return nil
}

// answerLater has a peer ask for a lane again.
func (s *stream) answerLater(id uint32, lane clock.Lane) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	e := &peerv1.LaneError{Id: id, Kind: uint32(kv.KindUnavailable), Message: fmt.Sprintf("lane %s is not known here yet", lane)}
	s.queue(&peerv1.Message{Body: &peerv1.Message_LaneError{LaneError: e}})
}

func (s *stream) unsubscribe(m *peerv1.Unsubscribe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.out {
		if o.id == m.GetId() {
			s.dropOut(o)
		}
	}
}

// dropOut ends a subscription. The caller holds mu.
func (s *stream) dropOut(o *outSub) {
	delete(s.out, o.lane)
	o.out.leave(s)
}

func (s *stream) raiseCredit(m *peerv1.Credit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.out {
		if o.id == m.GetId() {
			o.credit = max(o.credit, m.GetTotal())
			s.poke()
		}
	}
}

func laneFrom(region, slot uint32) (clock.Lane, error) {
	if region > 0xffff || slot > uint32(clock.MaxSlot) {
		return clock.Lane{}, kv.Errorf(kv.KindCorrupt, "no such lane: %d.%d", region, slot)
	}
	return clock.Lane{Region: clock.Region(region), Slot: clock.Slot(slot)}, nil
}
