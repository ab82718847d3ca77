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

	news bool // what the peer has now is wanted, so that its lane is known to be fresh
	told time.Duration
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
	r.heedPosition(s, held{m.GetRaftIndex(), q.asked})
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
	if s.r.await(v) {
		s.r.c.Store.SyncSoon()
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

// await notes what another region waits for, and tells whether the store has some of it.
func (r *Replicator) await(v clock.Vector) (taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaited = r.awaited.Join(v)
	for _, l := range r.order {
		t := v.At(l.lane.Region)
		taken = taken || t != 0 && t <= l.taken && len(l.flying) > 0
	}
	return taken
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

// askDue asks what is due, and tells how long until the next question is; below 0: none waits. One question
// a gap serves all writes of that time, and one all reads. The caller holds Replicator.mu.
func (s *stream) askDue(now time.Duration) time.Duration {
	a := &s.asking
	next := time.Duration(-1)
	full := len(a.questions) >= maxQuestions
	if due := a.told + AskGap - now; a.news && due <= 0 && !full {
		a.news, a.told = false, now
		s.ask(nil, func(*answer) {})
	} else if a.news {
		next = max(due, time.Millisecond)
	}
	if report, ok := s.r.c.Exposure.Reported(s.peer); len(a.wanted) > 0 && ok && report.Durable.Includes(a.wanted) {
		a.wanted = nil
	}
	switch due := a.pressed + AskGap - now; {
	case len(a.wanted) == 0 || a.pressing >= MaxAsks:
		return next
	case due > 0 && next < 0:
		return due
	case due > 0:
		return min(next, due)
	}
	s.askWanted(now)
	return next
}

// askWanted asks for what is wanted.
func (s *stream) askWanted(now time.Duration) {
	a := &s.asking
	v := a.wanted
	a.asked, a.wanted, a.pressed = a.asked.Join(v), nil, now
	a.pressing++
	s.ask(v, func(*answer) {
		a.pressing--
		s.poke()
	})
}

// maxQuestions bounds the questions on a stream that are open; what exceeds it waits, but for rounds.
const maxQuestions = 2*MaxAsks + MaxRounds

// wantNews asks the peer what it has now, as soon as may be. The caller holds Replicator.mu.
func (s *stream) wantNews() {
	s.asking.news = true
	s.poke()
}
