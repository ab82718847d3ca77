package replication

import (
	"container/heap"
	"context"
	"errors"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/internal/mutant"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/causal"
)

// waiter is a call that waits for one region to reach one time.
type waiter struct {
	goal  goal
	time  clock.Timestamp
	index int           // in its queue; -1: not queued
	done  chan struct{} // closed when woken
}

// goal is what a queue's waiters have in common.
type goal struct {
	region  clock.Region
	reach   causal.Reach
	regions int // that must have it on their disks; 0: it must have come that far here
}

func (g goal) reached(m Core) clock.Timestamp {
	if g.regions > 0 {
		return m.Spread(g.region, g.regions)
	}
	return m.Reached(g.region, g.reach)
}

// waiters are all calls that wait, one queue a goal. An event looks at the head of each queue only:
// waking every waiter at every step of E costs more than the steps themselves once many wait.
type waiters struct {
	queues  map[goal]*queue
	count   int
	stopped bool
}

// queue is a heap, earliest time first.
type queue []*waiter

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].time < q[j].time }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(w any) {
	w.(*waiter).index = len(*q)
	*q = append(*q, w.(*waiter))
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}

func (ws *waiters) add(g goal, t clock.Timestamp) *waiter {
	w := &waiter{goal: g, time: t, done: make(chan struct{})}
	if ws.queues == nil {
		ws.queues = map[goal]*queue{}
	}
	q := ws.queues[g]
	if q == nil {
		q = &queue{}
		ws.queues[g] = q
	}
	heap.Push(q, w)
	ws.count++
	return w
}

func (ws *waiters) remove(w *waiter) {
	if w.index < 0 {
		return
	}
	q := ws.queues[w.goal]
	heap.Remove(q, w.index)
	ws.count--
	ws.forgetEmpty(w.goal, q)
}

func (ws *waiters) forgetEmpty(g goal, q *queue) {
	if q.Len() == 0 {
		delete(ws.queues, g)
	}
}

// wake ends the wait of all whose goal is reached; after a stop, of all.
func (ws *waiters) wake(m Core) {
	for g, q := range ws.queues {
		reached := g.reached(m)
		for q.Len() > 0 && ((*q)[0].time <= reached || ws.stopped) {
			close(heap.Pop(q).(*waiter).done)
			ws.count--
		}
		ws.forgetEmpty(g, q)
	}
}

// wait waits for one entry of v after the other: none of them ever falls.
func (x *Exposure) wait(ctx context.Context, v clock.Vector, reach causal.Reach) error {
	for i, e := range v {
		if i > 0 && mutant.On(mutant.TokenWaitsForOneRegion) {
			break
		}
		w, err := x.enter(goal{region: e.Region, reach: reach}, e.Time)
		if err != nil {
			return err
		}
		if w == nil {
			continue
		}
		select {
		case <-w.done:
			err = x.checkReached(e, reach)
		case <-ctx.Done():
			err = x.giveUp(ctx, w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// enter queues a waiter; nil when the goal is reached already.
func (x *Exposure) enter(g goal, t clock.Timestamp) (*waiter, error) {
	e := clock.Entry{Region: g.region, Time: t}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case g.reached(x.machine) >= t:
		return nil, nil
	case x.waiters.stopped:
		return nil, errStopped(e)
	case x.waiters.count >= MaxWaiters:
		return nil, kv.Errorf(kv.KindOverloaded, "can't wait for %s: %d calls wait already; try again, or another region", clock.Stamp(e), MaxWaiters)
	}
	return x.waiters.add(g, t), nil
}

func (x *Exposure) checkReached(e clock.Entry, reach causal.Reach) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.machine.Reached(e.Region, reach) >= e.Time {
		return nil
	}
	return errStopped(e)
}

func errStopped(e clock.Entry) error {
	return kv.Errorf(kv.KindUnavailable, "this node stopped while %s was waited for; try another", clock.Stamp(e))
}

// giveUp ends a wait whose context has ended. One woken at the same moment has succeeded.
func (x *Exposure) giveUp(ctx context.Context, w *waiter) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiters.remove(w)
	reached := w.goal.reached(x.machine)
	if reached >= w.time {
		return nil
	}
	switch {
	case !errors.Is(ctx.Err(), context.DeadlineExceeded):
	case w.goal.reach == causal.Uniform:
		return noMajority(w, reached, ctx.Err())
	default:
		return kv.Errorf(kv.KindStale, "until the deadline region %d was here up to %s only, %s before %s, which was asked for: "+
			"wait longer, try another region, or read at level eventual (%w)", w.goal.region, reached, w.time.Wall().Sub(reached.Wall()), w.time, ctx.Err())
	}
	return kv.Errorf(kv.KindDeadline, "the caller gave up while it waited for %s of region %d, which is here up to %s: %w",
		w.time, w.goal.region, reached, ctx.Err())
}

// Stop ends all waits, now and later, with kv.ErrUnavailable. Everything else goes on.
func (x *Exposure) Stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiters.stopped = true
	x.wake()
}

// Watch tells that what is exposed, on disk or a member may have changed.
type Watch struct {
	x *Exposure
	c chan struct{}
}

// Watch starts a watch, which begins with a signal. End it with Stop. Errors match kv.ErrOverloaded.
func (x *Exposure) Watch() (*Watch, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.watches) >= MaxWatches {
		return nil, kv.Errorf(kv.KindOverloaded, "can't watch what is exposed: %d watch already", MaxWatches)
	}
	w := &Watch{x: x, c: make(chan struct{}, 1)}
	w.signal()
	x.watches[w] = struct{}{}
	return w, nil
}

// C receives after changes; several changes may share a signal. It is never closed.
func (w *Watch) C() <-chan struct{} { return w.c }

// Stop ends the watch.
func (w *Watch) Stop() {
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	delete(w.x.watches, w)
}

func (w *Watch) signal() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}
