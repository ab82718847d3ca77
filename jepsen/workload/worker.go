package workload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
)

// worker makes one transaction after the other.
type worker struct {
	run     *Run
	number  int // from 0
	random  *rand.Rand
	source  source
	region  string // where it is
	made    int    // transactions so far
	written int    // values so far
	process int
	session int // its number
	token   client.Token
}

func (r *Run) newWorker(number int) *worker {
	w := &worker{
		run: r, number: number, random: rand.New(rand.NewPCG(r.config.Seed, uint64(number))),
		region:  r.config.Regions[number%len(r.config.Regions)],
		process: r.record.process(), session: r.record.session(),
	}
	w.source = r.workload.source(w)
	return w
}

// work makes transactions until ctx ends or the run has enough. One that was begun is brought to its end,
// unless calls ends.
func (w *worker) work(ctx, calls context.Context) {
	pace := w.run.pace(w)
	for pace.wait(ctx) && w.run.another() {
		t := w.do(calls, w.source.next())
		w.made++
		if o, learns := w.source.(observer); learns && t != nil {
			o.ended(t)
		}
		if t == nil || t.Outcome != history.OK {
			pause(ctx, failurePause)
		}
	}
}

// failurePause keeps a worker whose region is down from asking it over and over.
const failurePause = 50 * time.Millisecond

// do makes a transaction and records it; nil if there was nothing to do, or nobody to ask.
func (w *worker) do(ctx context.Context, p plan) *history.Txn {
	c := w.call(p)
	if c == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, w.run.config.CallTimeout)
	err := c.make(limited)
	cancel()
	if c.t.Outcome == history.Unknown {
		c.ask(ctx)
	}
	if c.t.Outcome != history.Unknown {
		c.t.End = w.run.now()
	}
	w.goOn(c, err)
	if len(c.t.Ops) == 0 {
		return nil
	}
	done := w.run.record.add(c.t)
	if observe := w.run.config.Observe; observe != nil {
		observe(done)
	}
	return done
}

// goOn draws the conclusions for the worker: one that does not know what became of its transaction
// goes on as another process; one whose session a crash has cut short begins a new session, and so do
// some whose session can't be served where they are.
func (w *worker) goOn(c *call, err error) {
	if !c.plan.alone {
		w.token = c.s.Token()
	}
	if c.t.Outcome == history.OK {
		w.run.handOver(c.s.Token())
	}
	if c.t.Outcome == history.Unknown {
		w.process = w.run.record.process()
	}
	lost := errors.Is(err, client.ErrLost)
	if lost {
		w.run.forgetHanded()
	}
	if lost || errors.Is(err, client.ErrStale) && w.chance(2) {
		w.session, w.token = w.run.record.session(), client.Token{}
	}
}

// opID draws the id of an operation.
func (w *worker) opID() client.OpID {
	var id client.OpID
	binary.BigEndian.PutUint64(id[:8], w.random.Uint64())
	binary.BigEndian.PutUint64(id[8:], w.random.Uint64())
	return id
}

// chance is true once in n times, on average.
func (w *worker) chance(n int) bool { return w.random.IntN(n) == 0 }

// unique is a value that nobody else writes.
func (w *worker) unique() string {
	w.written++
	return fmt.Sprintf("w%d.%d", w.number, w.written)
}

// elsewhere draws a region other than the worker's, if there is one.
func (w *worker) elsewhere() string {
	all := w.run.config.Regions
	at := w.random.IntN(len(all))
	if all[at] == w.region {
		at = (at + 1) % len(all)
	}
	return all[at]
}

// pace spreads a worker's transactions over time.
type pace struct {
	w     *worker
	every time.Duration // on average; 0: as fast as they are answered
	next  time.Duration
}

func (r *Run) pace(w *worker) *pace {
	p := &pace{w: w, next: r.config.Now()}
	if r.config.Rate > 0 {
		p.every = time.Duration(float64(r.config.Workers) / r.config.Rate * float64(time.Second))
		p.next += time.Duration(w.random.Float64() * float64(p.every))
	}
	return p
}

// toBeat is how long to wait until the first beat after a while.
func (r *Run) toBeat(while time.Duration) time.Duration {
	beat := r.config.Beat
	if beat <= 0 {
		return while
	}
	now := r.config.Now()
	return (now + while).Truncate(beat) + beat - now
}

// wait waits for the time of the next transaction, and reports false once ctx has ended.
func (p *pace) wait(ctx context.Context) bool {
	now := p.w.run.config.Now()
	late := p.every == 0 || p.next <= now
	due := p.next
	if late {
		due = now
	}
	if beat := p.w.run.config.Beat; beat > 0 {
		due, late = due.Truncate(beat)+beat, false
	}
	p.next = due + time.Duration((0.5+p.w.random.Float64())*float64(p.every))
	if late {
		return ctx.Err() == nil
	}
	return pause(ctx, due-now)
}
