package replication

import (
	"context"
	"time"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// question is an Ask that waits for its Answer.
type question struct {
	asked time.Duration // monotonic, before it was sent
	told  func(*answer) // nil: the stream ended. It is called under Replicator.mu
}

// answer is what a peer says to an Ask.
type answer struct {
	report     causal.Report
	index      uint64
	recovering bool
}

// asking is what one stream asks of its peer. Replicator.mu guards it.
type asking struct {
	last      uint64
	questions map[uint64]question

	wanted   clock.Vector // what this node wants to know to be on the peer's disk, and has not asked for
	asked    clock.Vector // what it has asked for
	pressing int          // such questions that are open
	pressed  time.Duration

	refreshing bool // a question for the sake of freshness is open
	refreshed  time.Duration
}

// ask sends a question. The caller holds Replicator.mu.
func (s *stream) ask(v clock.Vector, told func(*answer)) {
	s.asking.last++
	id := s.asking.last
	s.asking.questions[id] = question{s.r.c.Time.Monotonic(), told}
	s.queue(&peerv1.Message{Body: &peerv1.Message_Ask{Ask: &peerv1.Ask{Id: id, Vector: v.Append(nil, 0)}}})
}

// unanswered ends all questions of a stream that ends. The caller holds Replicator.mu.
func (s *stream) unanswered() {
	for id, q := range s.asking.questions {
		delete(s.asking.questions, id)
		q.told(nil)
	}
}

// answered takes an answer. It says how fresh the peer's lane is, too, as a heartbeat does.
func (r *Replicator) answered(s *stream, m *peerv1.Answer) error {
	report, err := reportFrom(m.GetReport())
	if err != nil {
		return err
	}
	if report.Region != s.peer {
		return badReport(m.GetReport())
	}
	r.c.Exposure.Receive(report)
	r.mu.Lock()
	defer r.mu.Unlock()
	q, ok := s.asking.questions[m.GetId()]
	if !ok || s.parting != nil {
		return nil
	}
	delete(s.asking.questions, m.GetId())
	if !m.GetRecovering() && m.GetMembers() <= r.counted {
		r.c.Exposure.HeardAt(clock.Lane{Region: s.peer}, report.Safe, q.asked)
	}
	q.told(&answer{report, m.GetRaftIndex(), m.GetRecovering()})
	return nil
}

// asked answers a peer's question, now or once what it names is exposed and on disk.
func (s *stream) asked(ctx context.Context, m *peerv1.Ask) error {
	v, rest, err := clock.DecodeVector(m.GetVector(), 0)
	if err != nil || len(rest) != 0 {
		return kv.Errorf(kv.KindCorrupt, "malformed question %d of region %d", m.GetId(), s.peer)
	}
	if len(v) == 0 {
		s.answer(m.GetId())
		return nil
	}
	if s.waits.Add(1) > MaxAsks {
		return kv.Errorf(kv.KindOverloaded, "region %d (%s) asks more than %d questions at a time", s.peer, s.name, MaxAsks)
	}
	s.answers.Go(func() {
		defer s.waits.Add(-1)
		if s.r.c.Exposure.WaitDurable(ctx, v) == nil { // else the peer has our heartbeats, if anything
			s.answer(m.GetId())
		}
	})
	return nil
}

// answer says what is exposed and on disk here, as of now.
func (s *stream) answer(id uint64) {
	r := s.r
	if r.forked.Load() {
		return
	}
	a := &peerv1.Answer{Id: id, Recovering: r.c.Exposure.Recovering(), Report: reportTo(r.c.Exposure.Report())}
	if r.c.Strong != nil {
		a.RaftIndex = r.c.Strong.Position()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a.Members = r.counted
	s.queue(&peerv1.Message{Body: &peerv1.Message_Answer{Answer: a}})
}

// press asks the peer to say when it has a vector on its disk, unless it has said or been asked so. The
// writer sends what is wanted by then. The caller holds Replicator.mu.
func (s *stream) press(v clock.Vector) {
	if a := &s.asking; !a.asked.Includes(v) && !a.wanted.Includes(v) {
		a.wanted = a.wanted.Join(v)
		s.poke()
	}
}

// askWanted asks for what is wanted, once it is due, and tells how long until then; below 0: nothing is.
// One question a gap serves all writes of that time. The caller holds Replicator.mu.
func (s *stream) askWanted(now time.Duration) time.Duration {
	a := &s.asking
	if len(a.wanted) == 0 || a.pressing >= MaxAsks {
		return -1
	}
	if report, ok := s.r.c.Exposure.Reported(s.peer); ok && report.Durable.Includes(a.wanted) {
		a.wanted = nil
		return -1
	}
	if due := a.pressed + AskGap - now; due > 0 {
		return due
	}
	v := a.wanted
	a.asked, a.wanted, a.pressed = a.asked.Join(v), nil, now
	a.pressing++
	s.ask(v, func(*answer) {
		a.pressing--
		s.poke()
	})
	return -1
}

// refresh asks the peer what it has now, so that what is known of its lane is younger than its
// heartbeats make it. The caller holds Replicator.mu.
func (s *stream) refresh(now time.Duration) {
	a := &s.asking
	if a.refreshing || now-a.refreshed < AskGap {
		return
	}
	a.refreshing, a.refreshed = true, now
	s.ask(nil, func(*answer) { a.refreshing = false })
}
