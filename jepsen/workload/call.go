package workload

import (
	"context"
	"errors"
	"time"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/jepsen/history"
)

// call is one transaction on its way, with all its tries.
type call struct {
	w       *worker
	plan    plan
	s       *client.Session
	id      client.OpID
	told    told // what the region told before the first try
	receipt client.Receipt
	t       history.Txn
}

// told is what a retry names of the lane that the first try was for: see client.Attempt.
type told struct {
	client.Attempt
	known bool
}

// call prepares a transaction; nil if there is no way to its region.
func (w *worker) call(p plan) *call {
	if p.region == "" {
		p.region = w.region
	}
	db := w.run.config.DB(p.region)
	if db == nil {
		return nil
	}
	token, session := w.token, w.session
	if p.alone {
		token, session = client.Token{}, 0
	}
	if p.handed {
		if both, err := token.Join(w.run.handedOver(w.random)); err == nil {
			token = both
		}
	}
	token = posted(token)
	return &call{
		w: w, plan: p, s: db.Resume(token), id: w.opID(), told: w.run.toldBy(p.region),
		t: history.Txn{Process: w.process, Session: session, Region: p.region, TokenBefore: tokenVector(token)},
	}
}

// posted is a token as it arrives where it was sent as text.
func posted(t client.Token) client.Token {
	back, err := client.ParseToken(t.String())
	if err != nil {
		panic("workload: a token's text is none: " + err.Error())
	}
	return back
}

// options of one try.
func (c *call) options(a client.CallOption) []client.CallOption {
	opts := []client.CallOption{client.WithReceipt(&c.receipt), client.At(c.plan.at()), client.Durable(c.plan.reach())}
	if c.strong() {
		return opts // whose client names each of its tries itself: one that met another one is tried anew
	}
	return append(opts, a)
}

// at is the level of a plan.
func (p *plan) at() client.Consistency {
	if p.level.Level == client.LevelDefault {
		return client.Consistency{Level: client.LevelCausal}
	}
	return p.level
}

// reach is how far a plan's writes get before they are answered.
func (p *plan) reach() client.Reach {
	if p.durable.Durability == client.DurabilityDefault {
		return client.Local
	}
	return p.durable
}

// make makes the first try.
func (c *call) make(ctx context.Context) error {
	t := &c.t
	t.Level, t.Bound = c.plan.at().Level.String(), int64(c.plan.at().Bound)
	t.Start = c.w.run.now()
	var err error
	t.Ops, err = c.plan.run(ctx, c.s, c.options(client.WithOpID(c.id)))
	if t.Writes() {
		t.Durability = c.plan.reach().String()
		if t.Level != client.LevelStrong.String() {
			t.OpID = c.id.String()
		}
	}
	c.settle(err)
	return err
}

// settle says what became of the transaction.
func (c *call) settle(err error) {
	t := &c.t
	t.Error = ""
	if err != nil {
		t.Error = err.Error()
	}
	switch outcome := client.OutcomeOf(err); {
	case err == nil:
		t.Outcome = history.OK
		c.report()
	case !t.Writes() || errors.Is(err, errGivenUp) || outcome == client.OutcomeNotApplied:
		t.Outcome = history.Fail
	case outcome == client.OutcomeApplied:
		c.applied(nil)
		if c.plan.reach().Durability > client.DurabilityLocal {
			t.Durability = client.DurabilityApplied.String() // how far it got nobody knows
		}
	default:
		t.Outcome, t.End = history.Unknown, -1
		c.named(err)
	}
}

// named notes the id under which the client of a strong transaction tried it last.
func (c *call) named(err error) {
	var e *client.Error
	if c.strong() && errors.As(err, &e) && !e.ID.IsZero() {
		c.id = e.ID
		c.t.OpID = e.ID.String()
	}
}

func (c *call) strong() bool { return c.plan.at().Level == client.LevelStrong }

// report takes in what the receipt says.
func (c *call) report() {
	t, r := &c.t, &c.receipt
	c.w.run.learnLane(t.Region, r)
	t.Snapshot, t.TokenAfter, t.Served = vector(r.Snapshot), tokenVector(c.s.Token()), r.Level.String()
	if !t.Writes() || r.Commit.Time == 0 {
		return
	}
	t.Commit, t.Disks = &history.Stamp{Region: int(r.Commit.Region), Time: uint64(r.Commit.Time)}, r.Regions
	if r.Snapshot.At(r.Commit.Region) == r.Commit.Time {
		t.Snapshot = nil // a retry found what an earlier try had written, whose snapshot nobody knows any more
	}
}

// applied makes the transaction one that took effect, with a stamp if that is known. Answers that got
// lost are left out.
func (c *call) applied(stamp *history.Stamp) {
	t := &c.t
	var kept []history.Op
	for _, o := range t.Ops {
		if o.Writes() || o.Got != nil {
			kept = append(kept, o)
		}
	}
	t.Outcome, t.Error, t.Ops, t.Commit, t.TokenAfter = history.OK, "", kept, stamp, tokenVector(c.s.Token())
}

// Asking what became of a transaction.
const (
	askTries = 8
	askPause = 500 * time.Millisecond
)

// ask tries to find out what became of a transaction of unknown outcome: some callers ask, some send
// it once more, and some leave it at that.
func (c *call) ask(ctx context.Context) {
	if c.t.OpID == "" || !c.told.known && !c.strong() {
		return
	}
	var try func(context.Context) error
	switch choice := c.w.random.IntN(3); {
	case choice == 0:
		return
	case choice == 1 && !c.plan.interactive && !reads(c.t.Ops) && !c.strong(): // whose client has tried enough
		try = c.again
	default:
		try = c.outcome
	}
	for range askTries {
		limited, cancel := context.WithTimeout(ctx, c.w.run.config.CallTimeout)
		err := try(limited)
		cancel()
		if err == nil || c.t.Outcome != history.Unknown || !pause(ctx, askPause) {
			return
		}
	}
}

func reads(ops []history.Op) bool {
	for i := range ops {
		if !ops[i].Writes() {
			return true
		}
	}
	return false
}

// again sends the transaction once more, under its id.
func (c *call) again(ctx context.Context) error {
	_, err := c.plan.run(ctx, c.s, c.options(client.WithAttempt(c.attempt())))
	c.settle(err)
	return err
}

// outcome asks what became of the operation.
func (c *call) outcome(ctx context.Context) error {
	var opts []client.CallOption
	if !c.strong() { // which its client remembers
		opts = append(opts, client.WithAttempt(c.attempt()))
	}
	answer, err := c.s.Outcome(ctx, c.id, opts...)
	switch {
	case err != nil:
		return err
	case answer.Outcome == client.OutcomeNotApplied:
		c.t.Outcome = history.Fail
	case answer.Outcome == client.OutcomeApplied:
		c.applied(&history.Stamp{Region: int(answer.Commit.Region), Time: uint64(answer.Commit.Time)})
		if c.plan.reach().Durability > client.DurabilityLocal {
			c.t.Durability = client.DurabilityLocal.String() // for the others nobody waited
		}
	}
	return nil
}

func (c *call) attempt() client.Attempt {
	a := c.told.Attempt
	a.ID, a.Retry = c.id, true
	return a
}
