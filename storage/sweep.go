package storage

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/crdt"
)

// sweeper remembers where leaves are that nobody else would rewrite: below removals that have
// landed, and anywhere, at the slow sweep's place.
type sweeper struct {
	mu     sync.Mutex
	ranges []sweptRange
	wanted bool   // the trigger table forgot something since the current round began
	cursor []byte // of the slow sweep; nil: at the start
	hurry  bool   // this round is there because of wanted

	dropped dropSweep
}

// sweptRange is the leaves below a removal; they can go once the horizon has passed it.
type sweptRange struct {
	prefix []byte
	dot    clock.Dot
	cursor []byte
}

// maxRanges bounds the ranges; beyond it a whole round is asked for.
const maxRanges = 1024

// note remembers what a removal has touched.
func (w *sweeper) note(r *removal) {
	if !r.done {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ranges) >= maxRanges {
		w.wanted = true
		return
	}
	w.ranges = append(w.ranges, sweptRange{prefix: r.prefix, dot: r.dot, cursor: r.prefix})
}

// want asks for a round over all leaves.
func (w *sweeper) want() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = true
}

// ready takes the ranges whose removals the horizon has passed.
func (w *sweeper) ready(horizon clock.Vector) (out []sweptRange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.ranges[:0]
	for _, r := range w.ranges {
		if horizon.Sees(r.dot) {
			out = append(out, r)
		} else {
			kept = append(kept, r)
		}
	}
	w.ranges = kept
	return out
}

// back takes ranges again that were ready and are not swept. They may be more than maxRanges together
// with those that came meanwhile, by what was ready at most.
func (w *sweeper) back(ranges []sweptRange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ranges = append(w.ranges, ranges...)
}

// keep is the keeper goroutine: it syncs the witness, has the writer look at its triggers, and
// sweeps, until the store is closed.
func (s *Store) keep() {
	defer s.keeper.Done()
	witness, tidy, sweep := newTicker(s, WitnessSyncDelay), newTicker(s, s.cfg.TidyInterval), newTicker(s, s.cfg.SweepInterval)
	defer witness.stop()
	defer tidy.stop()
	defer sweep.stop()
	for {
		select {
		case <-s.stopped.Done():
			return
		case <-witness.c:
			s.syncWitness()
		case <-tidy.c:
			poke(s.tidyDue)
		case <-sweep.c:
			s.sweepSome()
		}
	}
}

// ticker pokes its channel again and again, by the store's own timers.
type ticker struct {
	c    chan struct{}
	mu   sync.Mutex
	end  bool
	halt func() bool
}

func newTicker(s *Store, every time.Duration) *ticker {
	t := &ticker{c: make(chan struct{}, 1)}
	var arm func()
	arm = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.end {
			t.halt = s.cfg.After(every, func() { poke(t.c); arm() })
		}
	}
	arm()
	return t
}

// stop ends the ticks. What halts a timer may wait for a tick that has just begun, and that takes the lock.
func (t *ticker) stop() {
	t.mu.Lock()
	t.end = true
	halt := t.halt
	t.mu.Unlock()
	halt()
}

func (s *Store) syncWitness() {
	if s.Failed() != nil {
		return
	}
	if err := s.witness.sync(); err != nil {
		s.fail(err)
	}
}

// sweepSome is one step of the background sweep: the ranges below removals in one go, then a piece of what
// dropped buckets have left, and of the round over everything.
func (s *Store) sweepSome() {
	if s.Failed() != nil {
		return
	}
	ready := s.sweep.ready(s.pending.lower(s.cuts.Load()).horizon)
	for i, r := range ready {
		if err := s.sweepRange(s.stopped, r.prefix, successor(r.prefix)); err != nil {
			s.sweep.back(ready[i:]) // what could not be read now is tried again
			return
		}
	}
	s.sweepDropped(s.stopped)
	s.sweepStep()
}

func (s *Store) sweepStep() {
	w := &s.sweep
	from := w.cursor
	if from == nil {
		from = []byte{spaceLeaf}
		w.mu.Lock()
		w.hurry, w.wanted = w.wanted, false
		w.mu.Unlock()
	}
	leaves := SweepLeaves / 16
	if w.hurry {
		leaves = SweepLeaves
	}
	next, err := s.sweepChunk(s.stopped, from, []byte{spaceLeaf + 1}, leaves)
	if err == nil {
		w.cursor = next
	}
}

// Sweep rewrites every leaf that can be shortened now. The background does the same slowly; this is
// for maintenance, tests and benchmarks.
func (s *Store) Sweep(ctx context.Context) error {
	return s.sweepRange(ctx, []byte{spaceLeaf}, []byte{spaceLeaf + 1})
}

func (s *Store) sweepRange(ctx context.Context, from, to []byte) error {
	for from != nil {
		var err error
		if from, err = s.sweepChunk(ctx, from, to, SweepLeaves); err != nil {
			return err
		}
	}
	return nil
}

// sweepChunk looks at up to n leaves and has the writer rewrite those that it would shorten. It
// returns where to go on; nil: it has seen all.
func (s *Store) sweepChunk(ctx context.Context, from, to []byte, n int) (next []byte, err error) {
	keys, next, err := s.shortenable(from, to, n)
	for len(keys) > 0 && err == nil {
		some := min(len(keys), RewriteLeaves)
		err = s.rewriteNow(ctx, keys[:some])
		keys = keys[some:]
	}
	return next, err
}

// shortenable finds leaves that a rewrite would shorten. It only reads: the writer decides again.
func (s *Store) shortenable(from, to []byte, n int) (keys [][]byte, next []byte, err error) {
	iter, err := s.iterate(from, to)
	if err != nil {
		return nil, nil, s.readFailed("leaves", err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = s.readFailed("leaves", e)
		}
	}()
	c := s.pending.lower(s.cuts.Load())
	all := s.drops.load()
	var out []byte
	for ok := iter.First(); ok; ok = iter.Next() {
		if n--; n < 0 {
			return keys, bytes.Clone(iter.Key()), nil
		}
		items, err := iter.ValueAndErr()
		if out = out[:0]; err == nil && !all.dead(iter.Key(), c.horizon.At(0)) {
			out, _, err = crdt.Rewrite(leafType(iter.Key()), out[:0], items, c.horizon, c.settled)
		}
		if err != nil {
			return nil, nil, s.readFailed("leaves", err)
		}
		if len(out) < len(items) {
			keys = append(keys, bytes.Clone(iter.Key()))
		}
	}
	if err := iter.Error(); err != nil {
		return nil, nil, s.readFailed("leaves", err)
	}
	return keys, nil, nil
}

// rewriteNow has the writer rewrite some leaves and waits for it.
func (s *Store) rewriteNow(ctx context.Context, keys [][]byte) error {
	j := &awaitedRewrite{rewriteJob: rewriteJob{keys: keys}, done: make(chan error, 1)}
	select {
	case s.chores <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped.Done():
		return s.stopped.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-s.stopped.Done():
		return s.stopped.Err()
	}
}

// awaitedRewrite is a rewrite that somebody waits for: for its being applied, not synced, since a
// crash takes back nothing but the work.
type awaitedRewrite struct {
	rewriteJob
	done chan error
}

// Applied implements Job.
func (j *awaitedRewrite) Applied() { j.done <- nil }

// Durable implements Job.
func (j *awaitedRewrite) Durable(err error) {
	if err == errNothing {
		err = nil
	}
	select {
	case j.done <- err:
	default:
	}
}
