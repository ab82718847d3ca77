package workload

import (
	"context"
	"encoding/binary"
	"errors"
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

// work makes transactions until ctx ends or the run has enough. One that was begun is brought to its end.
func (w *worker) work(ctx context.Context) {
	pace := w.run.pace(w)
	for pace.wait(ctx) && w.run.another() {
		w.do(context.WithoutCancel(ctx), w.source.next())
		w.made++
	}
}

// do makes a transaction and records it.
func (w *worker) do(ctx context.Context, p plan) *history.Txn {
	if p.region == "" {
		p.region = w.region
	}
	token, session := w.token, w.session
	if p.alone {
		token, session = client.Token{}, 0
	}
	t := history.Txn{
		Process: w.process, Session: session, Region: p.region, Level: client.LevelCausal.String(), TokenBefore: vector(token),
	}
	var receipt client.Receipt
	opts := []client.CallOption{client.WithReceipt(&receipt)}
	if p.eventual {
		t.Level = client.LevelEventual.String()
		opts = append(opts, client.Eventual())
	}
	if p.applied {
		opts = append(opts, client.Applied())
	}
	id := w.opID()
	opts = append(opts, client.WithOpID(id))
	s := w.run.config.DB(p.region).Resume(token)
	ctx, cancel := context.WithTimeout(ctx, w.run.config.CallTimeout)
	defer cancel()
	t.Start = w.run.now()
	ops, err := p.run(ctx, s, opts)
	t.End, t.Ops = w.run.now(), ops
	if t.Writes() {
		t.OpID, t.Durability = id.String(), client.DurabilityLocal.String()
		if p.applied {
			t.Durability = client.DurabilityApplied.String()
		}
	}
	settle(&t, err, &receipt)
	if t.Outcome == history.OK {
		t.TokenAfter = vector(s.Token())
	}
	if !p.alone {
		w.token = s.Token()
	}
	w.after(&t, err)
	if len(t.Ops) == 0 {
		return nil // it found nothing to do
	}
	done := w.run.record.add(t)
	if observe := w.run.config.Observe; observe != nil {
		observe(done)
	}
	return done
}

// settle says what became of a transaction.
func settle(t *history.Txn, err error, receipt *client.Receipt) {
	if err != nil {
		t.Error = err.Error()
	}
	switch outcome := client.OutcomeOf(err); {
	case err == nil:
		t.Outcome = history.OK
		t.Snapshot = vector(client.Token{Seen: receipt.Snapshot})
		if t.Writes() && receipt.Commit.Time != 0 {
			t.Commit = &history.Stamp{Region: int(receipt.Commit.Region), Time: uint64(receipt.Commit.Time)}
		}
	case !t.Writes() || errors.Is(err, errGivenUp) || outcome == client.OutcomeNotApplied:
		t.Outcome = history.Fail
	case outcome == client.OutcomeApplied:
		t.Outcome = history.OK
		t.Ops = writes(t.Ops) // the answers to its reads got lost
	default:
		t.Outcome, t.End = history.Unknown, -1
	}
}

// writes are those among operations.
func writes(ops []history.Op) []history.Op {
	var out []history.Op
	for _, o := range ops {
		if o.Writes() {
			out = append(out, o)
		}
	}
	return out
}

// after draws the conclusions for the worker: one that does not know what became of its transaction
// goes on as another process; one whose session a crash has cut short begins a new session.
func (w *worker) after(t *history.Txn, err error) {
	if t.Outcome == history.Unknown {
		w.process = w.run.record.process()
	}
	if errors.Is(err, client.ErrLost) {
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

// wait waits for the time of the next transaction, and reports false once ctx has ended.
func (p *pace) wait(ctx context.Context) bool {
	now := p.w.run.config.Now()
	late := p.every == 0 || p.next <= now
	due := p.next
	if late {
		due = now
	}
	p.next = due + time.Duration((0.5+p.w.random.Float64())*float64(p.every))
	if late {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(due - now)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
