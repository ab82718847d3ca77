package strong

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/theriac-db/theriac/kv"
)

// proposal is one that is not decided yet. Its fields are under proposals.mu.
type proposal struct {
	Proposal
	done   chan error // of 1
	queued bool       // in the queue
	tries  int        // how often it was handed to raft
	gone   bool       // decided, or its caller gave up
	at     uint64     // the tick when it was handed to raft last
}

// proposals are those of this process that are not decided yet.
type proposals struct {
	mu    sync.Mutex
	table map[uint64]*proposal
	queue []*proposal // to be handed to raft, those that are gone among them
	bytes int         // of the table
	err   *kv.Error   // why new ones are refused; nil: they are not
}

// Propose has the group decide a proposal, and returns nil once this member's Machine was given the entry
// that decided it. The body is the callee's until then, and may be packed more than once.
//
// Errors: kv.ErrUnavailable, not applied: no leader was known for as long as ctx or LeaderWait lasted;
// kv.ErrOverloaded, kv.ErrTooLarge and those of Config.Pack, not applied; kv.ErrDeadline, outcome unknown: ctx ended after it was
// handed to raft; kv.ErrUnavailable, outcome unknown: the group has ended since. One whose outcome is unknown
// may still be decided at any time.
func (g *Group) Propose(ctx context.Context, body Proposal) error {
	p := &proposal{Proposal: body, done: make(chan error, 1)}
	if err := g.proposals.add(p); err != nil {
		return err
	}
	poke(g.inbox.wake)
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return g.proposals.giveUp(p, ctx)
	}
}

// add queues a proposal.
func (q *proposals) add(p *proposal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return q.err
	case p.Size > MaxProposal:
		return kv.Errorf(kv.KindTooLarge, "strong: a proposal of %d bytes; up to %d are allowed", p.Size, MaxProposal)
	case len(q.table) >= MaxProposals || q.bytes+p.Size > MaxProposalBytes:
		return kv.Errorf(kv.KindOverloaded, "strong: %d proposals of %d bytes are undecided: try again later", len(q.table), q.bytes)
	case q.table[p.Number] != nil:
		return kv.Errorf(kv.KindInvalid, "strong: a second proposal of number %d", p.Number)
	}
	q.table[p.Number] = p
	q.bytes += p.Size
	q.enqueue(p)
	return nil
}

func (q *proposals) enqueue(p *proposal) {
	if !p.queued {
		p.queued = true
		q.queue = append(q.queue, p)
	}
}

// remove ends a proposal.
func (q *proposals) remove(p *proposal, err error) {
	p.gone = true
	q.bytes -= p.Size
	delete(q.table, p.Number)
	p.done <- err
}

// giveUp is what a caller is told whose context has ended.
func (q *proposals) giveUp(p *proposal, ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.gone {
		return <-p.done
	}
	q.remove(p, nil)
	if p.tries == 0 {
		return kv.Errorf(kv.KindUnavailable, "strong: %w (%w)", errNoLeader, ctx.Err())
	}
	return kv.Errorf(kv.KindDeadline, "strong: proposal %d was not seen decided: %w", p.Number, ctx.Err()).WithOutcome(kv.OutcomeUnknown)
}

// decided ends proposals that the Machine has decided.
func (q *proposals) decided(numbers []uint64) {
	if len(numbers) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, n := range numbers {
		if p := q.table[n]; p != nil {
			q.remove(p, nil)
		}
	}
}

// refuse ends the proposals that were never handed to raft.
func (q *proposals) refuse(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.table {
		if p.tries == 0 {
			q.remove(p, err)
		}
	}
}

// end ends all proposals, and refuses others.
func (q *proposals) end(err *kv.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err, q.queue = err, nil
	for _, p := range q.table {
		if p.tries > 0 {
			q.remove(p, err.WithOutcome(kv.OutcomeUnknown))
		} else {
			q.remove(p, err)
		}
	}
}

// take returns what is queued, as much as one entry may hold, and notes it as handed to raft.
func (q *proposals) take(tick uint64) (taken []*proposal, bodies []any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) > 0 && len(taken) < MaxPacked {
		p := q.queue[0]
		q.queue[0] = nil
		q.queue = q.queue[1:]
		if p.queued = false; p.gone {
			continue
		}
		taken, bodies = append(taken, p), append(bodies, p.Body)
		p.at = tick
		p.tries++
	}
	return taken, bodies
}

// waiting reports whether something is queued.
func (q *proposals) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue) > 0
}

// untake takes back what was not handed to raft. The first of them has failed for good, if there is an
// error.
func (q *proposals) untake(list []*proposal, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range list {
		p.tries--
	}
	if err != nil {
		if p := list[0]; !p.gone {
			q.remove(p, err)
		}
		list = list[1:]
	}
	for _, p := range list {
		p.queued = true
	}
	q.queue = append(slices.Clone(list), q.queue...)
}

// again queues the proposals once more that were handed to raft and that due tells, in the order of their
// numbers.
func (q *proposals) again(due func(*proposal) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var list []*proposal
	for _, p := range q.table {
		if p.tries > 0 && !p.queued && due(p) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *proposal) int { return cmp.Compare(a.Number, b.Number) })
	for _, p := range list {
		q.enqueue(p)
	}
}

// proposeAgain has proposals handed to raft once more, if there is a leader to take them.
func (g *Group) proposeAgain(due func(*proposal) bool) {
	if g.role.lead != raft.None {
		g.proposals.again(due)
	}
}

// gathering is how proposals come together behind the newest entry, until that is committed or EntryGap has
// passed.
type gathering struct {
	behind  uint64           // the newest entry
	gap     <-chan time.Time // since the first proposal behind it; nil: there is none, or it is over
	over    bool
	release func() // of the timer; nil: there is none
	vain    int    // how often in a row the gap was over first
	skip    int    // entries that are still not waited for
	passed  bool   // by the next one
}

// maxVain bounds gathering.vain.
const maxVain = 8

// end ends the waiting for this time, and learns whether it was worth while.
func (w *gathering) end() {
	switch {
	case w.over:
		w.vain = min(w.vain+1, maxVain)
		w.skip = 1 << w.vain
	case w.release != nil:
		w.release()
		w.vain = 0
	case w.passed:
		w.skip--
	}
	w.gap, w.over, w.release, w.passed = nil, false, nil, false
}

// gathers reports whether what is queued waits for more.
func (g *Group) gathers() bool {
	w := &g.gathering
	switch {
	case !g.role.leading || g.role.commit >= w.behind || w.over || !g.proposals.waiting():
		return false
	case w.skip > 0:
		w.passed = true
		return false
	case w.gap == nil:
		w.gap, w.release = g.c.Time.NewTimer(EntryGap)
	}
	return true
}

// propose hands raft one entry of what is queued, unless an append waits for the disk, or a near commit is
// waited for: then more comes together, and each costs less. It tells whether it did.
func (g *Group) propose() bool {
	if g.role.lead == raft.None || g.syncing > 0 || g.gathers() {
		return false
	}
	taken, bodies := g.proposals.take(g.ticks)
	if len(taken) == 0 {
		return false
	}
	entry, n, err := g.c.Pack(bodies, MaxEntryBytes)
	if n < len(taken) {
		g.proposals.untake(taken[n:], err)
	}
	if n == 0 {
		return err != nil
	}
	if err := g.node.Propose(entry); err != nil { // too much is not committed, or leadership is handed over
		g.proposals.untake(taken[:n], nil)
		return false
	}
	g.gathering.end()
	return true
}

// refuseWaiting tells callers that there is no leader, and is none for a while.
func (g *Group) refuseWaiting() {
	err := kv.Errorf(kv.KindUnavailable, "strong: %w", errNoLeader)
	g.proposals.refuse(err)
	g.reads.refuse(err)
}
