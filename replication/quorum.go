package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// round is one question to all regions what they have: the calls that join it before it is asked share
// the answers. Replicator.mu guards it.
type round struct {
	asked   bool
	need    int          // regions, this one included, that must answer
	have    int          // that have
	open    int          // questions open
	silent  []string     // names of those that were not asked or have not answered
	seen    clock.Vector // what those that answered have, together
	index   uint64       // the highest that they hold of the raft group's log
	stores  []RegionStore
	err     error
	done    chan struct{} // closed once have is need, or err is set
	pending map[clock.Region]string
}

// rounds are those under way. Replicator.mu guards them.
type rounds struct {
	wake   chan struct{}
	next   *round // not asked yet
	flying map[*round]bool
	last   time.Duration // monotonic, when the last one was asked
	ended  bool
}

// Quorum returns once what is exposed includes all that a majority of the serving regions had exposed and
// on disk when it was called: every write that was acknowledged by a majority before. It fails with
// kv.ErrUnavailable while too few regions are connected, or don't answer, and as Exposure.Wait does.
func (r *Replicator) Quorum(ctx context.Context) error {
	q, err := r.joinRound()
	if err != nil {
		return err
	}
	select {
	case <-q.done:
	case <-ctx.Done():
		return r.gaveUpOn(ctx, q)
	}
	if q.err != nil {
		return q.err
	}
	if err := r.c.Exposure.Wait(ctx, q.seen, false); err != nil || r.c.Strong == nil {
		return err
	}
	t, err := r.reachPosition(ctx, q.index, q.stores)
	if err != nil {
		return err
	}
	return r.c.Exposure.Wait(ctx, clock.VectorOf(clock.Entry{Time: t}), false)
}

// joinRound joins the round that is asked next: one that is under way may have been answered before the
// call began. It is asked at once, unless the last one was asked only just now.
func (r *Replicator) joinRound() (*round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rounds.ended || r.ctx == nil {
		return nil, kv.Errorf(kv.KindUnavailable, "this node stops, or has not begun yet; try another")
	}
	q := r.rounds.next
	if q == nil {
		q = &round{done: make(chan struct{}), pending: map[clock.Region]string{}}
		r.rounds.next = q
	}
	if now := r.c.Time.Monotonic(); r.untilRound(now) <= 0 {
		r.askRound(now)
	} else {
		poke(r.rounds.wake)
	}
	return q, nil
}

// untilRound is how long the next round has to wait. The caller holds mu.
func (r *Replicator) untilRound(now time.Duration) time.Duration {
	if len(r.rounds.flying) >= MaxRounds {
		return HeartbeatEvery // one that ends wakes
	}
	return r.rounds.last + AskGap - now
}

// askRound asks all regions for the next round. The caller holds mu.
func (r *Replicator) askRound(now time.Duration) {
	q := r.rounds.next
	r.rounds.next, r.rounds.last = nil, now
	r.rounds.flying[q] = true
	q.asked = true
	serving := r.serving()
	if q.need = len(serving)/2 + 1; mutant.On(mutant.QuorumOneShort) {
		q.need--
	}
	for _, m := range serving {
		if m.Region == r.self.Region {
			if !r.c.Exposure.Recovering() {
				q.count(r.ownAnswer())
			} else {
				q.silent = append(q.silent, m.Name+" (takes its own writes from others)")
			}
			continue
		}
		s := r.streams[m.Region]
		if s == nil || !s.live(now) {
			q.silent = append(q.silent, m.Name+" (not connected)")
			continue
		}
		if len(s.asking.questions) >= maxQuestions {
			q.silent = append(q.silent, m.Name+" (does not answer)")
			continue
		}
		q.open++
		q.pending[m.Region] = m.Name
		s.ask(nil, func(a *answer) { r.roundTold(q, m, a) })
	}
	r.judgeRound(q)
}

func (r *Replicator) ownAnswer() *answer {
	a := &answer{}
	a.report.Region, a.report.Incarnation, a.report.Durable = r.self.Region, r.c.Incarnation, r.c.Exposure.Durable()
	if r.c.Strong != nil {
		a.index = r.c.Strong.Position()
	}
	return a
}

func (q *round) count(a *answer) {
	q.have++
	q.seen = q.seen.Join(a.report.Durable)
	q.index = max(q.index, a.index)
	q.stores = append(q.stores, RegionStore{Region: a.report.Region, Incarnation: a.report.Incarnation})
}

// roundTold takes one region's answer; nil: none will come. The caller holds mu.
func (r *Replicator) roundTold(q *round, m Member, a *answer) {
	if _, waits := q.pending[m.Region]; !waits {
		return
	}
	delete(q.pending, m.Region)
	q.open--
	switch {
	case !r.rounds.flying[q]:
		return
	case a == nil:
		q.silent = append(q.silent, m.Name+" (not connected any more)")
	case a.recovering:
		q.silent = append(q.silent, m.Name+" (takes its own writes from others)")
	default:
		q.count(a)
	}
	r.judgeRound(q)
}

// judgeRound ends a round that has its majority, or can't get it. The caller holds mu.
func (r *Replicator) judgeRound(q *round) {
	switch {
	case q.have >= q.need:
	case q.have+q.open < q.need:
		q.err = errNoMajority(q.have+q.open, q.need, q.silent)
	default:
		return
	}
	r.endRound(q)
}

// endRound lets those who wait for a round go on. The caller holds mu.
func (r *Replicator) endRound(q *round) {
	delete(r.rounds.flying, q)
	close(q.done)
	poke(r.rounds.wake)
}

func errNoMajority(have, need int, silent []string) error {
	return kv.Errorf(kv.KindUnavailable, "a majority of the regions is %d, this region included, and %d can be asked: without %s; "+
		"try again once they are back, ask a region that reaches a majority, or read at level causal or bounded", need, have, strings.Join(silent, ", "))
}

// gaveUpOn is the error of a call whose context ended before enough regions had answered.
func (r *Replicator) gaveUpOn(ctx context.Context, q *round) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if endedBy(ctx.Err()) == kv.KindDeadline {
		return kv.Errorf(kv.KindDeadline, "the caller gave up while a majority of the regions was asked: %w", ctx.Err())
	}
	names := make([]string, 0, len(q.pending))
	for _, name := range q.pending {
		names = append(names, name)
	}
	waits := "it was not asked yet"
	if q.asked {
		waits = fmt.Sprintf("%d of %d had answered, and not yet %s", q.have, q.need, strings.Join(names, ", "))
	}
	return kv.Errorf(kv.KindUnavailable, "no majority of the regions until the deadline: %s; wait longer, try another region, or read at level causal or bounded (%w)",
		waits, ctx.Err())
}

// askRounds asks rounds that had to wait, and gives up on regions that fell silent, until ctx ends.
func (r *Replicator) askRounds(ctx context.Context) error {
	for {
		timer, stop := r.c.Time.NewTimer(r.reviewRounds())
		select {
		case <-ctx.Done():
		case <-timer:
		case <-r.rounds.wake:
		}
		stop()
		if ctx.Err() != nil {
			r.endRounds()
			return nil
		}
	}
}

// reviewRounds asks the next round if it is due, and tells when to look again.
func (r *Replicator) reviewRounds() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	for q := range r.rounds.flying {
		for region, name := range q.pending {
			if s := r.streams[region]; s == nil || !s.live(now) {
				r.roundTold(q, Member{Region: region, Name: name}, nil)
			}
		}
	}
	switch wait := r.untilRound(now); {
	case r.rounds.next == nil && len(r.rounds.flying) == 0:
		return SilenceAfter
	case r.rounds.next == nil:
		return HeartbeatEvery
	case wait > 0:
		return wait
	}
	r.askRound(now)
	return HeartbeatEvery
}

// endRounds ends all rounds at the node's end.
func (r *Replicator) endRounds() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rounds.ended = true
	if q := r.rounds.next; q != nil {
		r.rounds.next = nil
		r.rounds.flying[q] = true
	}
	for q := range r.rounds.flying {
		q.err = kv.Errorf(kv.KindUnavailable, "this node stopped while a majority of the regions was asked; try another")
		r.endRound(q)
	}
}

// serving lists the regions that take writes.
func (r *Replicator) serving() []Member {
	_, list := r.registry.snapshot()
	out := make([]Member, 0, len(list))
	for _, m := range list {
		if m.Serving {
			out = append(out, m)
		}
	}
	return out
}

// EveryRegion lists all regions that were ever given a number, in their order, those that were abandoned included.
func (r *Replicator) EveryRegion() []Member {
	r.registry.mu.Lock()
	defer r.registry.mu.Unlock()
	return slices.Clone(r.registry.all)
}

// ServingRegions is how many regions take writes, this one included: what a majority is one of.
func (r *Replicator) ServingRegions() int { return len(r.serving()) }

// Majority is nil while a majority of the serving regions is connected, this one included, and an error
// that says who is missing otherwise.
func (r *Replicator) Majority() error {
	serving := r.serving()
	need, have := len(serving)/2+1, 0
	var silent []string
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Time.Monotonic()
	for _, m := range serving {
		own := m.Region == r.self.Region && !r.c.Exposure.Recovering()
		if s := r.streams[m.Region]; own || s != nil && s.live(now) {
			have++
		} else {
			silent = append(silent, m.Name+" (not connected)")
		}
	}
	if have < need {
		return errNoMajority(have, need, silent)
	}
	return nil
}
