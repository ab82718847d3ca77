package strong

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
)

// reader is a caller that waits until an entry is applied, which a read index names, or which it names
// itself.
type reader struct {
	asks  bool       // for a read index
	index uint64     // to be applied; with asks 0 until it is known. The group's goroutine's own until done
	done  chan error // of 1
	gone  bool       // under reads.mu: answered, or the caller gave up
}

// readRequest is one request for a read index, which readers share that came before it was made.
type readRequest struct{ readers []*reader }

// reads are the callers that wait to read.
type reads struct {
	mu      sync.Mutex
	waiting []*reader // of whom the group's goroutine does not know yet
	count   int       // of all that are not gone
	err     *kv.Error // why new ones are refused; nil: they are not

	// The group's goroutine's own.
	pending map[uint64]*readRequest // under way, by id
	next    uint64                  // id; it begins at random, so that no answer to an earlier process fits
	known   []*reader               // whose index is known, and not applied
	resend  bool                    // requests under way may have been lost
	gap     <-chan time.Time        // no other request before it has passed; nil: it has
}

// readIDLen is the length of a request's id.
const readIDLen = 8

// ReadIndex returns the index of an entry that this member has applied, and no earlier one than any that
// was committed anywhere when the call began: what is read now includes all that.
//
// Errors: kv.ErrUnavailable when no leader was known for as long as ctx or LeaderWait lasted, or the group
// has ended; kv.ErrDeadline; kv.ErrOverloaded.
func (g *Group) ReadIndex(ctx context.Context) (uint64, error) {
	return g.await(ctx, &reader{asks: true})
}

// WaitApplied waits until this member has applied the entry at index. Errors are ReadIndex's.
func (g *Group) WaitApplied(ctx context.Context, index uint64) error {
	if g.position.applied.Load() >= index {
		return nil
	}
	_, err := g.await(ctx, &reader{index: index})
	return err
}

func (g *Group) await(ctx context.Context, r *reader) (uint64, error) {
	r.done = make(chan error, 1)
	if err := g.reads.add(r); err != nil {
		return 0, err
	}
	poke(g.inbox.wake)
	select {
	case err := <-r.done:
		return r.index, err
	case <-ctx.Done():
		return 0, g.giveUpRead(ctx, r)
	}
}

// giveUpRead is what a reader is told whose context has ended.
func (g *Group) giveUpRead(ctx context.Context, r *reader) error {
	g.reads.mu.Lock()
	defer g.reads.mu.Unlock()
	if !r.gone {
		r.gone = true
		g.reads.count--
	}
	if g.status.Load().Leader == raft.None {
		return kv.Errorf(kv.KindUnavailable, "strong: %w (%w)", errNoLeader, ctx.Err())
	}
	return kv.Errorf(kv.KindDeadline, "strong: the leader of the raft group, region %d, did not confirm in time how far the log is; it may be cut off: "+
		"within 5 s a connected majority has another one, so try again, allow more time, try another region, or read at level causal: %w",
		RegionOf(g.status.Load().Leader), ctx.Err())
}

func (q *reads) add(r *reader) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return q.err
	case q.count >= MaxReaders:
		return kv.Errorf(kv.KindOverloaded, "strong: %d readers wait: try again later", q.count)
	}
	q.count++
	q.waiting = append(q.waiting, r)
	return nil
}

// take returns the readers that ask for an index, and notes the others, whose index is known.
func (q *reads) take() (asking []*reader) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.waiting {
		switch {
		case r.gone:
		case r.asks:
			asking = append(asking, r)
		default:
			q.known = append(q.known, r)
		}
	}
	q.waiting = nil
	return asking
}

// answer ends the waiting of readers.
func (q *reads) answer(list []*reader, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range list {
		if !r.gone {
			r.gone = true
			q.count--
			r.done <- err
		}
	}
}

// drain returns the readers that wait, but for those whose index is known unless all.
func (q *reads) drain(all bool) (list []*reader) {
	for _, r := range q.pending {
		list = append(list, r.readers...)
	}
	clear(q.pending)
	if list = append(list, q.take()...); all {
		list, q.known = append(list, q.known...), nil
	}
	return list
}

// refuse ends the waiting of the readers whose index is not known.
func (q *reads) refuse(err error) { q.answer(q.drain(false), err) }

// end ends the waiting of all readers, and refuses others.
func (q *reads) end(err *kv.Error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	q.answer(q.drain(true), err)
}

// requestReads asks raft for a read index for those who wait, unless another request is just under way.
// It tells whether it did.
func (g *Group) requestReads() bool {
	q := &g.reads
	if g.role.lead == raft.None || !g.mayAnswerReads() {
		return false
	}
	if q.resend {
		q.resend = false
		for id := range q.pending {
			g.node.ReadIndex(readID(id))
		}
	}
	if q.gap != nil && len(q.pending) > 0 {
		return false
	}
	asking := q.take()
	g.releaseReaders()
	if len(asking) == 0 {
		return false
	}
	q.next++
	q.pending[q.next] = &readRequest{readers: asking}
	g.node.ReadIndex(readID(q.next))
	q.gap, _ = g.c.Time.NewTimer(ReadGap)
	return true
}

func readID(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// answerReads takes raft's answers. One that comes twice, or to an earlier process, is of nobody.
func (g *Group) answerReads(states []raft.ReadState) {
	for _, s := range states {
		id := binary.BigEndian.Uint64(s.RequestCtx)
		r := g.reads.pending[id]
		if r == nil {
			continue
		}
		delete(g.reads.pending, id)
		for _, reader := range r.readers {
			reader.index = s.Index
		}
		g.reads.known = append(g.reads.known, r.readers...)
	}
	if len(states) > 0 {
		g.releaseReaders()
	}
}

// releaseReaders answers the readers whose entry is applied.
func (g *Group) releaseReaders() {
	g.position.applied.Store(g.applied)
	var free []*reader
	g.reads.known = slices.DeleteFunc(g.reads.known, func(r *reader) bool {
		is := r.index <= g.applied || mutant.On(mutant.ReadIndexNotAwaited)
		if is {
			free = append(free, r)
		}
		return is
	})
	if len(free) > 0 {
		g.reads.answer(free, nil)
	}
}
